import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Elasticsearch, skipWithoutElasticsearch, startElasticsearch } from '../testbed/elasticsearch.ts'
import { rewriteJournal } from '../testbed/rewrite-journal.ts'
import { incident } from './incident.ts'

describe.skipIf(skipWithoutElasticsearch('anchor: elasticsearch'))('an anchor in Elasticsearch', () => {
  let server: Elasticsearch
  beforeAll(async () => {
    server = await startElasticsearch()
  })
  afterAll(() => server?.stop())
  const anchored = () => incident(`{kind: elasticsearch, node: "${server.url}", index: mcp-ir-anchors}`)

  test('has a document for each head; a rewritten journal with a right chain is found', async () => {
    const at = await anchored()
    await at.run('case', 'note', 'one')
    const whole = await at.run('case', 'check', '--anchor')
    expect([whole.code, whole.json.result.anchor.heads]).toEqual([0, 2])
    const { seq, hash } = at.journal().at(-1)
    const document = await server.call('GET', `/mcp-ir-anchors/_doc/${encodeURIComponent(`${at.id}:${seq}`)}`)
    expect(document._source).toMatchObject({ case: at.id, seq, hash })

    rewriteJournal(join(at.folder, 'journal.ndjson'), 2, (line) => ({ ...line, by: 'somebody else' }))
    expect((await at.run('case', 'check')).code).toBe(0)
    expect((await at.run('case', 'check', '--anchor')).code).toBe(4)
    // Also by who lost the receipts, and at once when the rewritten line is to be anchored.
    rmSync(join(at.folder, 'anchors.ndjson'))
    await server.call('POST', '/mcp-ir-anchors/_refresh')
    expect((await at.run('case', 'check', '--anchor')).code).toBe(4)
    const again = await at.run('case', 'anchor')
    expect([again.code, again.json.error.message]).toEqual([4, expect.stringContaining('rewritten')])
  })

  test('that lost an answer takes the same head again; that is down is said; an index that is not there knows nothing', async () => {
    const at = await anchored()
    rmSync(join(at.folder, 'anchors.ndjson'))
    expect((await at.run('case', 'anchor')).code).toBe(0)
    await server.halt()
    const down = await at.run('case', 'note', 'down')
    expect([down.code, down.json.problems[0]?.code]).toEqual([0, 'unreachable'])
    expect((await at.run('case', 'check', '--anchor')).code).toBe(5)
    await server.start()
    expect((await at.run('case', 'anchor')).code).toBe(0)
    await server.call('DELETE', '/mcp-ir-anchors')
    expect((await at.run('case', 'check', '--anchor')).code).toBe(4)
    rmSync(join(at.folder, 'anchors.ndjson'))
    expect((await at.run('case', 'check', '--anchor')).code).toBe(3)
  })
})
