import { readFileSync } from 'node:fs'
import vault from 'node-vault'
import pg from 'pg'
import type { Listed } from '../test/testbed/vault-estate.ts'

const [file = '', width = '1'] = process.argv.slice(2)
const { VAULT_ADDR: endpoint = '', VAULT_TOKEN: token = '', PGPORT, PGUSER, PGPASSWORD } = process.env
const client = vault({ endpoint, token })
const pool = new pg.Pool({
  host: '127.0.0.1',
  port: Number(PGPORT),
  user: PGUSER,
  password: PGPASSWORD,
  database: 'postgres',
  max: Number(width),
})

/** The status of what should be refused. */
async function gone(work: Promise<unknown>): Promise<void> {
  const status = await work.then(
    () => 200,
    (error) => error.response?.statusCode,
  )
  if (status === 200) throw new Error('it still works')
}

/** Accessors by the name of their role. */
const tokens = new Map<string, string[]>()

async function revoke(one: Listed): Promise<void> {
  switch (one.kind) {
    case 'approle': {
      const path = `auth/approle/role/${one.role}`
      const { data } = await client.list(`${path}/secret-id`)
      for (const secret_id_accessor of data.keys)
        await client.write(`${path}/secret-id-accessor/destroy`, { secret_id_accessor })
      for (const accessor of tokens.get(one.role) ?? []) await client.tokenRevokeAccessor({ accessor })
      await gone(client.list(`${path}/secret-id`))
      for (const accessor of tokens.get(one.role) ?? []) await gone(client.tokenLookupAccessor({ accessor }))
      return
    }
    case 'token':
      await client.tokenLookupAccessor({ accessor: one.accessor })
      await client.tokenRevokeAccessor({ accessor: one.accessor })
      await gone(client.tokenLookupAccessor({ accessor: one.accessor }))
      return
    case 'database':
      await client.request({
        method: 'PUT',
        path: `/sys/leases/revoke-prefix/database/creds/${one.role}`,
        json: { sync: true },
      })
      await gone(client.list(`sys/leases/lookup/database/creds/${one.role}`))
      await pool.query(`SELECT pid FROM pg_stat_activity WHERE usesysid IS NOT NULL AND usename IS NULL`)
      return
    case 'postgres':
      await pool.query(`ALTER ROLE ${one.user} NOLOGIN`)
      await pool.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [one.user])
      await pool.query('SELECT rolcanlogin FROM pg_roles WHERE rolname = $1', [one.user])
  }
}

const listed = JSON.parse(readFileSync(file, 'utf8')) as Listed[]
let next = 0
const each = async <T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> => {
  next = 0
  const worker = async (): Promise<void> => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) await work(item)
  }
  await Promise.all(Array.from({ length: Number(width) }, worker))
}
// Whose tokens there are is told by looking at every one of them.
const { data } = await client.list('auth/token/accessors')
await each(data.keys as string[], async (accessor) => {
  const found = await client.tokenLookupAccessor({ accessor })
  const role = found.data.meta?.role_name
  if (role !== undefined) tokens.set(role, [...(tokens.get(role) ?? []), accessor])
})
await each(listed, revoke)
await pool.end()
