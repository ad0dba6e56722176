import { randomBytes } from 'node:crypto'
import type { Cluster, Json } from '../../elasticsearch/client.ts'
import { IrError } from '../../errors.ts'
import { cutPage, type Page } from './cut.ts'
import { all } from './query.ts'

/** Records in a page: the most that an index gives by default. */
const mostHits = 10_000
/** Bytes that a page should have (what a core keeps near itself), and those beyond which it is asked for again with fewer records. */
const usualPage = 1.5 * 2 ** 20
const longestPage = 48 << 20
/** Of a single record: what a cluster takes at all is 100 MB. */
const longestRecord = 128 << 20
/** Looking up what a hit has beside its source is a sixth of the cluster's work. */
const onlySource = { stored_fields: [], _source: true }
/** Memory that is kept for pages to come. */
const mostRooms = 10
const largestRoom = 16 << 20
/** Two ask at once: the cluster then works while we cut. */
const slices = 2
const keepAlive = '10m'

type Search = Json & { readonly query: Json; readonly sort: Json | readonly unknown[] }

/** The log as it was at one moment, however long it is read: a point in time. */
export class View {
  readonly cluster: Cluster
  readonly #signal: AbortSignal
  #id: string
  /** What was not answered by all shards, or in time. */
  readonly #incomplete = new Set<string>()
  /** Records in a page that was right for the last one. */
  #size = 1000
  /** Memory of pages that are done with: what large answers are read into anew each time costs more than the rest of reading them. */
  readonly #rooms: Buffer[] = []

  private constructor(cluster: Cluster, id: string, signal: AbortSignal) {
    this.cluster = cluster
    this.#id = id
    this.#signal = signal
  }

  static async open(cluster: Cluster, indices: string, signal: AbortSignal): Promise<View> {
    const path = (more: string) =>
      `/${encodeURIComponent(indices)}/_pit?ignore_unavailable=true&keep_alive=${keepAlive}${more}`
    let answer: Json
    try {
      answer = await cluster.ask('POST', path(''))
    } catch (error) {
      // A shard that is not there would keep us from all others.
      if (!(error instanceof IrError) || error.code !== 'unreachable') throw error
      answer = await cluster.ask('POST', path('&allow_partial_search_results=true'))
    }
    const view = new View(cluster, String(answer.id), signal)
    view.#note(answer)
    return view
  }

  /** What of the log was not seen, in plain words. */
  problems(): readonly string[] {
    return [...this.#incomplete]
  }

  async close(): Promise<void> {
    try {
      await this.cluster.ask('DELETE', '/_pit', { id: this.#id })
    } catch (error) {
      // It closes by itself; a cluster that is gone has already said so.
      if (!(error instanceof IrError)) throw error
    }
  }

  /** A search without records: counts and aggregations. */
  async summary(body: Json): Promise<Json> {
    const answer = await this.cluster.ask('POST', '/_search', {
      size: 0,
      track_total_hits: false,
      ...body,
      ...this.#pit(),
    })
    this.#note(answer)
    return answer
  }

  /** Every record that a query finds, in no order, page by page: one at a time of each slice, which is `take`'s until it is done. */
  async each(query: Json, take: (page: Page, slice: number) => Promise<void>): Promise<void> {
    const one = async (slice: number) => {
      for await (const page of this.pages({ query, sort: ['_shard_doc'], slice: { id: slice, max: slices } })) {
        await take(page, slice)
        this.release(page)
      }
    }
    const ends = await Promise.allSettled(Array.from({ length: slices }, (_, slice) => one(slice)))
    for (const end of ends) if (end.status === 'rejected') throw end.reason
  }

  /** Records in a page, by how large they are. */
  get pageSize(): number {
    return this.#size
  }

  /** All that a search finds, page after page, as it sorts them. */
  async *pages(search: Search): AsyncGenerator<Page> {
    let after: Page['last']
    for (;;) {
      const { page, size } = await this.page({ ...search, ...(after === undefined ? {} : { search_after: after }) })
      if (page.count > 0) yield page
      if (page.count < size) return
      after = page.last
    }
  }

  /** One page, with as many records as fit. @returns how many were asked for: with fewer, there are no more */
  async page(search: Search, most = mostHits): Promise<{ readonly page: Page; readonly size: number }> {
    for (;;) {
      this.#signal.throwIfAborted()
      // Nobody could know it when the records were written; and no other answer has it.
      const mark = randomBytes(8).toString('base64url')
      const query = all(search.query, { match_all: { _name: mark } })
      const size = Math.min(this.#size, most)
      const body = { ...onlySource, track_total_hits: false, ...search, query, size, ...this.#pit() }
      const bytes = await this.cluster.bytes(
        '/_search?allow_partial_search_results=true',
        body,
        size === 1 ? longestRecord : longestPage,
        this.#rooms.pop(),
      )
      if (bytes === undefined) {
        if (size === 1)
          throw new IrError('unreachable', `Elasticsearch at ${this.cluster.name} holds a record of more than 128 MB.`)
        this.#size = Math.max(1, Math.min(this.#size, size) >> 3)
        continue
      }
      const page = this.#cut(bytes, mark)
      if (page.count > 0)
        this.#size = Math.max(
          1,
          Math.min(mostHits, Math.floor((usualPage * page.count) / bytes.length), this.#size * 8),
        )
      return { page, size }
    }
  }

  /** Says that a page is done with: another one will lie where it lies. */
  release({ bytes }: Page): void {
    if (this.#rooms.length < mostRooms && bytes.buffer.byteLength <= largestRoom)
      this.#rooms.push(Buffer.from(bytes.buffer))
  }

  #cut(bytes: Buffer, mark: string): Page {
    try {
      const page = cutPage(bytes, mark)
      this.#note(page.envelope)
      return page
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
      throw new IrError('unreachable', `What Elasticsearch at ${this.cluster.name} answers cannot be understood.`, {
        cause: error,
      })
    }
  }

  #pit(): Json {
    return { pit: { id: this.#id, keep_alive: keepAlive } }
  }

  /** A shard that fails and a search that runs out of time answer as if all were well. */
  #note(answer: Json): void {
    if (typeof answer.pit_id === 'string') this.#id = answer.pit_id
    const { failed = 0, total = 0 } = (answer._shards ?? {}) as { failed?: number; total?: number }
    if (failed > 0)
      this.#incomplete.add(`${failed} of ${total} shards of the log did not answer: what they hold was not read.`)
    if (answer.timed_out === true)
      this.#incomplete.add('The cluster stopped a search for want of time: the log was not read whole.')
  }
}
