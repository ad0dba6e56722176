import { type Cluster, connect, type Json, Refused } from '../elasticsearch/client.ts'
import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import { readHead } from './head.ts'
import type { Anchor, Head } from './port.ts'

/** More heads than any case has steps; a page of Elasticsearch is no larger. */
const most = 10_000

/**
 * One document for each anchored line, only ever created: the same line with another hash is refused by Elasticsearch itself.
 * A key for it needs `create_doc` and `read` on the index, and must not have `write`, `index` or `delete`.
 */
export function elasticsearchAnchor(config: { readonly node: string; readonly index: string }): Anchor {
  const { node } = config
  const index = encodeURIComponent(config.index)
  const name = `Elasticsearch ${safe(new URL(node).host)}, index ${safe(config.index)}`

  return {
    name,
    put: (head, signal) =>
      using(node, signal, async (cluster) => {
        try {
          await cluster.ask('POST', `/${index}/_create/${idOf(head)}`, { '@timestamp': head.at, ...head })
        } catch (error) {
          // That the answer to an earlier try was lost ends here, too.
          if (!(error instanceof Refused) || error.status !== 409) throw error
          const there = await found(cluster, index, [head])
          if (there.some(({ hash }) => hash !== head.hash))
            throw new IrError(
              'refused',
              `${name} has another line ${head.seq} of this case: the journal was rewritten`,
              {
                hints: ['`mcp-ir case check --anchor` shows where.'],
              },
            )
          if (there.length === 0) throw error
        }
        return { id: decodeURIComponent(idOf(head)) }
      }),
    known: (caseId, receipts, signal) =>
      using(node, signal, async (cluster) => {
        const heads = new Map<string, Head>()
        // A document can be read by its id at once; a search finds it only after the next refresh.
        const asked = receipts.map(({ head }) => head)
        for (const head of [...(await searched(cluster, index, caseId)), ...(await found(cluster, index, asked))])
          heads.set(`${head.seq} ${head.hash}`, head)
        return { heads: [...heads.values()], wrong: [] }
      }),
  }
}

/** Colons are in no case id. */
function idOf(head: Pick<Head, 'case' | 'seq'>): string {
  return encodeURIComponent(`${head.case}:${head.seq}`)
}

async function using<T>(node: string, signal: AbortSignal, work: (cluster: Cluster) => Promise<T>): Promise<T> {
  const cluster = await connect(node, signal)
  try {
    return await work(cluster)
  } finally {
    await cluster.close()
  }
}

async function found(cluster: Cluster, index: string, heads: readonly Head[]): Promise<readonly Head[]> {
  if (heads.length === 0) return []
  const ids = heads.map((head) => decodeURIComponent(idOf(head)))
  const { docs } = await cluster.ask('POST', `/${index}/_mget`, { ids: [...new Set(ids)] })
  return headsIn(docs, heads[0]?.case ?? '')
}

async function searched(cluster: Cluster, index: string, caseId: string): Promise<readonly Head[]> {
  // Whichever way the index came to its mapping.
  const should = [{ term: { case: caseId } }, { term: { 'case.keyword': caseId } }]
  const body = { size: most, query: { bool: { should, minimum_should_match: 1 } }, sort: [{ seq: 'desc' }] }
  try {
    const answer = await cluster.ask('POST', `/${index}/_search`, body)
    return headsIn((answer.hits as Json | undefined)?.hits, caseId)
  } catch (error) {
    // Nothing was ever anchored there.
    if (error instanceof Refused && error.status === 404) return []
    throw error
  }
}

function headsIn(documents: unknown, caseId: string): readonly Head[] {
  if (!Array.isArray(documents)) return []
  return documents.flatMap((document: { _source?: unknown } | null) => readHead(document?._source, caseId) ?? [])
}
