import type { Reviewed } from '../invocations/port.ts'
import type { Server } from '../registry/port.ts'
import type { CouldReach, DidReach, Left } from './port.ts'

export interface Observed {
  readonly didReach: readonly DidReach[]
  readonly gaps: readonly string[]
}

/**
 * What the log shows of each downstream system. Calls belong to a system when the registry's `resources` say so of their tool;
 * when the server has but one downstream, every other call is taken for one on it, and said to be. Undefined: no log was read.
 *
 * `not-seen` is said only where a call would have shown: the tool is mapped, and the log was there, whole, and not written by
 * the suspect. Everything else that was not seen is `no-visibility`.
 */
export function observedIn(
  server: Server,
  couldReach: readonly CouldReach[],
  reviewed: Pick<Reviewed, 'review' | 'unread' | 'covered'> | undefined,
  writtenBySuspect: boolean,
): Observed {
  const systems = downstreams(server)
  if (reviewed === undefined) return { didReach: systems.map((system) => nothing(system, 'no-visibility')), gaps: [] }

  const { tools } = reviewed.review
  const byTool = new Map<string, Set<string>>()
  for (const { tool, system } of server.resources) {
    if (system !== undefined) byTool.set(tool, (byTool.get(tool) ?? new Set()).add(system))
  }
  const unmapped = tools.filter(({ tool }) => !byTool.has(tool))
  const only = systems.length === 1 ? systems[0] : undefined
  const wouldShow = reviewed.covered && reviewed.unread.length === 0 && !writtenBySuspect

  const gaps: string[] = []
  const calls = unmapped.reduce((sum, use) => sum + use.calls, 0)
  if (calls > 0 && only !== undefined) {
    gaps.push(
      `${calls} calls are taken for calls on ${only} because it is the only downstream in the registry (inferred).`,
    )
  } else if (calls > 0) {
    gaps.push(
      `${calls} calls of ${unmapped.length} tools cannot be told to have reached one downstream or another: the registry's resources do not name a system for them.`,
    )
  }

  const didReach = systems.map((system): DidReach => {
    const mapped = [...byTool.values()].some((of) => of.has(system))
    const uses = tools.filter(({ tool }) => byTool.get(tool)?.has(system) ?? system === only)
    if (uses.length === 0)
      return nothing(system, (mapped || system === only) && wouldShow ? 'not-seen' : 'no-visibility')
    const total = (key: 'calls' | 'rows' | 'bytes') => uses.reduce((sum, use) => sum + (use[key] ?? 0), 0)
    return {
      system,
      coverage: 'accessed',
      calls: total('calls'),
      rows: total('rows'),
      bytes: total('bytes'),
      data: [...new Set(couldReach.filter((reach) => reach.system === system).flatMap((reach) => reach.data))],
    }
  })
  if (systems.length > 0) {
    gaps.push(
      'Credentials that were stolen and used directly leave no invocation: only the logs of the downstream systems show that.',
    )
  }
  return { didReach, gaps }
}

/** Who got its answers, and how much of them. */
export function leftWith({ callers }: Pick<Reviewed['review'], 'callers'>): readonly Left[] {
  return callers
    .map(
      ({ caller, calls, rows, bytes }): Left => ({
        caller,
        calls,
        ...(rows === undefined ? {} : { rows }),
        ...(bytes === undefined ? {} : { bytes }),
      }),
    )
    .sort((a, b) => (b.bytes ?? 0) - (a.bytes ?? 0) || (b.rows ?? 0) - (a.rows ?? 0) || b.calls - a.calls)
}

function downstreams(server: Server): readonly string[] {
  return [
    ...new Set([
      ...server.reaches.map((reach) => reach.system),
      ...server.resources.flatMap((resource) => resource.system ?? []),
    ]),
  ]
}

function nothing(system: string, coverage: 'not-seen' | 'no-visibility'): DidReach {
  return { system, coverage, calls: 0, rows: 0, bytes: 0, data: [] }
}
