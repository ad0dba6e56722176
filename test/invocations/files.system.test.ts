import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { filesInvocations } from '../../src/invocations/files.ts'
import { invocationsContract } from '../contracts/invocations.ts'

// The same records once by DuckDB, once line by line as if each were too long for it, once half and half, and once by what the
// first line makes one expect of all.
for (const [name, runs, ways] of [
  ['files', 10, {}],
  ['files, long lines', 6, { oneByOne: 1 }],
  ['files, some long lines', 6, { oneByOne: 330 }],
  ['files, known by their first line', 10, { firstLines: 1 }],
] as const) {
  invocationsContract({
    name,
    runs,
    async open(records, format, offset) {
      const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-test-'))
      const path = join(folder, 'log.ndjson')
      await writeFile(path, records.map((record) => `${JSON.stringify(record)}\n`).join(''))
      const log = filesInvocations(
        { kind: 'files', path, format, offset },
        () => new Date('2026-11-26T00:00:00Z'),
        ways,
      )
      return { log, close: () => rm(folder, { recursive: true, force: true }) }
    },
  })
}
