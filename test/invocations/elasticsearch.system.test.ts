import { afterAll, beforeAll, describe } from 'vitest'
import { elasticsearchInvocations } from '../../src/invocations/elasticsearch.ts'
import { invocationsContract } from '../contracts/invocations.ts'
import { type Elasticsearch, skipWithoutElasticsearch, startElasticsearch } from '../testbed/elasticsearch.ts'
import { makeLog } from '../testbed/search-log.ts'

describe.skipIf(skipWithoutElasticsearch('the invocations contract on Elasticsearch'))('a real Elasticsearch', () => {
  let es: Elasticsearch
  beforeAll(async () => {
    es = await startElasticsearch()
  })
  afterAll(() => es?.stop())

  let made = 0
  invocationsContract({
    name: 'elasticsearch',
    runs: 5,
    async open(records, format, offset) {
      made += 1
      // Two days of a log, which are two indices.
      const names = [1, 2].map((day) => `log-${made}-${day}`)
      for (const [day, name] of names.entries()) {
        await makeLog(es, name)
        await es.index(name, records.filter((_, at) => at % 2 === day).map(dated))
      }
      const config = { kind: 'elasticsearch', node: es.url, index: `log-${made}-*`, format, offset } as const
      const log = elasticsearchInvocations(config, () => new Date('2026-11-26T00:00:00Z'))
      return { log, close: () => es.call('DELETE', `/${names.join(',')}`).then(() => undefined) }
    },
  })
})

/** Nanoseconds as text are no date; whoever ships them adds one. */
function dated(record: object): object {
  const { startTimeUnixNano } = record as { startTimeUnixNano?: string }
  if (startTimeUnixNano === undefined) return record
  return { ...record, '@timestamp': new Date(Number(startTimeUnixNano) / 1e6).toISOString() }
}
