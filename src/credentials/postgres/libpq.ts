import { readFile, stat } from 'node:fs/promises'
import { homedir, userInfo } from 'node:os'
import { join } from 'node:path'
import type { ConnectionOptions } from 'node:tls'
import { IrError, systemCode } from '../../errors.ts'

/**
 * The responder's own way into a database, as psql would find it: PGSERVICE (its file), then PGUSER, PGPASSWORD, PGPASSFILE and
 * PGSSL*. Host, port and database are the registry's and never taken from there.
 * `pg` reads only some of them, and takes `sslmode` otherwise than libpq does.
 */
export interface Database {
  readonly host: string
  readonly port: number
  readonly name: string
}

export interface Login {
  readonly user: string
  /** Undefined where the server may let us in without one (peer, trust, a certificate). */
  readonly password: string | undefined
  readonly ssl: Ssl
  /** The password is shown to no server that has not proven who it is. */
  readonly guarded: boolean
}

/** What to try, in order: `prefer` takes TLS where the server has it. */
export type Ssl = readonly (false | ConnectionOptions)[]

type Env = Readonly<Record<string, string | undefined>>

/** @throws IrError input */
export async function libpqLogin(database: Database, env: Env = process.env): Promise<Login> {
  const service = await serviceOf(env)
  const setting = (name: string, variable: string): string | undefined => {
    const found = service.get(name) ?? env[variable]
    return found === undefined || found === '' ? undefined : found
  }
  const user = setting('user', 'PGUSER') ?? userInfo().username
  const passFile = setting('passfile', 'PGPASSFILE') ?? join(home(env), '.pgpass')
  const password = setting('password', 'PGPASSWORD') ?? (await passwordIn(passFile, database, user))
  return { user, password, ssl: await sslOf(setting, home(env)), guarded: true }
}

function home(env: Env): string {
  return env.HOME ?? homedir()
}

// pg_service.conf: https://www.postgresql.org/docs/current/libpq-pgservice.html

async function serviceOf(env: Env): Promise<ReadonlyMap<string, string>> {
  const name = env.PGSERVICE
  if (name === undefined || name === '') return new Map()
  const own = env.PGSERVICEFILE ?? join(home(env), '.pg_service.conf')
  const shared = env.PGSYSCONFDIR === undefined ? [] : [join(env.PGSYSCONFDIR, 'pg_service.conf')]
  for (const path of [own, ...shared, '/etc/postgresql-common/pg_service.conf']) {
    const found = sectionOf((await readIfThere(path)) ?? '', name)
    if (found !== undefined) return found
  }
  throw new IrError('input', `PGSERVICE names service ${name}, which is in no service file`, {
    hints: [`Looked in ${own}; PGSERVICEFILE names another one`],
  })
}

function sectionOf(text: string, name: string): ReadonlyMap<string, string> | undefined {
  let section: Map<string, string> | undefined
  for (const line of text.split(/\r?\n/).map((one) => one.trim())) {
    if (line === '' || line.startsWith('#')) continue
    if (line.startsWith('[')) {
      if (section !== undefined) break
      if (line === `[${name}]`) section = new Map()
    } else if (section !== undefined) {
      const end = line.indexOf('=')
      if (end > 0) section.set(line.slice(0, end).trim(), line.slice(end + 1).trim())
    }
  }
  return section
}

// .pgpass: https://www.postgresql.org/docs/current/libpq-pgpass.html

async function passwordIn(path: string, { host, port, name }: Database, user: string): Promise<string | undefined> {
  const text = await readIfThere(path)
  if (text === undefined) return undefined
  // As libpq: what others can read is not used.
  if (((await stat(path)).mode & 0o077) !== 0) return undefined
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith('#')) continue
    const fields = [...line.matchAll(/((?:\\.|[^:\\])*)(?::|$)/g)].map(([, field]) => field ?? '')
    const wanted = [host.startsWith('/') ? 'localhost' : host, `${port}`, name, user]
    const matches = wanted.every((value, at) => fields[at] === '*' || unescaped(fields[at]) === value)
    if (matches && fields[4] !== undefined && fields[4] !== '') return unescaped(fields[4])
  }
  return undefined
}

function unescaped(field: string | undefined): string | undefined {
  return field?.replace(/\\(.)/g, '$1')
}

// sslmode: https://www.postgresql.org/docs/current/libpq-ssl.html

async function sslOf(
  setting: (name: string, variable: string) => string | undefined,
  homeFolder: string,
): Promise<Ssl> {
  const mode = setting('sslmode', 'PGSSLMODE') ?? 'prefer'
  if (mode === 'disable') return [false]
  const file = (name: string): string => join(homeFolder, '.postgresql', name)
  const named = setting('sslrootcert', 'PGSSLROOTCERT')
  const ca = named === 'system' ? undefined : await readIfThere(named ?? file('root.crt'))
  const cert = await readIfThere(setting('sslcert', 'PGSSLCERT') ?? file('postgresql.crt'))
  const key = await readIfThere(setting('sslkey', 'PGSSLKEY') ?? file('postgresql.key'))
  const own = cert === undefined || key === undefined ? {} : { cert, key }
  const anyServer: ConnectionOptions = { ...own, rejectUnauthorized: false }
  const sameAuthority: ConnectionOptions = {
    ...own,
    ...(ca === undefined ? {} : { ca }),
    checkServerIdentity: () => undefined,
  }
  if (mode === 'allow') return [false, anyServer]
  if (mode === 'prefer') return [anyServer, false]
  // As libpq: with a root certificate, `require` is `verify-ca`.
  if (mode === 'require') return [ca === undefined ? anyServer : sameAuthority]
  if (mode !== 'verify-ca' && mode !== 'verify-full')
    throw new IrError('input', `PGSSLMODE is ${mode}, which is none of libpq's modes`)
  if (ca === undefined && named !== 'system')
    throw new IrError(
      'input',
      `PGSSLMODE is ${mode}, but there is no root certificate in ${named ?? file('root.crt')}`,
      {
        hints: ['PGSSLROOTCERT names it; PGSSLROOTCERT=system takes those of this machine'],
      },
    )
  return [mode === 'verify-ca' ? sameAuthority : { ...own, ...(ca === undefined ? {} : { ca }) }]
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw new IrError('input', `${path} cannot be read (${code ?? 'unknown error'})`)
  }
}
