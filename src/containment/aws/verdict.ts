import { bounded } from '../../bounded.ts'
import type { Call, Observation, Verdict } from '../../change.ts'
import { safe } from '../../ui/safe-text.ts'
import { actionsOf, seenDone, settledAgain } from './action.ts'
import { aims } from './aims.ts'
import { kinds } from './kinds.ts'
import { mustBeHere } from './place.ts'
import type { Target } from './reading.ts'
import { lastLook, look } from './world.ts'

/** What is seen afterwards. */

const limits = [
  'DNS by the resolver of the VPC, the instance metadata and the time service are filtered by no security group: DNS can still carry data out.',
  'Credentials that the instances had already fetched stay valid for up to six hours: revoke the sessions of their role.',
  'Flows through NAT gateways, Network Load Balancers and private endpoints are tracked whatever the rules.',
]

/** What is, by describing everything again. Only the cut decides; what is best effort is told. */
export async function verifyIsolated(call: Call<Target>): Promise<Verdict> {
  await mustBeHere(call.changes, call)
  const world = await lastLook(call)
  const { deployment } = call.target
  const ids = new Set([...world.instances.map(({ InstanceId }) => InstanceId), ...world.ended])
  const missing = (deployment.instances ?? []).filter((id) => !ids.has(id))
  if (world.instances.length === 0 && (world.ended.length > 0 || world.groups.length > 0 || call.changes.length > 0)) {
    return {
      state: 'verified',
      observed: [{ claim: 'there is no living instance of it', seen: 'none', holds: true }],
      residue: [],
      limits,
    }
  }
  const found = await aims(world, call)
  const aimed = new Set(found.map(({ change }) => change.id))
  const observed: Observation[] = [
    ...found.map(({ claim, seen, holds }) => ({ claim, seen, holds })),
    // What was done so well that nothing of it is left to be aimed at: who left a group is no longer in it.
    ...(await seenDone(
      kinds,
      call.changes.filter(({ id }) => !aimed.has(id)),
      call,
    )),
    ...missing.map((id) => ({ claim: `${safe(id, 60)} was found`, seen: 'not there', holds: false })),
  ]
  const cut =
    world.instances.length > 0 && found.every(({ change, holds }) => holds || change.priority === 'best-effort')
  const residue: string[] = []
  for (const one of world.instances) {
    if (one.State?.Name === 'stopped') continue
    const interfaces = world.interfaces.filter(({ Attachment }) => Attachment?.InstanceId === one.InstanceId)
    const straight = interfaces.filter(({ NetworkInterfaceId }) => !hopped(call, NetworkInterfaceId ?? ''))
    const which = straight.map(({ NetworkInterfaceId }) => NetworkInterfaceId).join(', ')
    residue.push(
      straight.length === 0
        ? `${one.InstanceId}: flows that were idle when it was cut, or that are always tracked, may live on`
        : `${one.InstanceId}: flows that were open before the cut of ${which} may live on until they are idle for long; the flow logs of the VPC, or stopping the instance, settle it`,
    )
  }
  residue.push(
    ...found
      .filter(({ change, holds }) => !holds && change.priority === 'best-effort')
      .map(({ claim, seen }) => `not seen that ${claim}: ${seen}`),
    ...missing.map((id) => `${safe(id, 60)} was not found: if it runs in another region or account, it is not cut off`),
    ...world.unread,
  )
  return {
    state: cut ? (residue.length > 0 ? 'residual' : 'verified') : 'failed',
    observed,
    residue,
    limits,
    output: {
      instances: world.instances.map(({ InstanceId }) => InstanceId ?? ''),
      interfaces: world.interfaces.map(({ NetworkInterfaceId }) => NetworkInterfaceId ?? ''),
    },
  }
}

/** So many are looked at together, as most of them take one call. */
const together = 50

/** Whether all that was undone is still as it was before. */
export async function verifyReleased(call: Call<Target>): Promise<Verdict> {
  const observed = await bounded(call.changes, (change) => settledAgain(actionsOf(kinds), change, call), together)
  if (call.changes.length === 0) {
    const world = await look(call)
    const held = world.interfaces.filter(({ VpcId, Groups }) => {
      const isolation = world.isolation.get(VpcId ?? '')?.id
      return isolation !== undefined && Groups?.some(({ GroupId }) => GroupId === isolation)
    })
    observed.push({
      claim: 'no interface of it is in an isolation group of this case',
      seen: held.map(({ NetworkInterfaceId }) => NetworkInterfaceId).join(', ') || 'none',
      holds: held.length === 0,
    })
  }
  const holds = observed.every((one) => one.holds)
  return { state: holds ? 'verified' : 'failed', observed, residue: [], limits: [] }
}

function hopped({ changes, receipts }: Call<Target>, eni: string): boolean {
  const change = changes.find(({ action, target }) => action === 'isolate-interface' && target.endsWith(` ${eni}`))
  const output = receipts.get(change?.id ?? '')?.output
  return output !== null && typeof output === 'object' && 'hopped' in output && output.hopped === true
}
