import type { TrailRecord } from '../invocations/port.ts'
import type { Server } from '../registry/port.ts'
import { contextName, idleGap } from './contexts.ts'
import type { Before, Exposed } from './port.ts'

/** Contexts that are listed, those that sent most. */
const longestList = 1000
/** Distinct parameter names, and tools called before, that are kept of one context; a suspect's caller can make up any number. */
const mostNames = 100

export interface Exposure {
  readonly exposed: readonly Exposed[]
  /** Contexts that are not listed. */
  readonly more: number
  /** Classes of data that contexts had read elsewhere before they called. */
  readonly data: readonly string[]
}

interface Context {
  readonly name: string
  readonly caller: string
  calls: number
  bytes: number | undefined
  readonly parameters: Map<string, { name: string; calls: number; bytes: number }>
  readonly before: Map<string, { server: string; tool: string; calls: number }>
  /** Called elsewhere since it last called the server; told once it calls the server again. */
  readonly since: Map<string, { server: string; tool: string; calls: number }>
  /** For contexts known by user and client: when they were last seen. */
  until: number
}

/**
 * What was sent to the server, by context. First the server's own calls, which say which contexts those are; then all records, for
 * what these contexts had called elsewhere before. Kept is only what belongs to a context that called the server.
 */
export async function exposedBy(
  trail: (which: 'own' | 'all') => AsyncIterable<readonly TrailRecord[]>,
  servers: readonly Server[],
): Promise<Exposure> {
  const contexts = new Map<string, Context>()
  const byTrace = new Map<string, Context>()
  for await (const piece of trail('own')) {
    for (const record of piece) {
      if (!record.call) continue
      const context = contextOf(record, contexts)
      if (record.trace !== undefined && !byTrace.has(record.trace)) byTrace.set(record.trace, context)
      count(context, record)
    }
  }
  for await (const piece of trail('all')) {
    for (const record of piece) {
      const context =
        contexts.get(contextName(record)) ?? (record.trace === undefined ? undefined : byTrace.get(record.trace))
      if (context !== undefined) follow(context, record)
    }
  }
  const classes = new Map(servers.flatMap((server) => namesOf(server).map((name) => [name, dataOf(server)] as const)))
  const listed = [...contexts.values()].sort((a, b) => (b.bytes ?? 0) - (a.bytes ?? 0) || b.calls - a.calls)
  const data = new Set<string>()
  for (const { before } of listed) {
    for (const { server } of before.values()) for (const one of classes.get(server) ?? []) data.add(one)
  }
  return {
    exposed: listed.slice(0, longestList).map((context) => told(context, classes)),
    more: Math.max(0, listed.length - longestList),
    data: [...data],
  }
}

function contextOf(record: TrailRecord, contexts: Map<string, Context>): Context {
  const name = contextName(record)
  const { agent, user, session } = record
  const context = contexts.get(name) ?? {
    name,
    caller: agent ?? user ?? session ?? 'unknown',
    calls: 0,
    bytes: undefined,
    parameters: new Map(),
    before: new Map(),
    since: new Map(),
    until: 0,
  }
  contexts.set(name, context)
  return context
}

function count(context: Context, { sent }: TrailRecord): void {
  context.calls += 1
  if (sent === undefined) return
  context.bytes = (context.bytes ?? 0) + sent.bytes
  for (const { name, bytes } of sent.parameters) {
    const known = context.parameters.get(name)
    if (known === undefined && context.parameters.size >= mostNames) continue
    const { calls = 0, bytes: before = 0 } = known ?? {}
    context.parameters.set(name, { name, calls: calls + 1, bytes: before + bytes })
  }
}

function follow(context: Context, record: TrailRecord): void {
  const { own, call, server = '', tool, time, ends, session, trace } = record
  // A user who was silent for long has begun something new.
  if (session === undefined && trace === undefined && time - context.until > idleGap) context.since.clear()
  context.until = Math.max(context.until, ends)
  if (!own) add(context.since, { server, tool, calls: 1 })
  else if (call) {
    for (const use of context.since.values()) add(context.before, use)
    context.since.clear()
  }
}

function add(uses: Context['before'], use: { server: string; tool: string; calls: number }): void {
  const key = JSON.stringify([use.server, use.tool])
  const known = uses.get(key)
  if (known !== undefined) known.calls += use.calls
  else if (uses.size < mostNames) uses.set(key, { ...use })
}

function told(context: Context, classes: ReadonlyMap<string, readonly string[]>): Exposed {
  const { name, caller, calls, bytes, parameters, before } = context
  return {
    context: name,
    caller,
    calls,
    ...(bytes === undefined ? {} : { bytes }),
    parameters: [...parameters.values()].sort((a, b) => b.bytes - a.bytes),
    before: [...before.values()].map((use): Before => ({ ...use, data: classes.get(use.server) ?? [] })),
  }
}

function namesOf(server: Server): readonly string[] {
  return [server.name, ...server.aliases]
}

function dataOf(server: Server): readonly string[] {
  return [...new Set(server.reaches.flatMap((reach) => reach.data))]
}
