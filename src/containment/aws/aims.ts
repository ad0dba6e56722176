import type { Call, Change } from '../../change.ts'
import { addressAims } from './addresses.ts'
import { cutAims } from './interfaces.ts'
import { aclAims } from './network-acl.ts'
import { identity, placed } from './place.ts'
import { protectionAims } from './protections.ts'
import type { Target } from './reading.ts'
import { roleAims } from './role.ts'
import { leaveAims, suspendAims } from './scaling.ts'
import { sessionAims } from './sessions.ts'
import { snapshotAims } from './snapshots.ts'
import { targetAims } from './targets.ts'
import type { World } from './world.ts'

/** One thing that is to be so, whether it is, and the change that makes it so. */
export interface Aim {
  readonly holds: boolean
  readonly claim: string
  readonly seen: string
  readonly change: Change
}

export interface Drafting {
  readonly world: World
  readonly call: Call<Target>
  readonly region: string
  /** `command` without the region. @returns the id of the change */
  readonly aim: (
    action: string,
    target: string,
    rest: Pick<Change, 'summary' | 'priority'> &
      Partial<Pick<Change, 'after' | 'undo' | 'breaks' | 'effect' | 'facts'>> & {
        readonly params: object
        readonly command: string
      } & Pick<Aim, 'holds' | 'claim' | 'seen'>,
  ) => string
}

/** What must be back before a group may scale again: it would end an instance that it cannot reach. */
const beforeScaling = new Set(['isolate-interface', 'cut-subnet', 'take-address', 'deregister-targets'])

/** All that isolation wants of the world. What holds already is told by the verdict; what does not is the plan. */
export async function aims(world: World, call: Call<Target>): Promise<Aim[]> {
  const place = await identity(call)
  const { region } = place
  const found: Aim[] = []
  const drafting: Drafting = {
    world,
    call,
    region,
    aim: (action, target, { holds, claim, seen, params, command, ...change }) => {
      const id = call.changeId(action, target)
      found.push({
        holds,
        claim,
        seen,
        change: {
          id,
          action,
          target,
          effect: 'reversible',
          after: [],
          breaks: [],
          ...change,
          params: placed(params, place),
          command: `aws ${command} --region ${region}`,
        },
      })
      return id
    },
  }
  // What would terminate the evidence, or start the same build again, is stopped first; then the cut.
  const suspended = suspendAims(drafting)
  const cuts = cutAims(drafting)
  aclAims(drafting)
  // Beside it, and never in its way.
  leaveAims(drafting, suspended, cuts)
  targetAims(drafting)
  addressAims(drafting)
  sessionAims(drafting)
  protectionAims(drafting)
  roleAims(drafting)
  snapshotAims(drafting)
  const undoAfter = found.flatMap(({ change }) => (beforeScaling.has(change.action) ? change.id : []))
  return found.map((one) =>
    one.change.action === 'suspend-scaling' ? { ...one, change: { ...one.change, undoAfter } } : one,
  )
}
