import { readFileSync } from 'node:fs'
import vault from 'node-vault'
import type { ProxiedCall } from '../test/testbed/fault-proxy.ts'

/**
 * Makes the calls that the command made, with the same client: one after the other, or so many at once. Prints how many of them
 * were refused.
 */
const [file = '', width = '1'] = process.argv.slice(2)
const { VAULT_ADDR: endpoint = '', VAULT_TOKEN: token = '' } = process.env
const client = vault({ endpoint, token })

const calls = JSON.parse(readFileSync(file, 'utf8')) as ProxiedCall[]
let next = 0
let refused = 0
const worker = async (): Promise<void> => {
  for (let call = calls[next++]; call !== undefined; call = calls[next++]) {
    const { method, path, body } = call
    const asked = { method, path: path.replace(/^\/v1/, ''), ...(body === undefined ? {} : { json: body }) }
    await client.request(asked as never).catch((error: { response?: unknown }) => {
      if (error.response === undefined) throw error
      refused++
    })
  }
}
await Promise.all(Array.from({ length: Number(width) }, worker))
process.stdout.write(`${refused}`)
