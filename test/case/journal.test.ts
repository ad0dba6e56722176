import { appendFileSync, mkdtempSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createCase, openCase } from '../../src/case/case.ts'
import { checkCase } from '../../src/case/check.ts'
import { readJournal } from '../../src/case/journal.ts'
import { clock, opened } from '../testbed/cases.ts'

const folder = () => mkdtempSync(join(tmpdir(), 'mcp-ir-journal-'))

/** A closed case with some lines and two pieces of evidence. */
async function someCase() {
  const incident = createCase(folder(), opened(), { ...clock(), takeOver: false })
  incident.journal.append('note', {
    kind: 'note',
    text: 'tab\t, escape \u001b[31m and ünïcode',
    at: '2026-11-23T02:00:00.000Z',
  })
  await incident.evidence.put('a.txt', 'text/plain', 'first')
  await incident.evidence.put('b.json', 'application/json', '{"b":2}')
  incident.journal.append('note', { kind: 'aware', text: 'aware', at: '2026-11-23T01:00:00.000Z' })
  incident.close()
  return incident
}

describe('a journal', () => {
  test('is written as the design says: one JSON object a line, chained, with integers only', async () => {
    const { folder: path, journal } = await someCase()
    const lines = readFileSync(join(path, 'journal.ndjson'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines[0]).toMatchObject({ seq: 1, by: 'alice@laptop', kind: 'case.opened', prev: '0'.repeat(64) })
    expect(lines[0].at).toMatch(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/)
    for (const [index, line] of lines.entries()) if (index > 0) expect(line.prev).toBe(lines[index - 1].hash)
    expect(lines).toEqual(journal.lines)
    expect(() => journal.append('change.started', { id: 'x', attempt: 0.5 })).toThrow('integers only')
  })

  test('any flipped bit of any byte is found, and its line is named', async () => {
    const { folder: path } = await someCase()
    const file = join(path, 'journal.ndjson')
    const original = readFileSync(file)
    await fc.assert(
      fc.asyncProperty(fc.nat(original.length - 1), fc.nat(7), async (position, bit) => {
        const changed = Buffer.from(original)
        changed[position] = (changed[position] ?? 0) ^ (1 << bit)
        writeFileSync(file, changed)
        const { damage } = await checkCase(path)
        const line = original.subarray(0, position).filter((byte) => byte === 0x0a).length + 1
        expect(damage[0]?.place).toMatch(new RegExp(`^journal.ndjson line (${line}|${line + 1})$`))
      }),
      { numRuns: 400 },
    )
    writeFileSync(file, original)
    expect((await checkCase(path)).damage).toEqual([])
  })

  test('a line taken out, doubled or moved is found', async () => {
    const { folder: path } = await someCase()
    const bytes = readFileSync(join(path, 'journal.ndjson'))
    const lines = bytes.toString().trimEnd().split('\n')
    const join_ = (order: (string | undefined)[]) => Buffer.from(`${order.join('\n')}\n`)
    expect(readJournal(join_([lines[0], lines[2], lines[3]])).damage?.line).toBe(2)
    expect(readJournal(join_([lines[0], lines[1], lines[1]])).damage?.line).toBe(3)
    expect(readJournal(join_([lines[1], lines[0]])).damage?.line).toBe(1)
  })

  test('a torn last line is set aside, kept and journalled; the case goes on', async () => {
    const { folder: path } = await someCase()
    const file = join(path, 'journal.ndjson')
    const whole = readFileSync(file)
    appendFileSync(file, '{"seq":99,"at":"2026-')
    expect((await checkCase(path)).damage[0]?.what).toContain('half-written')
    const again = openCase(path, { ...clock(), takeOver: false })
    again.close()
    const last = again.journal.lines.at(-1)
    expect(last).toMatchObject({ kind: 'journal.torn', data: { bytes: 21 } })
    expect(readFileSync(file).subarray(0, whole.length)).toEqual(whole)
    expect((await checkCase(path)).damage).toEqual([])
  })

  test('a last line that lacks only its newline counts', async () => {
    const { folder: path, journal } = await someCase()
    const file = join(path, 'journal.ndjson')
    truncateSync(file, readFileSync(file).length - 1)
    const again = openCase(path, { ...clock(), takeOver: false })
    again.journal.append('note', { kind: 'note', text: 'after', at: '2026-11-23T02:00:00.000Z' })
    again.close()
    expect(again.journal.lines.length).toBe(journal.lines.length + 1)
    expect((await checkCase(path)).damage).toEqual([])
  })
})

describe('evidence', () => {
  test('any flipped byte is found and the file is named; so is a missing one and a changed manifest', async () => {
    const { folder: path, journal } = await someCase()
    for (const line of journal.lines) {
      if (line.kind !== 'evidence.stored') continue
      const file = join(path, line.data.path)
      const original = readFileSync(file)
      for (let position = 0; position < original.length; position++) {
        const changed = Buffer.from(original)
        changed[position] = (changed[position] ?? 0) ^ 1
        writeFileSync(file, changed)
        expect((await checkCase(path)).damage[0]?.place).toContain(line.data.sha256)
      }
      writeFileSync(file, original)
    }
    const manifest = join(path, 'evidence', 'manifest.json')
    const original = readFileSync(manifest)
    for (let position = 0; position < original.length; position++) {
      const changed = Buffer.from(original)
      changed[position] = (changed[position] ?? 0) ^ 1
      writeFileSync(manifest, changed)
      expect((await checkCase(path)).damage.map(({ place }) => place)).toContain('evidence/manifest.json')
    }
  })

  test('the same bytes under the same name are the same evidence', async () => {
    const incident = createCase(folder(), opened(), { ...clock(), takeOver: false })
    const first = await incident.evidence.put('a.txt', 'text/plain', 'first')
    const second = await incident.evidence.put(
      'a.txt',
      'text/plain',
      (async function* () {
        yield 'fi'
        yield Buffer.from('rst')
      })(),
    )
    expect(second).toEqual(first)
    expect(incident.journal.lines.filter((line) => line.kind === 'evidence.stored')).toHaveLength(1)
    incident.close()
  })
})
