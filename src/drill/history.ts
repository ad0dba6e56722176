import { randomBytes, randomUUID } from 'node:crypto'
import { cities, customers } from './customers.ts'
import { invocationLine } from './invocation-line.ts'
import type { Served } from './tools.ts'

const people = [
  { agent: 'support-copilot', user: 'priya.natarajan' },
  { agent: 'sales-agent', user: 'tom.becker' },
  { agent: 'support-copilot', user: 'mara.lindqvist' },
  { agent: 'sales-agent', user: 'samuel.okafor' },
] as const

/** As much as a review compares with (four weeks), and a little more. */
const days = 36

/**
 * What the gateway logged while the approved 1.4.0 was running, until ten minutes before `now`: about one conversation an hour, around the
 * clock, each a search and a look at two or three customers.
 * @param served what 1.4.0 said of its tools
 */
export function history(server: string, { tools, instructions }: Served, now: Date): string {
  const lines: string[] = []
  const conversations = days * 24
  const until = now.getTime() - 600_000
  for (let turn = 0; turn < conversations; turn += 1) {
    const { agent, user } = people[turn % people.length] ?? people[0]
    const city = cities[turn % cities.length] ?? 'Berlin'
    const found = customers.filter((customer) => customer.city === city).slice(0, 8)
    const session = randomUUID()
    const trace = randomBytes(16).toString('hex')
    let at = until - (conversations - turn) * 3600_000 + ((turn * 7) % 11) * 60_000
    const log = (method: string, result: unknown, call: { tool: string; args: object } | undefined) => {
      lines.push(
        invocationLine({
          startedAt: new Date(at),
          durationMs: 6 + ((turn * 7 + lines.length * 3) % 20),
          method,
          server,
          ...call,
          agent,
          user,
          session,
          requestId: String(lines.length),
          address: '127.0.0.1',
          trace,
          span: randomBytes(8).toString('hex'),
          result,
        }),
      )
      at += 900 + ((turn * 131) % 700)
    }
    const call = (tool: string, args: object, result: object) => {
      const text = JSON.stringify(result)
      log('tools/call', { content: [{ type: 'text', text }], structuredContent: result }, { tool, args })
    }
    log(
      'initialize',
      { capabilities: { tools: {} }, ...(instructions === undefined ? {} : { instructions }) },
      undefined,
    )
    log('tools/list', { tools }, undefined)
    call('search_customers', { query: city, limit: 8 }, { records: found })
    found.slice(turn % 3, (turn % 3) + 2 + (turn % 2)).forEach((customer) => {
      call('get_customer', { id: customer.id }, { records: [customer] })
    })
    if (turn % 5 === 0)
      call('save_note', { id: found[0]?.id, text: 'Asked for an invoice copy.' }, { note: `N-1${turn}` })
  }
  return lines.join('')
}
