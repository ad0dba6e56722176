import type { Elasticsearch } from './elasticsearch.ts'

/**
 * An index as a shipper makes it: times are dates, parameters and responses are kept and not indexed, everything else is as
 * Elasticsearch maps it by itself, which is as words with a keyword of up to 256 characters beside them.
 */
export async function makeLog(es: Elasticsearch, index: string, settings: object = {}): Promise<void> {
  const kept = { type: 'object', enabled: false }
  const parameters = { properties: { call: { properties: { arguments: kept, result: kept } } } }
  await es.call('PUT', `/${index}`, {
    settings: { number_of_shards: 2, number_of_replicas: 0, ...settings },
    mappings: {
      date_detection: false,
      properties: {
        ...Object.fromEntries(['timestamp', '@timestamp', 'logged_at', 'ts'].map((name) => [name, { type: 'date' }])),
        gen_ai: { properties: { tool: parameters } },
        attributes: { properties: { gen_ai: { properties: { tool: parameters } } } },
        data: { properties: { request: kept, response: kept } },
        call: { properties: { in: kept, out: kept } },
      },
    },
  })
}
