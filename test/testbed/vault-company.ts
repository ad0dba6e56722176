import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type pg from 'pg'
import { workplace } from './cli.ts'
import { type Openbao, startOpenbao } from './openbao.ts'
import { type Postgres, startPostgres } from './postgres.ts'

const issuerProgram = fileURLToPath(new URL('programs/issuer.mjs', import.meta.url))

interface Login {
  readonly user: string
  readonly password: string
}

/** What a compromised server holds in Vault and PostgreSQL, all of it in use, and how the test's own clients look at it. */
export interface VaultCompany {
  readonly bao: Openbao
  readonly postgres: Postgres
  /** Working folder with registry and configuration; the environment that a responder has. */
  readonly folder: string
  readonly env: Readonly<Record<string, string>>
  readonly roleId: string
  readonly secretId: string
  /** By what kind of token they are. */
  readonly tokens: Readonly<Record<'service' | 'child' | 'orphan' | 'batch', string>>
  /** One drawn with each token. */
  readonly logins: readonly Login[]
  readonly staticLogin: Login
  /** Opened with each of `logins` and the static one, before anything was revoked. */
  readonly sessions: readonly pg.Client[]
  /** A cursor that is open in the first session gives another row. */
  fetch(): Promise<unknown>
  /** Values at secret/mcp/crm/… */
  readonly apiKey: string
  readonly legacyKey: string
  /** What the issuer of the API key knows. */
  readonly issuerFile: string
  /** Everything that must surface nowhere. */
  readonly canaries: readonly string[]
  logsIn(secretId: string): Promise<boolean>
  connects(login: Login): Promise<boolean>
  draw(token: string): Promise<Login>
  stop(): Promise<void>
}

export async function startVaultCompany(): Promise<VaultCompany> {
  const [bao, postgres] = await Promise.all([startOpenbao(), startPostgres()])
  const vaultUser = { user: 'vault_admin', password: 'canary-vault-admin-81' }
  await postgres.sql(`CREATE ROLE ${vaultUser.user} SUPERUSER LOGIN PASSWORD '${vaultUser.password}'`)
  const staticLogin = { user: 'crm_static', password: 'canary-static-first-17' }
  await postgres.sql(`CREATE ROLE ${staticLogin.user} LOGIN PASSWORD '${staticLogin.password}'`)

  await bao.ok('POST', 'sys/auth/approle', { type: 'approle' })
  await bao.ok('POST', 'sys/mounts/database', { type: 'database' })
  await bao.ok('POST', 'database/config/crm', {
    plugin_name: 'postgresql-database-plugin',
    connection_url: `postgresql://{{username}}:{{password}}@127.0.0.1:${postgres.port}/postgres?sslmode=disable`,
    username: vaultUser.user,
    password: vaultUser.password,
    allowed_roles: '*',
  })
  for (const role of ['crm', 'crm-reader']) {
    await bao.ok('POST', `database/roles/${role}`, {
      db_name: 'crm',
      creation_statements: `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`,
      default_ttl: '1h',
    })
  }
  await bao.ok('POST', 'database/static-roles/crm-static', {
    db_name: 'crm',
    username: staticLogin.user,
    rotation_period: '24h',
  })
  const { data: rotated } = await bao.ok('GET', 'database/static-creds/crm-static')
  const nowStatic = { user: staticLogin.user, password: String(rotated.password) }

  const apiKey = 'canary-api-key-5511'
  const legacyKey = 'canary-legacy-key-90'
  const issuerFile = join(mkdtempSync(join(tmpdir(), 'mcp-ir-issuer-')), 'world.json')
  const known = { master: 'canary-master-33', secrets: [{ ref: 'key-1', secret: apiKey }], requests: [], faults: [] }
  writeFileSync(issuerFile, JSON.stringify(known))
  await bao.ok('POST', 'secret/data/mcp/crm/api-key', { data: { value: apiKey } })
  await bao.ok('POST', 'secret/data/mcp/crm/legacy', { data: { value: legacyKey } })

  const rules = [
    ['database/creds/crm', ['read']],
    ['database/static-creds/crm-static', ['read']],
    ['secret/data/mcp/crm/*', ['read']],
    ['auth/token/create', ['update']],
    ['auth/token/create-orphan', ['update', 'sudo']],
  ] as const
  const policy = rules.map(([path, can]) => `path "${path}" { capabilities = ${JSON.stringify(can)} }`).join('\n')
  await bao.ok('POST', 'sys/policies/acl/crm', { policy })
  await bao.ok('POST', 'auth/approle/role/crm', { token_policies: ['crm'], token_ttl: '1h', token_max_ttl: '4h' })
  const { data: role } = await bao.ok('GET', 'auth/approle/role/crm/role-id')
  const { data: made } = await bao.ok('POST', 'auth/approle/role/crm/secret-id')
  const roleId = String(role.role_id)
  const secretId = String(made.secret_id)

  const login = { role_id: roleId, secret_id: secretId }
  const service = String((await bao.ok('POST', 'auth/approle/login', login, '')).auth.client_token)
  const make = async (path: string, body: object): Promise<string> =>
    String((await bao.ok('POST', path, body, service)).auth.client_token)
  const tokens = {
    service,
    child: await make('auth/token/create', { policies: ['crm'] }),
    orphan: await make('auth/token/create-orphan', { policies: ['crm'] }),
    batch: await make('auth/token/create', { policies: ['crm'], type: 'batch', ttl: '30m' }),
  }
  const draw = async (token: string): Promise<Login> => {
    const { data } = await bao.ok('GET', 'database/creds/crm', undefined, token)
    return { user: String(data.username), password: String(data.password) }
  }
  const logins: Login[] = []
  for (const token of Object.values(tokens)) logins.push(await draw(token))
  const sessions: pg.Client[] = []
  for (const one of [...logins, nowStatic]) sessions.push(await postgres.connect(one))
  const [first] = sessions
  await first?.query('BEGIN')
  await first?.query('DECLARE c CURSOR FOR SELECT * FROM generate_series(1, 1000000)')
  const fetchRow = async (): Promise<unknown> => (await first?.query('FETCH 1 FROM c'))?.rows[0]?.generate_series
  if ((await fetchRow()) !== 1) throw new Error('the cursor gives no rows')

  const folder = workplace('servers: []\n', `vault: {address: "${bao.url}"}\n`)
  return {
    bao,
    postgres,
    folder,
    env: {
      VAULT_TOKEN: bao.root,
      PGUSER: postgres.admin.user,
      PGPASSWORD: postgres.admin.password,
      MCP_IR_CONFIG: join(folder, 'mcp-ir.yaml'),
    },
    roleId,
    secretId,
    tokens,
    logins,
    staticLogin: nowStatic,
    sessions,
    fetch: fetchRow,
    apiKey,
    legacyKey,
    issuerFile,
    canaries: [
      bao.root,
      postgres.admin.password,
      vaultUser.password,
      nowStatic.password,
      secretId,
      ...Object.values(tokens),
      ...logins.map(({ password }) => password),
      apiKey,
      legacyKey,
      known.master,
    ],
    async logsIn(secret) {
      const { status } = await bao.call('POST', 'auth/approle/login', { role_id: roleId, secret_id: secret }, '')
      if (status !== 200 && status !== 400 && status !== 403) throw new Error(`logging in: ${status}`)
      return status === 200
    },
    async connects(one) {
      try {
        await (await postgres.connect(one)).end()
        return true
      } catch (error) {
        const { code } = error as { code?: string }
        if (code === '28P01' || code === '28000') return false
        throw error
      }
    },
    draw,
    async stop() {
      await Promise.all([bao.stop(), postgres.stop()])
    },
  }
}

/** The registry of that company, `legacy` with the value that nobody is known to issue. */
export function vaultRegistry(
  { postgres, issuerFile }: Pick<VaultCompany, 'postgres' | 'issuerFile'>,
  { legacy }: { legacy: boolean },
): string {
  const database = `{engine: postgres, host: 127.0.0.1, port: ${postgres.port}, name: postgres}`
  const command = JSON.stringify([process.execPath, issuerProgram, issuerFile])
  return `servers:
  - name: io.acme/crm
    version: 1.0.0
    status: approved
    owner: crm-team
    package: {registryType: file, identifier: crm, version: 1.0.0}
    deployments: []
    credentials:
      - {id: approle, kind: vault-approle, mount: approle, role: crm}
      - {id: db, kind: vault-database, mount: database, role: crm, database: ${database}}
      - {id: reporting, kind: vault-database, mount: database, role: crm-static, database: ${database}}
      - {id: api-key, kind: vault-kv, mount: secret, path: mcp/crm/api-key, fields: [value], issuer: {kind: exec, command: ${command}}}
${legacy ? '      - {id: legacy-key, kind: vault-kv, mount: secret, path: mcp/crm/legacy}\n' : ''}    deliverTo: {kind: vault-kv, mount: secret, path: mcp/next/crm}
  - name: io.acme/billing
    version: 1.0.0
    status: approved
    owner: billing-team
    package: {registryType: file, identifier: billing, version: 1.0.0}
    deployments: []
    credentials:
      - {id: db, kind: vault-database, mount: database, role: crm}
`
}
