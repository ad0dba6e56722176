import type { Cluster } from '../../elasticsearch/client.ts'
import { IrError } from '../../errors.ts'
import { safe } from '../../ui/safe-text.ts'

/** Names that are asked for at once: they stand in an address. */
const together = 20

interface Resolved {
  readonly indices?: readonly { readonly name: string; readonly attributes?: readonly string[] }[]
  readonly aliases?: readonly { readonly indices?: readonly string[] }[]
  readonly data_streams?: readonly { readonly backing_indices?: readonly string[] }[]
}

/** What is closed of all that an expression names, also by way of aliases and data streams: a search leaves it out without a word. */
export async function closedIndices(
  cluster: Cluster,
  index: string,
): Promise<{ readonly closed: readonly string[]; readonly problems: readonly string[] }> {
  try {
    const first = await resolved(cluster, index)
    const seen = new Set((first.indices ?? []).map(({ name }) => name))
    const behind = [
      ...(first.aliases ?? []).flatMap(({ indices = [] }) => indices),
      ...(first.data_streams ?? []).flatMap(({ backing_indices = [] }) => backing_indices),
    ].filter((name) => !seen.has(name))
    const found = [...(first.indices ?? [])]
    const names = [...new Set(behind)]
    for (let at = 0; at < names.length; at += together)
      found.push(...((await resolved(cluster, names.slice(at, at + together).join(','))).indices ?? []))
    const closed = found.filter(({ attributes = [] }) => attributes.includes('closed')).map(({ name }) => name)
    const told = closed.map((name) => safe(name)).join(', ')
    return {
      closed,
      problems:
        closed.length === 0
          ? []
          : [
              `Closed, so that what they hold was not read: ${told} (open them with POST /<index>/_open, and run the step again).`,
            ],
    }
  } catch (error) {
    // It can still be read; that nothing of it is closed is only not known.
    if (!(error instanceof IrError) || error.code !== 'denied') throw error
    return { closed: [], problems: [`Whether any index that ${safe(index)} names is closed could not be asked.`] }
  }
}

async function resolved(cluster: Cluster, names: string): Promise<Resolved> {
  const path = `/_resolve/index/${encodeURIComponent(names)}`
  return await cluster.ask('GET', `${path}?expand_wildcards=open,closed,hidden&ignore_unavailable=true`)
}
