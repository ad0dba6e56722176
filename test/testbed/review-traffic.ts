import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Config } from '../../src/config.ts'
import { examine } from '../../src/invocations/examine.ts'
import { openInvocations } from '../../src/invocations/index.ts'
import type { Review } from '../../src/invocations/port.ts'
import type { StepInput } from '../../src/playbook/step.ts'
import { server } from './cases.ts'
import { otelLine, type Traffic } from './traffic.ts'

/** What a review of this traffic finds, read from files as a responder's would be. */
export async function reviewTraffic(
  { lines, since, until }: Traffic,
  hours?: Config['hours'],
): Promise<Pick<Review, 'findings' | 'gaps' | 'hours' | 'tools' | 'resources'>> {
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-test-'))
  try {
    const path = join(folder, 'log.ndjson')
    const suspect = server()
    await writeFile(path, lines.map((line) => `${otelLine(suspect.name, line)}\n`).join(''))
    const invocations = { kind: 'files', path, format: 'otel' } as const
    const now = () => new Date(until)
    const log = await openInvocations(invocations, now)
    const window = { since: new Date(since).toISOString(), until: new Date(until).toISOString() }
    const reviewed = await log.review([suspect.name], window, new AbortController().signal)
    try {
      const input = { context: { config: { invocations, hours }, now }, case: { server: suspect, servers: [suspect] } }
      return await examine(input as unknown as StepInput, reviewed, window)
    } finally {
      await reviewed.close()
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
