import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openInvocations } from '../../src/invocations/index.ts'
import { invocationsContract } from '../contracts/invocations.ts'

invocationsContract({
  name: 'files',
  runs: 12,
  async open(records, format) {
    const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-test-'))
    const path = join(folder, 'log.ndjson')
    await writeFile(path, records.map((record) => `${JSON.stringify(record)}\n`).join(''))
    const log = await openInvocations({ kind: 'files', path, format }, () => new Date('2026-11-26T00:00:00Z'))
    return { log, close: () => rm(folder, { recursive: true, force: true }) }
  },
})
