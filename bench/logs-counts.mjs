/** What a responder would write that night: the same counts by reading line by line: node logs-counts.mjs FILE */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'

const seen = new Set()
const tools = new Map()
const callers = new Map()
let duplicates = 0
const add = (map, key, { failed, rows, bytes, time }) => {
  const use = map.get(key) ?? { calls: 0, failed: 0, rows: 0, bytes: 0, first: time, last: time }
  use.calls += 1
  use.failed += failed ? 1 : 0
  use.rows += rows
  use.bytes += bytes
  if (time < use.first) use.first = time
  if (time > use.last) use.last = time
  map.set(key, use)
}
for await (const text of createInterface({
  input: createReadStream(process.argv[2]),
  crlfDelay: Number.POSITIVE_INFINITY,
})) {
  const line = JSON.parse(text)
  if (line['mcp.method.name'] !== 'tools/call' || line['mcp.server.name'] !== 'io.acme/crm') continue
  const time = Date.parse(line.timestamp)
  if (time < Date.parse('2026-11-01T00:00:00Z') || time >= Date.parse('2026-12-01T00:00:00Z')) continue
  const key = JSON.stringify([line.span_id, time, line['mcp.session.id'], line.trace_id, line['gen_ai.tool.name']])
  if (seen.has(key)) {
    duplicates += 1
    continue
  }
  seen.add(key)
  const result = line['gen_ai.tool.call.result']
  const call = {
    failed: line['error.type'] !== undefined,
    rows: result.structuredContent.rows.length,
    bytes: Buffer.byteLength(JSON.stringify(result)),
    time,
  }
  add(tools, line['gen_ai.tool.name'], call)
  add(callers, line['gen_ai.agent.name'], call)
}
const sum = (key) => [...tools.values()].reduce((all, use) => all + use[key], 0)
process.stdout.write(
  `${JSON.stringify([seen.size, duplicates, tools.size, callers.size, sum('calls'), sum('failed'), sum('rows'), sum('bytes')])}\n`,
)
