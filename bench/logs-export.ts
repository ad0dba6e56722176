/** Exports one index and says how many records that were: node logs-export.ts NODE INDEX FILE */
import module from 'node:module'
import { dirname, join } from 'node:path'
import { exportTo } from '../src/invocations/export-file.ts'
import { openInvocations } from '../src/invocations/index.ts'

// As bin/run.js does.
module.enableCompileCache?.()
const [node = '', index = '', file = ''] = process.argv.slice(2)
const log = await openInvocations({ kind: 'elasticsearch', node, index, format: 'otel' })
const window = { since: '2026-11-01T00:00:00.000Z', until: '2026-12-01T00:00:00.000Z' }
const names = ['io.acme/crm']
const exported = await exportTo({ file, source: index, names, window }, join(dirname(file), 'notes'), (asked, after) =>
  log.export(names, asked, new AbortController().signal, after),
)
process.stdout.write(`${exported.records}\n`)
