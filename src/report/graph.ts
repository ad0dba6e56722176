import type { BlastRadius, CouldReach, Suspect } from '../blast-radius/port.ts'
import type { Html } from './escape.ts'
import { type GraphEdge, type GraphNode, layered } from './layers.ts'
import { count, plural } from './words.ts'

/** From the server over its credentials to what they open; what the log shows of each system is marked in it. */
export function reachGraph(server: string, radius: BlastRadius): Html | undefined {
  if (radius.couldReach.length === 0) return undefined
  const graph = new Graph()
  const root = graph.add({ column: 0, name: server, detail: 'compromised', look: 'root', rank: 0 })
  const seen = new Map(radius.didReach.map((did) => [did.system, did]))
  for (const reach of radius.couldReach) {
    const did = seen.get(reach.system)
    const rank = weight(reach) + (did?.coverage === 'accessed' ? 100 : 0)
    let from = root
    for (const [index, step] of stepsOf(reach).entries()) {
      const id = graph.add({ column: index + 1, name: step, look: 'means', rank })
      graph.join(from, id)
      from = id
    }
    const system = graph.add({
      column: stepsOf(reach).length + 1,
      name: reach.system,
      detail: detailOf(reach, did),
      look: did?.coverage === 'accessed' ? 'suspect' : did?.coverage === 'not-seen' ? 'plain' : 'unsure',
      rank,
    })
    graph.join(from, system)
  }
  const names = ['Server', 'Its credentials', 'What these open', 'What that opens', 'And that in turn']
  return layered({
    id: 'graph-reach',
    title: `What ${server} could reach`,
    description: `${plural(radius.couldReach.length, 'way')} from the server over its credentials to systems. The table “Could reach” holds the same in words.`,
    columns: names.slice(0, graph.columns),
    ...graph.content(),
  })
}

/** From the server over those who listened to it to the servers that they called, hop by hop. */
export function spreadGraph(server: string, { suspect, hubs, worst }: BlastRadius): Html | undefined {
  if (suspect.length === 0 && hubs.length === 0) return undefined
  const graph = new Graph()
  const root = graph.add({ column: 0, name: server, detail: 'compromised', look: 'root', rank: 0 })
  const byRecord = new Map(suspect.map((call) => [call.record, call]))
  const bad = new Map(worst.map(({ record }, place) => [record, worst.length - place]))
  const calls = tally(suspect, (call) => contextKey(call))
  const called = tally(suspect, (call) => JSON.stringify([hopOf(call), call.server]))
  for (const call of suspect) {
    const hop = hopOf(call)
    const rank = bad.get(call.record) ?? 0
    const inferred = call.by === 'inferred'
    const context = graph.add({
      column: 2 * hop - 1,
      key: contextKey(call),
      name: call.context ?? 'unknown context',
      detail: plural(calls.get(contextKey(call)) ?? 0, inferred ? 'inferred call' : 'suspect call'),
      look: 'means',
      rank,
    })
    if (hop === 1) graph.join(root, context, inferred)
    // What it read was written by the record before it.
    const writer = call.resource === undefined ? undefined : byRecord.get(call.chain.at(-2) ?? '')
    if (writer !== undefined) graph.join(serverKey(writer), context)
    const system = graph.add({
      column: 2 * hop,
      key: serverKey(call),
      name: call.server,
      detail: plural(called.get(JSON.stringify([hop, call.server])) ?? 0, 'suspect call'),
      look: 'suspect',
      rank,
    })
    graph.join(context, system, inferred)
  }
  for (const { context, contexts } of hubs) {
    const id = graph.add({
      column: 1,
      key: `hub ${context}`,
      name: context,
      detail: `hub of ${count(contexts)} contexts`,
      look: 'hub',
      // Never folded: it is where somebody has to look.
      rank: Number.MAX_SAFE_INTEGER,
    })
    graph.join(root, id)
  }
  const names = ['Server', 'Who listened to it', 'What they called', 'Who read what was written', 'What these called']
  return layered({
    id: 'graph-spread',
    title: `Who may have carried on what ${server} said`,
    description: `${plural(suspect.length, 'suspect call')} of ${plural(calls.size, 'context')}, by hops, and ${plural(hubs.length, 'hub')}. The tables “Suspect calls on other servers” and of hubs hold the same in words.`,
    columns: names.slice(0, graph.columns),
    ...graph.content(),
  })
}

class Graph {
  readonly #nodes = new Map<string, GraphNode>()
  readonly #edges: GraphEdge[] = []
  columns = 0

  /** The same node again is kept with its higher rank. `key`: what tells it from others; else its column and name. */
  add({ key, ...node }: Omit<GraphNode, 'id'> & { readonly key?: string }): string {
    const id = key ?? JSON.stringify([node.column, node.name])
    const known = this.#nodes.get(id)
    if (known === undefined || known.rank < node.rank) this.#nodes.set(id, { ...node, id })
    this.columns = Math.max(this.columns, node.column + 1)
    return id
  }

  join(from: string, to: string, inferred = false): void {
    this.#edges.push({ from, to, inferred })
  }

  content() {
    return { nodes: [...this.#nodes.values()], edges: this.#edges }
  }
}

/** Five columns are what a page takes: of a longer way the beginning and the end. */
function stepsOf({ via, way = [via] }: CouldReach): readonly string[] {
  if (way.length === 0) return ['not stated']
  if (way.length <= 3) return way.map((step) => (step === '' ? 'not stated' : step))
  return [way[0] ?? '', `${way.length - 2} more steps`, way.at(-1) ?? '']
}

function detailOf(reach: CouldReach, did: BlastRadius['didReach'][number] | undefined): string {
  if (did?.coverage === 'accessed')
    return did.rows > 0 ? `${plural(did.rows, 'row')} seen` : `${plural(did.calls, 'call')} seen`
  const seen = did?.coverage === 'not-seen' ? 'no call seen' : 'no visibility'
  return `${reach.access} · ${seen}`
}

/** What a responder asks for first. */
function weight({ access, classification, permissions = [] }: CouldReach): number {
  const level = access === 'admin' ? 4 : access === 'read' ? 1 : 2
  const escalates = permissions.some(({ group }) => group === 'escalate' || group === 'persist')
  return level + (classification === 'restricted' ? 3 : 0) + (escalates ? 5 : 0)
}

/** Hops from the third on stand with the second. */
function hopOf({ hop }: Suspect): number {
  return Math.max(1, Math.min(2, hop))
}

function contextKey(call: Suspect): string {
  return JSON.stringify(['context', hopOf(call), call.context ?? ''])
}

function serverKey(call: Suspect): string {
  return JSON.stringify(['server', hopOf(call), call.server])
}

function tally(calls: readonly Suspect[], key: (call: Suspect) => string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const call of calls) counts.set(key(call), (counts.get(key(call)) ?? 0) + 1)
  return counts
}
