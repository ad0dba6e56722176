import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import type { StepInput } from '../../src/playbook/step.ts'
import type { Wanted } from '../../src/report/build.ts'
import { report, reportOf } from '../../src/report/step.ts'
import type { JournalBuilder } from '../testbed/journal-builder.ts'
import { incident } from './incident.ts'

let folder: string

// The charting library is many files; loading it is not what is tested.
beforeAll(() => import('../../src/report/write.ts').then(() => {}), 60_000)

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcp-ir-report-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

async function store(journal: JournalBuilder): Promise<void> {
  await mkdir(join(folder, 'evidence'), { recursive: true })
  await writeFile(join(folder, 'journal.ndjson'), journal.bytes)
  for (const [sha256, bytes] of journal.files) await writeFile(join(folder, 'evidence', sha256), bytes)
}

// What the step uses of its input.
const wanted: Wanted = { tlp: 'amber+strict', duties: ['gdpr'] }
const input = (dryRun: boolean) =>
  ({ case: { folder }, context: { config: wanted }, dryRun, progress: () => {} }) as unknown as StepInput
const nothing = { operations: [], open: [] }

it('writes three files that only their owner reads, whole, and the same bytes again', async () => {
  await store(incident())
  const { output } = await report.result(input(false), nothing)
  expect(output).toEqual({
    html: join(folder, 'report/report.html'),
    md: join(folder, 'report/report.md'),
    json: join(folder, 'report/report.json'),
  })
  const read = async () =>
    Promise.all(['html', 'md', 'json'].map((format) => readFile(join(folder, `report/report.${format}`), 'utf8')))
  const first = await read()
  expect(first[0]).toMatch(/^<!doctype html>/)
  expect(await readdir(join(folder, 'report'))).toEqual(['report.html', 'report.json', 'report.md'])
  expect((await stat(join(folder, 'report/report.html'))).mode & 0o777).toBe(0o600)
  expect((await stat(join(folder, 'report'))).mode & 0o777).toBe(0o700)

  const journal = await readFile(join(folder, 'journal.ndjson'))
  const again = await reportOf({ folder }, wanted)
  again.write()
  expect(await read()).toEqual(first)
  expect((['html', 'md', 'json'] as const).map(again.text)).toEqual(first)
  expect(await readFile(join(folder, 'journal.ndjson'))).toEqual(journal)
})

it('writes a redacted one beside the whole one, the same bytes again', async () => {
  await store(incident())
  const write = async () => (await reportOf({ folder }, { ...wanted, tlp: 'green', redacted: true })).write()
  const paths = await write()
  const read = () => Promise.all(Object.values(paths).map((path) => readFile(path, 'utf8')))
  const first = await read()
  for (const text of first.slice(0, 2)) expect(text).toContain('TLP:GREEN')
  await write()
  expect(await read()).toEqual(first)
  await reportOf({ folder }, wanted).then((report) => report.write())
  expect(await readdir(join(folder, 'report'))).toEqual(
    ['redacted', 'report'].flatMap((name) => ['html', 'json', 'md'].map((format) => `${name}.${format}`)),
  )
})

it('writes nothing in a dry run', async () => {
  await store(incident())
  expect(await report.result(input(true), nothing)).toEqual({ output: undefined })
  expect(await readdir(folder)).toEqual(['evidence', 'journal.ndjson'])
})

it('tells when evidence is missing from the folder, and reports the rest', async () => {
  const journal = incident()
  await store(journal)
  const review = journal.lines.find((line) => line.kind === 'step.finished' && line.data.use === 'invocations.review')
  const sha256 = review?.kind === 'step.finished' ? (review.data.output ?? '') : ''
  await rm(join(folder, 'evidence', sha256))
  const { text } = await reportOf({ folder }, wanted)
  expect(text('html')).toContain(`cannot be read; what it found is missing from this report. Evidence ${sha256}`)
  expect(text('html')).toContain('crm-db')
})

it('says where it could not write', async () => {
  await store(incident())
  await writeFile(join(folder, 'report'), 'in the way')
  const { write } = await reportOf({ folder }, wanted)
  expect(write).toThrow(/could not be written to .*report \((EEXIST|ENOTDIR)\)/)
})
