import { z } from 'zod'
import { namesOf, openInvocations, windowOf } from '../invocations/index.ts'
import type { Reviewed } from '../invocations/port.ts'
import type { StepInput, StepKind, StepResult } from '../playbook/step.ts'
import { observedIn } from './observed.ts'
import type { BlastRadius, Suspect } from './port.ts'
import { reachOf } from './reach.ts'

/** Suspect calls that are listed; the number of all is told. */
const longestList = 10_000

const instant = z.iso.datetime({ offset: true })

/** What the compromised server could reach, did reach, and whom it may have carried on to. Reads only. */
export const blastRadius: StepKind = {
  kind: 'blast-radius.compute',
  summary:
    'Computes the blast radius: what the server could reach, did reach, was told, and which later calls are suspect',
  with: z.strictObject({ since: instant.optional(), until: instant.optional() }),
  result: compute,
}

async function compute(input: StepInput): Promise<StepResult> {
  const { window, sinceFrom } = windowOf(input)
  const { server, servers } = input.case
  const { invocations } = input.context.config
  const reach = reachOf(server, servers)
  const gaps = [...reach.gaps]
  if (sinceFrom === 'default')
    gaps.push(`Nothing says since when the server was bad: the window begins at ${window.since}, which is a guess.`)

  input.progress('following the invocation log')
  const reviewed =
    invocations === undefined
      ? undefined
      : await (await openInvocations(invocations, input.context.now)).review(namesOf(input.case), window, input.signal)
  try {
    const observed = observedIn(server, reach.couldReach, reviewed, invocations?.writer === 'server')
    const suspects = reviewed === undefined ? { suspect: [], gaps: [] } : await suspectCalls(reviewed)
    const unread =
      reviewed === undefined
        ? ['No invocation log is configured (invocations in mcp-ir.yaml): what the server did reach was not looked at.']
        : reviewed.unread
    const output: BlastRadius = {
      window,
      couldReach: reach.couldReach,
      didReach: observed.didReach,
      exposed: (reviewed?.review.callers ?? []).map(({ caller, calls, sent }) => ({
        caller,
        calls,
        ...(sent === undefined ? {} : { bytes: sent }),
      })),
      suspect: suspects.suspect,
      hubs: [],
      dataClasses: [...new Set(reach.couldReach.flatMap((entry) => entry.data))].sort(),
      owners: reach.owners,
      gaps: [...new Set([...gaps, ...observed.gaps, ...suspects.gaps, ...(reviewed?.review.gaps ?? unread)])],
    }
    return { output, state: unread.length > 0 ? 'partial' : 'done', open: unread }
  } finally {
    await reviewed?.close()
  }
}

/** The first hop: calls of other servers by a session or trace that had taken in a response of this one. */
async function suspectCalls(reviewed: Reviewed): Promise<{ suspect: readonly Suspect[]; gaps: readonly string[] }> {
  const { calls, total } = await reviewed.followers(longestList)
  const gaps = [
    'Suspect calls are followed for one hop, by session or trace; what those calls wrote and who read it later is not followed.',
  ]
  if (total > calls.length) gaps.push(`${total - calls.length} more suspect calls are not listed.`)
  return {
    suspect: calls.map(({ id, server, tool, time, by, after }) => ({
      record: id,
      server,
      tool,
      at: time,
      hop: 1,
      by,
      chain: [after, id],
    })),
    gaps,
  }
}
