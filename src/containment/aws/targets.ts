import {
  DeregisterTargetsCommand,
  RegisterTargetsCommand,
  type TargetDescription,
} from '@aws-sdk/client-elastic-load-balancing-v2'
import { safe } from '../../ui/safe-text.ts'
import type { Kind } from './action.ts'
import type { Drafting } from './aims.ts'
import { readTargets } from './read-serving.ts'
import { clients } from './reading.ts'

/** Load balancers send nothing more. */

interface TargetsParams {
  arn: string
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
    const params: TargetsParams = { arn, targets: plain }
    aim('deregister-targets', `target group ${arn}`, {
      holds: false,
      claim: claim(params),
      seen: `registered: ${listed(plain)}`,
      summary: `Take ${listed(plain)} out of target group ${safe(arn.split('/')[1] ?? arn)}`,
      priority: 'best-effort',
      params,
      undo: { targets: plain },
      command: `elbv2 deregister-targets --target-group-arn ${arn} --targets ${plain.map(({ Id, Port }) => `Id=${Id}${Port === undefined ? '' : `,Port=${Port}`}`).join(' ')}`,
    })
  }
}

function listed(targets: readonly TargetDescription[]): string {
  return targets.map(({ Id, Port }) => (Port === undefined ? Id : `${Id}:${Port}`)).join(', ')
}

const claim = ({ arn, targets }: TargetsParams): string =>
  `target group ${safe(arn.split('/')[1] ?? arn)} sends nothing to ${listed(targets)}`

const place = ({ Id, Port }: TargetDescription): string => `${Id}:${Port ?? ''}`

export const deregisterTargets: Kind<TargetsParams, { targets: TargetDescription[] }> = {
  claim,
  async apply({ arn, targets }, call) {
    await clients(call).balancing.send(new DeregisterTargetsCommand({ TargetGroupArn: arn, Targets: targets }))
  },
  async holds({ arn, targets }, call) {
    const now = (await readTargets(call, arn)).map(place)
    return !targets.some((target) => now.includes(place(target)))
  },
  back: {
    drift: async () => [],
    async apply({ arn }, { targets }, call) {
      await clients(call).balancing.send(new RegisterTargetsCommand({ TargetGroupArn: arn, Targets: targets }))
    },
    async holds({ arn }, { targets }, call) {
      const now = (await readTargets(call, arn)).map(place)
      return targets.every((target) => now.includes(place(target)))
    },
  },
}
