/** Reviews one file and prints its counts: node logs-review.ts FILE */
import { openInvocations } from '../src/invocations/index.ts'

const [path = ''] = process.argv.slice(2)
const log = await openInvocations({ kind: 'files', path, format: 'otel' })
const window = { since: '2026-11-01T00:00:00.000Z', until: '2026-12-01T00:00:00.000Z' }
const reviewed = await log.review(['io.acme/crm'], window, new AbortController().signal, {
  tools: [],
  paths: [],
  trail: false,
})
const { records, duplicates, tools, callers } = reviewed.review
const sum = (key: 'calls' | 'failed' | 'rows' | 'bytes') => tools.reduce((all, use) => all + (use[key] ?? 0), 0)
process.stdout.write(
  `${JSON.stringify([records, duplicates, tools.length, callers.length, sum('calls'), sum('failed'), sum('rows'), sum('bytes')])}\n`,
)
await reviewed.close()
