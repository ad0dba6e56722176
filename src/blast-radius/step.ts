import { z } from 'zod'
import { powers } from '../credentials/powers/index.ts'
import type { Granted, Powers } from '../credentials/powers/port.ts'
import { IrError } from '../errors.ts'
import { invocationsOf, namesOf, windowOf } from '../invocations/index.ts'
import type { Reviewed } from '../invocations/port.ts'
import type { StepInput, StepKind, StepResult } from '../playbook/step.ts'
import { type Touches, touchesOf } from '../registry/touches.ts'
import { type Exposure, exposedBy } from './exposed.ts'
import { leftWith, observedIn } from './observed.ts'
import type { BlastRadius } from './port.ts'
import { rankingOf } from './rank.ts'
import { type Ask, reachOf } from './reach.ts'
import { type Followed, type Following, follow } from './suspect.ts'

/** The worst suspect calls that are named as such. */
const mostWorst = 50

const instant = z.iso.datetime({ offset: true })

/** What the compromised server could reach, did reach, and whom it may have carried on to. Reads only. */
export const blastRadius: StepKind = {
  kind: 'blast-radius.compute',
  summary:
    'Computes the blast radius: what the server could reach, did reach, was told, and which later calls are suspect',
  with: z.strictObject({
    since: instant.optional(),
    until: instant.optional(),
    throughHubs: z.boolean().optional(),
  }),
  result: compute,
}

async function compute(input: StepInput): Promise<StepResult> {
  const { window, sinceFrom } = windowOf(input)
  const { server, servers } = input.case
  const { invocations } = input.context.config
  const log = await invocationsOf(input.context)
  input.progress('asking what its credentials open')
  const reach = await reachOf(server, servers, askFor(input))
  const touches = touchesOf(servers)
  const gaps = [...reach.gaps]
  if (sinceFrom === 'default')
    gaps.push(`Nothing says since when the server was bad: the window begins at ${window.since}, which is a guess.`)

  input.progress('reading the invocation log')
  const names = namesOf(input.case)
  const reviewed = await log?.review(names, window, input.signal, touches.wanted)
  try {
    const carried = reviewed === undefined ? nothing : await carriedOn(input, reviewed, touches)
    // After the trail, which may have shown that not everything can be read.
    const observed = observedIn(server, reach.couldReach, reviewed, invocations?.writer === 'server')
    const unread = [
      ...reach.unread,
      ...(reviewed?.unread ?? [
        'No invocation log is configured (invocations in mcp-ir.yaml): what the server did reach was not looked at.',
      ]),
    ]
    const { exposed, suspect, hubs, worst } = carried
    const output: BlastRadius = {
      window,
      couldReach: reach.couldReach,
      didReach: observed.didReach,
      left: reviewed === undefined ? [] : leftWith(reviewed.review),
      exposed,
      suspect,
      hubs,
      worst,
      dataClasses: [...new Set([...reach.couldReach.flatMap((entry) => entry.data), ...carried.data])].sort(),
      owners: [...new Set([...reach.owners, ...carried.owners])],
      gaps: [...new Set([...gaps, ...observed.gaps, ...carried.gaps, ...unread, ...(reviewed?.review.gaps ?? [])])],
    }
    return { output, state: unread.length > 0 ? 'partial' : 'done', open: unread }
  } finally {
    await reviewed?.close()
  }
}

/** Whoever issued a credential is asked what it opens. Where it does not answer, the registry's word stands, and that is said. */
function askFor({ context, signal }: StepInput): Ask {
  const { vault, aws } = context.config
  return async (credential, others): Promise<Granted | undefined> => {
    const load = powers[credential.kind]
    if (load === undefined) return undefined
    const adapter = (await load()) as unknown as Powers
    try {
      return await adapter.of({ credential, others, vault, aws, now: context.now, signal })
    } catch (error) {
      if (!(error instanceof IrError) || error.code === 'interrupted') throw error
      const why = error.message.replace(/\.$/, '')
      const told = [`What ${credential.id} opens could not be asked (${why}): only what the registry says is listed.`]
      // A system that nobody set up is no source that was read in part.
      return { opens: [], holds: [], ...(error.unconfigured ? { gaps: told, unread: [] } : { gaps: [], unread: told }) }
    }
  }
}

interface Carried extends Pick<BlastRadius, 'exposed' | 'suspect' | 'hubs' | 'worst' | 'owners' | 'gaps'> {
  readonly data: readonly string[]
}

const nothing: Carried = { exposed: [], suspect: [], hubs: [], worst: [], owners: [], gaps: [], data: [] }

/** What the log shows of others: what they told the server, and what they did after they had listened to it. */
async function carriedOn(input: StepInput, reviewed: Reviewed, touches: Touches): Promise<Carried> {
  const { server, servers } = input.case
  const lists = await showsLists(reviewed)
  const configured = new Set(lists ? [] : server.consumers)
  const ranking = rankingOf(servers)
  input.progress('following what came from the server from context to context')
  const followed = await followToTheEnd(reviewed, {
    touches: touches.of,
    rank: ranking.rank,
    configured,
    throughHubs: input.with.throughHubs === true,
  })
  const exposure = await exposedBy((which) => reviewed.trail(which), servers)
  const affected = new Set(followed.suspect.filter(({ by }) => by !== 'inferred').map((call) => call.server))
  return {
    exposed: exposure.exposed,
    suspect: followed.suspect,
    hubs: followed.hubs,
    worst: followed.worst
      .slice(0, mostWorst)
      .map(({ suspect }) => ({ record: suspect.record, why: ranking.why(suspect.server, suspect.tool) })),
    owners: servers
      .filter(({ name, aliases }) => [name, ...aliases].some((one) => affected.has(one)))
      .map(({ owner }) => owner),
    gaps: gapsOf(followed, exposure, configured),
    data: exposure.data,
  }
}

/** Again for as long as there is more to see: a source may give only the records of the contexts that it was asked for. */
async function followToTheEnd(reviewed: Reviewed, following: Following): Promise<Followed> {
  await reviewed.widen?.({ agents: following.configured })
  for (;;) {
    const followed = await follow(() => reviewed.trail('all'), following)
    if (reviewed.widen === undefined || !(await reviewed.widen(followed.tainted))) return followed
  }
}

/** Whether the log shows who took in the server's list of tools: then whoever is not shown did not. */
async function showsLists(reviewed: Reviewed): Promise<boolean> {
  for await (const piece of reviewed.trail('own')) if (piece.some(({ list }) => list)) return true
  return false
}

function gapsOf(
  { suspect, hubs, total, untold }: Followed,
  { more }: Exposure,
  configured: ReadonlySet<string>,
): string[] {
  const gaps: string[] = []
  if (total > suspect.length)
    gaps.push(`${total - suspect.length} more suspect calls are not listed; those that are listed are the worst.`)
  const hidden = hubs.reduce((sum, { calls }) => sum + calls, 0)
  if (hidden > 0)
    gaps.push(`${hidden} suspect calls at hubs are not listed and were not followed: --through-hubs does both.`)
  if (more > 0) gaps.push(`${more} more contexts that sent less to the server are not listed.`)
  if (untold > 0)
    gaps.push(
      `Of ${untold} calls it cannot be told which resource they touched, as the log lacks the parameter or response that names it: whoever read it later was not followed.`,
    )
  if (configured.size > 0)
    gaps.push(
      `The log does not show who took in the server's list of tools. The agents that have it configured (${[...configured].join(', ')}) are taken to have: their calls are suspect by inference, and were not followed any further.`,
    )
  return gaps
}
