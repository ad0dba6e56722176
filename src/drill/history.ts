import { randomBytes, randomUUID } from 'node:crypto'
import { cities, customers } from './customers.ts'
import { invocationLine } from './invocation-line.ts'

const people = [
  { agent: 'support-copilot', user: 'priya.natarajan' },
  { agent: 'sales-agent', user: 'tom.becker' },
  { agent: 'support-copilot', user: 'mara.lindqvist' },
  { agent: 'sales-agent', user: 'samuel.okafor' },
] as const

/**
 * What the gateway logged while the approved 1.4.0 was running: some conversations, from four hours to ten minutes before
 * `now`, each a search and a look at two or three customers.
 */
export function history(server: string, now: Date): string {
  const lines: string[] = []
  const from = now.getTime() - 4 * 3600_000
  const conversations = 40
  const apart = (now.getTime() - 600_000 - from) / conversations
  for (let turn = 0; turn < conversations; turn += 1) {
    const { agent, user } = people[turn % people.length] ?? people[0]
    const city = cities[turn % cities.length] ?? 'Berlin'
    const found = customers.filter((customer) => customer.city === city).slice(0, 8)
    const session = randomUUID()
    const trace = randomBytes(16).toString('hex')
    let at = from + turn * apart
    const call = (tool: string, args: object, result: object, requestId: number) => {
      const text = JSON.stringify(result)
      lines.push(
        invocationLine({
          startedAt: new Date(at),
          durationMs: 6 + ((turn * 7 + requestId * 3) % 20),
          server,
          tool,
          agent,
          user,
          session,
          requestId: String(requestId),
          address: '127.0.0.1',
          trace,
          span: randomBytes(8).toString('hex'),
          args,
          result: { content: [{ type: 'text', text }], structuredContent: result },
          error: undefined,
        }),
      )
      at += 900 + ((turn * 131) % 700)
    }
    call('search_customers', { query: city, limit: 8 }, { records: found }, 2)
    found.slice(turn % 3, (turn % 3) + 2 + (turn % 2)).forEach((customer, index) => {
      call('get_customer', { id: customer.id }, { records: [customer] }, 3 + index)
    })
    if (turn % 5 === 0) {
      call('save_note', { id: found[0]?.id, text: 'Asked for an invoice copy.' }, { note: `N-1${turn}` }, 9)
    }
  }
  return lines.join('')
}
