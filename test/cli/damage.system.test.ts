import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { mcpIr, workplace } from '../testbed/cli.ts'

test('a flipped byte of the journal or of the evidence: code 4 and the place, whatever else is asked of the case', async () => {
  const cwd = workplace(
    'servers: [{name: io.example/a, version: "1", status: approved, owner: o, knownGood: 2026-11-20T00:00:00Z, package: {registryType: npm, identifier: a, version: "1"}, deployments: []}]\n',
    'invocations: {kind: files, path: "./none/*.ndjson", format: otel}\n',
  )
  const run = (...args: string[]) => mcpIr(args, { cwd })
  expect((await run('blast-radius', 'io.example/a')).code).toBe(3)
  expect((await run('case', 'check')).code).toBe(0)
  const [id = ''] = readdirSync(join(cwd, 'cases'))
  const at = (...parts: string[]) => join(cwd, 'cases', id, ...parts)
  const flip = (file: string, position: number): (() => void) => {
    const original = readFileSync(file)
    const changed = Buffer.from(original)
    changed[position] = (changed[position] ?? 0) ^ 1
    writeFileSync(file, changed)
    return () => writeFileSync(file, original)
  }

  const [evidence = ''] = readdirSync(at('evidence')).filter((name) => /^[0-9a-f]{64}$/.test(name))
  let mend = flip(at('evidence', evidence), 5)
  const spoiled = await run('case', 'check', '--json')
  expect([spoiled.code, spoiled.json.status]).toEqual([4, 'refused'])
  expect(spoiled.json.result.damage[0].place).toContain(evidence)
  mend()

  const second = readFileSync(at('journal.ndjson')).indexOf(0x0a) + 20
  mend = flip(at('journal.ndjson'), second)
  const broken = await run('case', 'check')
  expect([broken.code, broken.stdout]).toEqual([4, expect.stringContaining('journal.ndjson line 2')])
  const list = await run('case', 'list', '--json')
  expect([list.code, list.json.problems[0].message]).toEqual([3, expect.stringContaining('line 2')])
  expect((await run('case', 'show', id)).code).toBe(4)
  expect((await run('blast-radius', 'io.example/a', '--case', id)).code).toBe(4)
  mend()
  expect((await run('case', 'check')).code).toBe(0)
})
