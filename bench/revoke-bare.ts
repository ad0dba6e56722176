import { readFileSync } from 'node:fs'
import vault from 'node-vault'
import pg from 'pg'
import type { ProxiedCall } from '../test/testbed/fault-proxy.ts'

/**
 * Makes the calls that the command made, with the same clients: one after the other, or so many at once. Prints how many of them
 * were refused.
 */
export type BareCall =
  | ProxiedCall
  | { readonly sql: string; readonly values: readonly (string | null)[] }
  | { readonly login: string; readonly password: string }

const [file = '', width = '1'] = process.argv.slice(2)
const { VAULT_ADDR: endpoint = '', VAULT_TOKEN: token = '' } = process.env
const client = vault({ endpoint, token })
// Where and as whom by PGHOST, PGPORT, PGUSER and PGPASSWORD.
const pool = new pg.Pool({ database: 'postgres', ssl: false, max: Number(width) })

const calls = JSON.parse(readFileSync(file, 'utf8')) as BareCall[]
let next = 0
let refused = 0
const worker = async (): Promise<void> => {
  for (let call = calls[next++]; call !== undefined; call = calls[next++]) {
    if ('sql' in call) await pool.query(call.sql, [...call.values])
    else if ('login' in call) await logIn(call.login, call.password)
    else await ask(call)
  }
}

async function ask({ method, path, body }: ProxiedCall): Promise<void> {
  const asked = { method, path: path.replace(/^\/v1/, ''), ...(body === undefined ? {} : { json: body }) }
  await client.request(asked as never).catch((error: { response?: unknown }) => {
    if (error.response === undefined) throw error
    refused++
  })
}

async function logIn(user: string, password: string): Promise<void> {
  const one = new pg.Client({ database: 'postgres', user, password, ssl: false })
  await one.connect().catch(() => refused++)
  await one.end()
}

await Promise.all(Array.from({ length: Number(width) }, worker))
await pool.end()
process.stdout.write(`${refused}`)
