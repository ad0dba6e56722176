import { setTimeout as sleep } from 'node:timers/promises'
import { ModifyNetworkInterfaceAttributeCommand, type NetworkInterface } from '@aws-sdk/client-ec2'
import { awsError } from '../../aws/clients.ts'
import type { ActionCall, Call, Json } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { safe } from '../../ui/safe-text.ts'
import type { Kind } from './action.ts'
import type { Drafting } from './aims.ts'
import { within } from './deadline.ts'
import { asWanted, ensureGroups, type GroupParams, removeGroups, wantedHop } from './isolation-group.ts'
import { describeRules, findGroup, readInterface } from './read-network.ts'
import { clients, groupName, hopName, type Target } from './reading.ts'
import type { World } from './world.ts'

/** The cut: one group without rules for each VPC, and every interface in just that group. */

/** How long a passing-through interface is open, so that its flows are seen once under the rules that untrack them. */
const hopMs = 1000

interface InterfaceParams {
  eni: string
  /** Not in journals of old. */
  instance?: string
  vpc: string
  name: string
  hop: boolean
}

/** @returns the ids of the changes by interface */
export function cutAims({ world, call, region, aim }: Drafting): ReadonlyMap<string, string> {
  // The cut: one group without rules for each VPC, and every interface in just that group.
  const { consumers } = call.target
  const name = groupName(call)
  const made = new Map<string, string>()
  for (const vpc of [...new Set(world.interfaces.map(({ VpcId }) => VpcId ?? ''))].sort()) {
    const hop = world.interfaces.some((one) => one.VpcId === vpc && hops(one, world, call))
    const params: GroupParams = { vpc, name, allow: call.target.deployment.allow, hop }
    const group = world.isolation.get(vpc)
    made.set(
      vpc,
      aim('isolation-group', `security group ${name} in ${vpc}`, {
        holds: group !== undefined && asWanted(group.rules, params.allow),
        claim: `the isolation group of ${vpc} lets nothing through${params.allow.length === 0 ? '' : ` but ${params.allow.join(', ')}`}`,
        seen: group === undefined ? 'there is none' : `${group.id} has ${group.rules.length} rules`,
        summary: `Make a security group in ${vpc} that lets nothing through${params.allow.length === 0 ? '' : ` but ${params.allow.join(', ')}`}${hop ? `, and ${wantedHop} to pass through` : ''}`,
        effect: 'creates',
        priority: 'essential',
        params,
        undo: { delete: true },
        command: `ec2 create-security-group --vpc-id ${vpc} --group-name ${name} --description "mcp-ir isolation"`,
      }),
    )
  }
  const cuts = new Map<string, string>()
  for (const eni of world.interfaces) {
    const id = eni.NetworkInterfaceId ?? ''
    const vpc = eni.VpcId ?? ''
    const instance = eni.Attachment?.InstanceId ?? ''
    const groups = (eni.Groups ?? []).flatMap(({ GroupId }) => GroupId ?? []).sort()
    const isolation = world.isolation.get(vpc)?.id
    const hop = hops(eni, world, call)
    const description = world.instances.find(({ InstanceId }) => InstanceId === instance)
    const cutting = aim('isolate-interface', `network interface ${id}`, {
      holds: isolation !== undefined && groups.length === 1 && groups[0] === isolation,
      claim: `${id} of ${instance} is only in the isolation group`,
      seen: `${groups.map((group) => (world.open.has(group) ? `${group}, THE OPEN GROUP, which anything may reach` : group)).join(', ')}${isolation === undefined ? '' : ` (isolation group: ${isolation})`}`,
      summary: `Cut ${id} of ${instance} off${hop ? ', through an open group for a second so that its active flows end too' : ''}`,
      priority: 'essential',
      after: [made.get(vpc) ?? ''],
      params: { eni: id, instance, vpc, name, hop } satisfies InterfaceParams,
      undo: { groups: groups.filter((group) => !world.open.has(group)) },
      breaks: (consumers ?? []).map((consumer) => `${consumer} loses its tools`),
      command: `ec2 modify-network-interface-attribute --network-interface-id ${id} --groups "$(aws ec2 describe-security-groups --region ${region} --filters Name=group-name,Values=${name} Name=vpc-id,Values=${vpc} --query 'SecurityGroups[0].GroupId' --output text)"`,
      facts: {
        account: eni.OwnerId ?? '',
        region,
        instance,
        name: safe(description?.Tags?.find(({ Key }) => Key === 'Name')?.Value ?? 'none'),
        state: description?.State?.Name ?? 'unknown',
        'running since': description?.LaunchTime?.toISOString() ?? 'unknown',
        address: [eni.PrivateIpAddress, eni.Association?.PublicIp].filter((address) => address).join(', '),
        subnet: eni.SubnetId ?? '',
      },
    })
    cuts.set(id, cutting)
  }
  return cuts
}

export const isolationGroup: Kind<GroupParams, unknown> = {
  apply: (params, call, change) => ensureGroups(params, call, change.id),
  async holds({ vpc, name, allow, hop }, call) {
    const group = await findGroup(call, vpc, name)
    if (group === undefined || !asWanted(await describeRules(call, [group]), allow)) return false
    return !hop || (await findGroup(call, vpc, hopName(name))) !== undefined
  },
  back: {
    // What is still in it when it is to be deleted stops the deletion, by AWS itself.
    drift: async () => [],
    apply: ({ vpc, name }, _, call) => removeGroups(vpc, name, call),
    async holds({ vpc, name }, _, call) {
      const left = await Promise.all([findGroup(call, vpc, name), findGroup(call, vpc, hopName(name))])
      return left.every((group) => group === undefined)
    },
  },
}

export const isolateInterface: Kind<InterfaceParams, { groups: string[] }> = {
  async apply(params, call) {
    const { eni, vpc, name, hop } = params
    const group = madeGroup(call, params) ?? (await findGroup(call, vpc, name))
    if (group === undefined) throw new IrError('partial', `The isolation group ${name} of ${vpc} is not there.`)
    // What an earlier try opened is closed first, and never opened again.
    const before = call.recorded.length > 0
    const through = hop && !before ? await findGroup(call, vpc, hopName(name)) : undefined
    const passed = through === undefined ? 'not' : await passThrough(call, eni, through)
    await close(call, params, group, before || passed === 'perhaps')
    return { groups: [group], hopped: passed === 'through' }
  },
  async holds({ eni, vpc, name }, call) {
    const now = await groupsNow(call, eni)
    if (now === undefined) return true
    const group = await findGroup(call, vpc, name)
    return group !== undefined && isOnly(now, group)
  },
  back: {
    async drift({ eni, vpc, name }, { groups }, call) {
      if (groups.length === 0) return [`the former groups of ${eni} are not known`]
      const now = await groupsNow(call, eni)
      if (now === undefined) return [`${eni} no longer exists`]
      // The open one is ours too: a cut that failed half way left it there.
      const ours = await Promise.all([findGroup(call, vpc, name), findGroup(call, vpc, hopName(name))])
      const as = now.join(', ')
      return (now.length === 1 && ours.includes(now[0])) || as === groups.join(', ')
        ? []
        : [`${eni} is in ${as} now, and would be put back into ${groups.join(', ')}`]
    },
    async apply({ eni }, { groups }, call) {
      await setGroups(call, eni, groups)
    },
    async holds({ eni }, { groups }, call) {
      const now = await groupsNow(call, eni)
      return now === undefined || now.join() === groups.join()
    },
  },
}

/** How long the opening may take, and each try to close; an interruption shortens neither. */
const openMs = 5_000
const closeMs = 8_000
const closings = 3

/**
 * A flow that is allowed both ways from and to everywhere is no longer tracked, and so ends with its permission.
 * @returns `perhaps` when it is not known whether it went through; the hop is an extra: whatever came of it, the cut follows
 */
async function passThrough(
  call: ActionCall<Target>,
  eni: string,
  through: string,
): Promise<'through' | 'not' | 'perhaps'> {
  await call.record({ opening: through, stands: true })
  try {
    await within(openMs, `Opening ${eni}`, undefined, (until) => setGroups(call, eni, [through], until))
  } catch (error) {
    return awsError(error, `Opening ${eni}`).ambiguous ? 'perhaps' : 'not'
  }
  await sleep(hopMs)
  return 'through'
}

/** @param late whether an opening that was given up could still come through after it */
async function close(call: ActionCall<Target>, params: InterfaceParams, group: string, late: boolean): Promise<void> {
  const { eni } = params
  const what = `Closing ${eni}`
  for (let tried = 1; ; tried++) {
    try {
      await within(closeMs, what, undefined, (until) => setGroups(call, eni, [group], until))
      if (!late) return
      await sleep(hopMs)
      const now = await within(closeMs, what, undefined, () => groupsNow(uninterrupted(call), eni))
      if (now === undefined || isOnly(now, group)) return
      throw new IrError('unreachable', `${eni} was opened again by a call that came late.`, { ambiguous: true })
    } catch (error) {
      const known = awsError(error, what)
      if (known.ambiguous && tried < closings) continue
      throw await orStanding(call, params, known)
    }
  }
}

/** Says where the interface stands, if that is in the open. */
async function orStanding(
  call: ActionCall<Target>,
  { eni, instance, vpc, name }: InterfaceParams,
  error: IrError,
): Promise<IrError> {
  if (call.recorded.length === 0) return error
  const asking = uninterrupted(call)
  const stands = await within(closeMs, `Reading ${eni}`, undefined, async () => {
    const [now, through] = await Promise.all([groupsNow(asking, eni), findGroup(asking, vpc, hopName(name))])
    return through !== undefined && now?.includes(through) === true ? `stands in the open group ${through}` : undefined
  }).catch(() => `may stand in the open group ${hopName(name)} of ${vpc}`)
  if (stands === undefined) return error
  const whose = instance === undefined ? eni : `${eni} of ${instance}`
  return new IrError(error.code, `${whose} ${stands}, which anything may reach: ${error.message}`, {
    ambiguous: error.ambiguous,
    cause: error,
  })
}

/** What was begun is ended well although the responder interrupts: with clients and questions of its own. */
function uninterrupted(call: Call<Target>): Call<Target> {
  return call.signal.aborted ? { ...call, signal: new AbortController().signal } : call
}

const isOnly = (groups: readonly string[], one: string): boolean => groups.length === 1 && groups[0] === one

/** As the change that made it a moment ago says; it did not where the group was there before. */
function madeGroup({ changes, receipts }: Call<Target>, { vpc, name }: InterfaceParams): string | undefined {
  const made = changes.find(({ action, params }) => action === 'isolation-group' && isOf(params, vpc, name))
  const output = made === undefined ? undefined : receipts.get(made.id)?.output
  if (output === null || typeof output !== 'object' || !('group' in output)) return undefined
  return typeof output.group === 'string' ? output.group : undefined
}

function isOf(params: Json | undefined, vpc: string, name: string): boolean {
  return (
    params !== null &&
    typeof params === 'object' &&
    'vpc' in params &&
    params.vpc === vpc &&
    'name' in params &&
    params.name === name
  )
}

/** Whether this interface goes through an open group: never one that the whole internet could reach meanwhile. */
function hops(
  { Association, Ipv6Addresses, Attachment, Groups, PrivateIpAddresses }: NetworkInterface,
  { instances, open, ruleless }: World,
  { target }: Call<Target>,
): boolean {
  const { cut } = target.deployment
  const state = instances.find(({ InstanceId }) => InstanceId === Attachment?.InstanceId)?.State?.Name
  if (cut === 'groups' || cut === 'nacl' || state === 'stopped' || state === 'stopping') return false
  // It was opened before: now it is closed.
  if (Groups?.some(({ GroupId }) => open.has(GroupId ?? '')) === true) return false
  // Somebody isolated it before: nothing may open it again, not for a second.
  if (Groups?.every(({ GroupId }) => ruleless.has(GroupId ?? '')) === true) return false
  const shown =
    Association?.PublicIp ?? PrivateIpAddresses?.find((one) => one.Association?.PublicIp)?.Association?.PublicIp
  return cut === 'hop' || (shown === undefined && (Ipv6Addresses ?? []).length === 0)
}

async function groupsNow(call: Call<Target>, eni: string): Promise<string[] | undefined> {
  const found = await readInterface(call, eni)
  return found === undefined ? undefined : (found.Groups ?? []).flatMap(({ GroupId }) => GroupId ?? []).sort()
}

/** One interface at a time: the groups of an instance miss all but its first interface. */
async function setGroups(
  call: Call<Target>,
  NetworkInterfaceId: string,
  Groups: string[],
  abortSignal?: AbortSignal,
): Promise<void> {
  await clients(call).ec2.send(
    new ModifyNetworkInterfaceAttributeCommand({ NetworkInterfaceId, Groups }),
    abortSignal === undefined ? {} : { abortSignal },
  )
}
