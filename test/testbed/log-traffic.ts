/** When the window of the made-up traffic begins and ends; the log begins a month before and ends three days after. */
export const trafficWindow = { since: '2026-11-16T00:00:00.000Z', until: '2026-11-20T00:00:00.000Z' }

const minute = 60_000
const day = 24 * 60 * minute
const hostile = [
  `'; DROP TABLE lines; --`,
  '*',
  'a* OR b?',
  '%',
  '"quoted"',
  '\\',
  '<script>alert(1)</script>',
  '\u001b[31mred',
  'ä😀\n',
  'x'.repeat(400),
  '[1]',
  '{"a":1}',
]

/**
 * Records as OpenTelemetry writes them, the same for the same seed: several servers and what they share, every way in which a
 * context can be told, silences, copies, ids that are used twice, records without time or server, the future, hostile names. In no
 * order. Lines without their end.
 */
export function* traffic(records: number, seed = 20261123): Generator<string> {
  const random = seeded(seed)
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T
  const begin = Date.parse(trafficWindow.since) - 30 * day
  const odd = (share: number) => random() < share
  let last = ''
  for (let n = 0; n < records; n += 1) {
    if (last !== '' && odd(0.01)) {
      yield last
      continue
    }
    const session = Math.floor(random() * (records / 10))
    let time = begin + Math.floor(random() * 37 * day)
    // Two days on which nothing was logged.
    if (time > Date.parse('2026-11-17T06:00:00Z') && time < Date.parse('2026-11-19T06:00:00Z')) time -= 2 * day
    const server = odd(0.06)
      ? pick(['io.acme/crm', 'crm'])
      : pick(['io.acme/wiki', 'io.acme/notes', 'io.acme/mail', 'io.acme/files', pick(hostile)])
    const note = server === 'io.acme/notes' && odd(0.8)
    const told = random()
    const line = {
      timestamp: odd(0.0005) ? undefined : new Date(odd(0.0005) ? time + 400 * day : time).toISOString(),
      duration_ms: odd(0.9) ? Math.floor(random() * 5000) : undefined,
      'mcp.method.name': odd(0.01) ? 'tools/list' : odd(0.01) ? 'ping' : 'tools/call',
      'gen_ai.tool.name': note
        ? pick(['save_note', 'get_note'])
        : odd(0.005)
          ? pick(hostile)
          : pick(['lookup', 'search', 'send_mail', 'export']),
      'mcp.server.name': odd(0.001) ? undefined : server,
      'mcp.session.id': told < 0.6 ? `s-${session}` : odd(0.001) ? pick(hostile) : undefined,
      trace_id: told > 0.5 && told < 0.85 ? `t-${Math.floor(session / 3)}` : undefined,
      'gen_ai.agent.name': odd(0.002) ? pick(hostile) : pick(['copilot', 'sales', 'support', undefined]),
      'user.name': odd(0.02) ? undefined : odd(0.001) ? pick(hostile) : `user-${session % 3000}`,
      'client.address': odd(0.3) ? `10.0.${session % 200}.7:${1024 + Math.floor(random() * 1000)}` : undefined,
      span_id: odd(0.002) ? 'used-twice' : odd(0.01) ? undefined : `span-${n}`,
      'gen_ai.tool.call.arguments': odd(0.05)
        ? undefined
        : {
            id: odd(0.01) ? undefined : `n-${Math.floor(random() * (records / 50))}`,
            q: 'x'.repeat(Math.floor(random() * 40)),
          },
      'gen_ai.tool.call.result': odd(0.05)
        ? undefined
        : { structuredContent: { rows: Array.from({ length: Math.floor(random() * 5) }, (_, row) => ({ row })) } },
      'error.type': odd(0.03) ? pick(['timeout', 'permission_denied', '500']) : undefined,
    }
    last = JSON.stringify(line)
    yield last
  }
}

/** Small and repeatable; nothing here is a secret. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1664525 + 1013904223) % 4294967296
    return state / 4294967296
  }
}
