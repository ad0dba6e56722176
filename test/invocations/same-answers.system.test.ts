import { createWriteStream, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { mcpIr, workplace } from '../testbed/cli.ts'
import { type Elasticsearch, skipWithoutElasticsearch, startElasticsearch } from '../testbed/elasticsearch.ts'
import { traffic, trafficWindow } from '../testbed/log-traffic.ts'
import { makeLog } from '../testbed/search-log.ts'

const size = 200_000
const server = (name: string, more: string) =>
  `  - {name: ${name}, version: "1", status: approved, owner: ${name}-team, package: {registryType: npm, identifier: x, version: "1"}, deployments: [], ${more}}\n`
const registry = `servers:\n${server(
  'io.acme/crm',
  'aliases: [crm], consumers: [copilot], reaches: [{system: ledger, kind: api, access: read, data: [invoices]}]',
)}${server(
  'io.acme/notes',
  'resources: [{tool: save_note, access: write, resource: "note:${params.id}", system: notes-db}, {tool: get_note, access: read, resource: "note:${params.id}", system: notes-db}]',
)}${server('io.acme/wiki', 'reaches: [{system: wiki-db, kind: api, access: read-write, data: [personal]}]')}`

describe.skipIf(skipWithoutElasticsearch('the same answers from Elasticsearch and from files'))(
  `${size} records`,
  () => {
    let es: Elasticsearch
    let files: string
    let search: string
    beforeAll(async () => {
      es = await startElasticsearch()
      files = workplace(registry, 'invocations: {kind: files, path: "./log.ndjson", format: otel}\n')
      search = workplace(
        registry,
        `invocations: {kind: elasticsearch, node: "${es.url}", index: "mcp-*", format: otel}\n`,
      )
      const lines = [...traffic(size)]
      await pipeline(Readable.from(lines.map((line) => `${line}\n`)), createWriteStream(join(files, 'log.ndjson')))
      for (const [week, name] of ['mcp-1', 'mcp-2', 'mcp-3'].entries()) {
        await makeLog(es, name)
        await es.index(
          name,
          lines.filter((_, at) => at % 3 === week),
        )
      }
    }, 600_000)
    afterAll(async () => {
      await es?.stop()
      for (const folder of [files, search]) rmSync(folder, { recursive: true, force: true })
    })

    const both = async (...args: string[]) => {
      const [a, b] = await Promise.all(
        [files, search].map((cwd) =>
          mcpIr([...args, '--since', trafficWindow.since, '--until', trafficWindow.until, '--json'], { cwd }),
        ),
      )
      return [a, b].map((ran) => {
        const { result, ...rest } = ran?.json ?? {}
        return {
          code: ran?.code,
          ...rest,
          case: undefined,
          ...result,
          output: { ...result?.output, source: undefined },
        }
      })
    }

    it('review', async () => {
      const [fromFiles, fromSearch] = await both('review', 'io.acme/crm')
      expect(fromFiles?.code).toBe(0)
      expect(fromFiles?.output.records).toBeGreaterThan(900)
      expect(fromFiles?.output.duplicates).toBeGreaterThan(5)
      expect(fromFiles?.output.gaps.join('\n')).toMatch(/which server they went to.*\n.*Counted once/s)
      expect(fromSearch).toEqual(fromFiles)
    })

    it.each([['blast-radius'], ['blast-radius', '--through-hubs']])('%s %s', async (command, ...flags) => {
      const [fromFiles, fromSearch] = await both(command, 'io.acme/crm', ...flags)
      expect(fromFiles?.code).toBe(0)
      const hops = new Set(fromFiles?.output.suspect.map(({ hop }: { hop: number }) => hop))
      expect(hops.size).toBeGreaterThan(1)
      expect(new Set(fromFiles?.output.suspect.map(({ by }: { by: string }) => by))).toEqual(
        new Set(['session', 'trace', 'idle-gap']),
      )
      expect(fromSearch).toEqual(fromFiles)
    })
  },
)
