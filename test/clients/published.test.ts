import { describe, expect, it } from 'vitest'
import { parseClientFile } from '../../src/clients/document.ts'
import { entriesOf } from '../../src/clients/entries.ts'
import { clientOf, knownFiles } from '../../src/clients/known-files.ts'
import { match } from '../../src/clients/match.ts'
import { secretsOf } from '../../src/clients/secrets.ts'
import type { Deployment } from '../../src/registry/port.ts'
import { bytesOf, canary, crm, published } from './published.ts'

const wanted = {
  ...crm,
  deployments: [{ id: 'prod', kind: 'aws-ec2', url: crm.url }] as unknown as Deployment[],
  others: [],
}

/** All entries of the server out of it, one after the other. */
function takeOut(file: string, content: string): { text: string; secrets: string[]; entries: number } {
  let bytes: Uint8Array = Buffer.from(content, 'utf8')
  const secrets: string[] = []
  for (let entries = 0; ; entries++) {
    const document = parseClientFile(file, bytes)
    const entry = entriesOf(document.tree).find((one) => match(one, wanted)?.certain === true)
    if (entry === undefined) return { text: Buffer.from(bytes).toString('utf8'), secrets, entries }
    secrets.push(...secretsOf(entry).map(({ name }) => name))
    bytes = document.without(entry.path)
  }
}

/** The same file as other editors and systems write it. */
const layouts: readonly (readonly [string, (text: string) => string])[] = [
  ['as published', (text) => text],
  ['with CRLF', (text) => text.replaceAll('\n', '\r\n')],
  ['with a byte order mark', (text) => `\uFEFF${text}`],
  ['with CRLF and a byte order mark', (text) => `\uFEFF${text.replaceAll('\n', '\r\n')}`],
]

describe.each(published)('$client: $path', ({ client, path, marked, secrets, entries = 1 }) => {
  const { before, after } = bytesOf(marked)

  it.each(layouts)('loses the server and nothing else, %s', (_, layout) => {
    const taken = takeOut(path, layout(before))
    expect(taken.text).toBe(layout(after))
    expect(taken.text).not.toContain(canary)
    expect(taken.entries).toBe(entries)
  })

  it('has its secrets told by name', () => {
    expect(takeOut(path, before).secrets.toSorted()).toEqual(secrets.toSorted())
  })

  it('is known by where it lies', () => {
    expect(clientOf(`/home/alice/${path}`)).toBe(client)
  })
})

describe('JSON', () => {
  const json = published.filter(({ path }) => /\.jsonc?$/.test(path))

  it.each(json)('of $client ($path) may be indented with tabs, or stand on one line', ({ path, marked }) => {
    const { before, after } = bytesOf(marked)
    const tabs = (text: string): string => text.replaceAll(/^(?: {2})+/gm, (blanks) => '\t'.repeat(blanks.length / 2))
    expect(takeOut(path, tabs(before)).text).toBe(tabs(after))
    if (/\/\//.test(before.replaceAll('://', ''))) return
    const line = (text: string): unknown => JSON.parse(text.replaceAll(/\/\*.*?\*\/|,(?=\s*[}\]])/g, ''))
    const short = JSON.stringify(line(before))
    expect(takeOut(path, short).text).toBe(JSON.stringify(line(after)))
  })
})

it('there is a published form for every client of the list', () => {
  const without = new Set(knownFiles.map(({ client }) => client))
  for (const { client } of published) without.delete(client)
  expect([...without]).toEqual([])
})
