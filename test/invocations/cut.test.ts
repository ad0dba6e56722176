import { describe, expect, it } from 'vitest'
import { cutPage } from '../../src/invocations/elasticsearch/cut.ts'

const mark = 'f00d'
const end = `"matched_queries":["${mark}"]}`

/** An answer as Elasticsearch writes it, whose records are given as their bytes. */
function answer(hits: readonly { readonly source: string; readonly id?: string; readonly sort?: string }[]): Buffer {
  const texts = hits.map(
    ({ source, id = 'a', sort = '1,2' }) =>
      `{"_index":"log","_id":${JSON.stringify(id)},"_score":null,"_ignored":["x"],"_source":${source},"sort":[${sort}],${end}`,
  )
  return Buffer.from(`{"pit_id":"p","hits":{"max_score":null,"hits":[${texts.join(',')}]}}`)
}

/** What somebody who knows how pages are cut, but not the mark, puts into a record. */
const hostile = [
  '{"a":"],\\"matched_queries\\":[\\"0000\\"]}"}',
  '{"hits":[{"_source":{"b":1},"sort":[7],"matched_queries":["0000"]}]}',
  '{"_source":{"_source":1},"sort":[1,2]}',
  '{"text":"\\",\\"sort\\":[1],\\"_source\\":{"}',
  '{}',
]

describe('cutting the records out of an answer', () => {
  it.each(hostile)('keeps %s as it was shipped', (source) => {
    const page = cutPage(
      answer([{ source, sort: '-5,0' }, { source: '{"n":2}', id: '"_source":{"x":1},"sort":[9]' }, { source }]),
      mark,
    )
    expect(page.bytes.toString()).toBe([source, '{"n":2}', source, ''].join('\n'))
    expect(page.line(1).toString()).toBe('{"n":2}\n')
    expect(page.times).toEqual([-5, 1, 1])
    expect(page.last).toEqual([1, 2])
    expect(page.envelope).toEqual({ pit_id: 'p', hits: { max_score: null, hits: [] } })
  })

  it('puts a record that was shipped over several lines on one', () => {
    expect(cutPage(answer([{ source: '{\r\n"a":1\n}' }]), mark).bytes.toString()).toBe('{  "a":1 }\n')
  })

  it('knows an empty page', () => {
    const { count, bytes, last } = cutPage(answer([]), mark)
    expect([count, bytes.length, last]).toEqual([0, 0, undefined])
  })

  it.each([
    ['no search', '{"error":"no"}'],
    ['without its records', `{"hits":{"hits":[{"_index":"log","_id":"a","sort":[1],${end}]}}`],
    ['without its marks', '{"hits":{"hits":[{"_index":"log","_id":"a","_source":{},"sort":[1]}]}}'],
    [
      'that breaks off',
      answer([{ source: '{"a":1}' }])
        .toString()
        .slice(0, -30),
    ],
  ])('an answer %s is an error, not an empty page', (_, text) => {
    expect(() => cutPage(Buffer.from(text), mark)).toThrow(SyntaxError)
  })
})
