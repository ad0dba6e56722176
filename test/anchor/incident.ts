import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { mcpIr, workplace } from '../testbed/cli.ts'

const registry =
  'servers: [{name: io.example/a, version: "1", status: approved, owner: o, knownGood: 2026-11-20T00:00:00Z, package: {registryType: npm, identifier: a, version: "1"}, deployments: []}]\n'

/** A case whose configuration names an anchor; `--config` names the configuration, so that it is trusted. */
export async function incident(anchor: string, prepare: (cwd: string) => void = () => {}) {
  const cwd = workplace(
    registry,
    `invocations: {kind: files, path: "./none/*.ndjson", format: otel}\nanchor: ${anchor}\n`,
  )
  prepare(cwd)
  const run = (...args: string[]) => mcpIr([...args, '--config', 'mcp-ir.yaml', '--json'], { cwd })
  const opened = await run('blast-radius', 'io.example/a')
  expect(opened.code).toBe(3)
  const [id = ''] = readdirSync(join(cwd, 'cases'))
  const folder = join(cwd, 'cases', id)
  const linesOf = (name: string) =>
    existsSync(join(folder, name))
      ? readFileSync(join(folder, name), 'utf8')
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line))
      : []
  return {
    cwd,
    run,
    opened,
    folder,
    id,
    journal: () => linesOf('journal.ndjson'),
    attempts: () => linesOf('anchors.ndjson'),
  }
}
export type Incident = Awaited<ReturnType<typeof incident>>
