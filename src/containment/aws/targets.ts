import {
  DeregisterTargetsCommand,
  RegisterTargetsCommand,
  type TargetDescription,
} from '@aws-sdk/client-elastic-load-balancing-v2'
import { safe } from '../../ui/safe-text.ts'
import type { Kind } from './action.ts'
import type { Drafting } from './aims.ts'
import { readTargets } from './read-serving.ts'
import { atOnce, clients, type Reading } from './reading.ts'
import { together } from './together.ts'

/** Load balancers send nothing more. */

interface TargetsParams {
  arn: string
  /** One; journals of old have all of a group in one change. */
  targets: TargetDescription[]
}

export function targetAims({ world, aim }: Drafting): void {
  // One that is stopped gets nothing, and could not be registered again.
  const stopped = new Set(
    world.instances.flatMap(({ InstanceId, State }) => (State?.Name === 'stopped' ? InstanceId : [])),
  )
  for (const { arn, targets } of world.registrations) {
    const serving = targets.filter(({ Id }) => !stopped.has(Id))
    if (serving.length === 0) continue
    const plain = serving.map(({ Id, Port, AvailabilityZone }) => ({
      Id: Id ?? '',
      ...(Port === undefined ? {} : { Port }),
      ...(AvailabilityZone === undefined ? {} : { AvailabilityZone }),
    }))
    // One change for each: who joins later has an undo of its own, and who cannot be registered again keeps nobody.
    for (const one of plain) {
      const params: TargetsParams = { arn, targets: [one] }
      aim('deregister-targets', `${listed([one])} in target group ${arn}`, {
        holds: false,
        claim: claim(params),
        seen: 'registered',
        summary: `Take ${listed([one])} out of target group ${safe(arn.split('/')[1] ?? arn)}`,
        priority: 'best-effort',
        params,
        undo: { targets: [one] },
        command: `elbv2 deregister-targets --target-group-arn ${arn} --targets Id=${one.Id}${one.Port === undefined ? '' : `,Port=${one.Port}`}`,
      })
    }
  }
}

function listed(targets: readonly TargetDescription[]): string {
  return targets.map(({ Id, Port }) => (Port === undefined ? Id : `${Id}:${Port}`)).join(', ')
}

const claim = ({ arn, targets }: TargetsParams): string =>
  `target group ${safe(arn.split('/')[1] ?? arn)} sends nothing to ${listed(targets)}`

const place = ({ Id, Port }: TargetDescription): string => `${Id}:${Port ?? ''}`

/** Targets of the same group go in one call with those of other changes. */
async function eachTogether(
  call: Reading,
  key: string,
  targets: readonly TargetDescription[],
  send: (targets: TargetDescription[]) => Promise<unknown>,
): Promise<void> {
  await Promise.all(targets.map((one) => together(call, key, one, atOnce, (some) => send([...some]))))
}

export const deregisterTargets: Kind<TargetsParams, { targets: TargetDescription[] }> = {
  together: atOnce,
  claim,
  async apply({ arn, targets }, call) {
    await eachTogether(call, `deregister ${arn}`, targets, (Targets) =>
      clients(call).balancing.send(new DeregisterTargetsCommand({ TargetGroupArn: arn, Targets })),
    )
  },
  async holds({ arn, targets }, call) {
    const now = (await readTargets(call, arn)).map(place)
    return !targets.some((target) => now.includes(place(target)))
  },
  back: {
    drift: async () => [],
    async apply({ arn }, { targets }, call) {
      await eachTogether(call, `register ${arn}`, targets, (Targets) =>
        clients(call).balancing.send(new RegisterTargetsCommand({ TargetGroupArn: arn, Targets })),
      )
    },
    async holds({ arn }, { targets }, call) {
      const now = (await readTargets(call, arn)).map(place)
      return targets.every((target) => now.includes(place(target)))
    },
  },
}
