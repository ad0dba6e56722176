import { bounded } from '../../src/bounded.ts'
import type { Openbao } from './openbao.ts'
import type { Postgres } from './postgres.ts'

/** A server with very many credentials in OpenBao and PostgreSQL, all of them in use: a quarter each of four kinds. */
export interface VaultEstate {
  readonly registry: string
  /** The entries whose old secret still works, by clients of the test's own. */
  living(): Promise<string[]>
  /** The entries of which not exactly one new secret works, the delivered one. */
  wronglyRotated(delivered: Readonly<Record<string, string>>): Promise<string[]>
  /** What Vault calls the things in it, in the same order in every estate of that size. */
  readonly ids: readonly string[]
  /** Every secret, which must surface nowhere. */
  readonly secrets: readonly string[]
}

interface Entry {
  readonly line: string
  readonly ids: readonly string[]
  readonly secret: string
  lives(): Promise<boolean>
  /** Whether exactly this one works now; undefined where nothing is issued anew. */
  works?(fresh: string | undefined): Promise<boolean>
}

export async function makeVaultEstate(bao: Openbao, postgres: Postgres, size: number): Promise<VaultEstate> {
  const admin = { user: 'estate_admin', password: 'canary-estate-admin' }
  await postgres.sql(`CREATE ROLE ${admin.user} SUPERUSER LOGIN PASSWORD '${admin.password}'`)
  await bao.ok('POST', 'sys/auth/approle', { type: 'approle' })
  await bao.ok('POST', 'sys/mounts/database', { type: 'database' })
  await bao.ok('POST', 'database/config/estate', {
    plugin_name: 'postgresql-database-plugin',
    connection_url: `postgresql://{{username}}:{{password}}@127.0.0.1:${postgres.port}/postgres?sslmode=disable`,
    username: admin.user,
    password: admin.password,
    allowed_roles: '*',
  })
  const database = `{engine: postgres, host: 127.0.0.1, port: ${postgres.port}, name: postgres}`
  const connects = async (user: string, password: string): Promise<boolean> => {
    try {
      await (await postgres.connect({ user, password })).end()
      return true
    } catch (error) {
      const { code } = error as { code?: string }
      if (code === '28P01' || code === '28000') return false
      throw error
    }
  }
  const kinds: readonly ((n: number) => Promise<Entry>)[] = [
    async (n) => {
      await bao.ok('POST', `auth/approle/role/estate-${n}`, { token_policies: [`estate-${n}`], token_ttl: '1h' })
      const { data } = await bao.ok('GET', `auth/approle/role/estate-${n}/role-id`)
      const made = await bao.ok('POST', `auth/approle/role/estate-${n}/secret-id`)
      const login = { role_id: data.role_id, secret_id: made.data.secret_id }
      const { auth } = await bao.ok('POST', 'auth/approle/login', login, '')
      return {
        ids: [auth.accessor, auth.entity_id, made.data.secret_id_accessor],
        line: `{id: c${n}, kind: vault-approle, mount: approle, role: estate-${n}}`,
        secret: login.secret_id,
        lives: async () =>
          (await bao.lives(auth.client_token)) ||
          (await bao.call('POST', 'auth/approle/login', login, '')).status === 200,
        works: async (fresh) => {
          const { body } = await bao.call('LIST', `auth/approle/role/estate-${n}/secret-id`)
          const again = { role_id: data.role_id, secret_id: fresh }
          return (
            body.data?.keys.length === 1 && (await bao.call('POST', 'auth/approle/login', again, '')).status === 200
          )
        },
      }
    },
    async (n) => {
      const { auth } = await bao.ok('POST', 'auth/token/create-orphan', { policies: ['default'], ttl: '1h' })
      return {
        ids: [auth.accessor],
        line: `{id: c${n}, kind: vault-token, accessor: ${auth.accessor}}`,
        secret: auth.client_token,
        lives: () => bao.lives(auth.client_token),
      }
    },
    async (n) => {
      await bao.ok('POST', `database/roles/estate-${n}`, {
        db_name: 'estate',
        creation_statements: `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`,
        default_ttl: '1h',
      })
      const { data, lease_id } = await bao.ok('GET', `database/creds/estate-${n}`)
      return {
        ids: [lease_id.slice(lease_id.lastIndexOf('/') + 1)],
        line: `{id: c${n}, kind: vault-database, mount: database, role: estate-${n}, database: ${database}}`,
        secret: data.password,
        lives: () => connects(data.username, data.password),
      }
    },
    async (n) => {
      const user = `estate_${n}`
      const secret = `canary-estate-${n}-of-${size}`
      await postgres.sql(`CREATE ROLE ${user} LOGIN PASSWORD '${secret}'`)
      await bao.ok('POST', `secret/data/estate/${n}`, { data: { value: secret } })
      return {
        ids: [],
        line: `{id: c${n}, kind: vault-kv, mount: secret, path: estate/${n}, fields: [value], issuer: {kind: postgres, user: ${user}, database: ${database}}}`,
        secret,
        lives: () => connects(user, secret),
        works: async (fresh) => fresh !== undefined && (await connects(user, fresh)),
      }
    },
  ]
  const mounts = await bao.ok('GET', 'sys/auth')
  const entries = await bounded(
    Array.from({ length: size }, (_, n) => n),
    async (n) => (kinds[n % kinds.length] as (typeof kinds)[number])(n),
  )
  return {
    registry: `servers:
  - name: io.acme/estate
    version: 1.0.0
    status: approved
    owner: estate-team
    package: {registryType: file, identifier: estate, version: 1.0.0}
    deployments: []
    deliverTo: {kind: vault-kv, mount: secret, path: next/estate}
    credentials:
${entries.map(({ line }) => `      - ${line}\n`).join('')}`,
    async living() {
      const all = await bounded(entries, async ({ line, lives }) => ((await lives()) ? [line] : []))
      return all.flat()
    },
    async wronglyRotated(delivered) {
      const all = await bounded(entries, async ({ line, works }, n) => {
        const right = works === undefined ? delivered[`c${n}`] === undefined : await works(delivered[`c${n}`])
        return right ? [] : [line]
      })
      return all.flat()
    },
    ids: [mounts.data['approle/'].accessor, ...entries.flatMap(({ ids }) => ids)],
    secrets: entries.map(({ secret }) => secret),
  }
}
