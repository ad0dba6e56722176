import {
  CreateNetworkAclCommand,
  CreateNetworkAclEntryCommand,
  DeleteNetworkAclCommand,
  DeleteNetworkAclEntryCommand,
  type NetworkAcl,
  type NetworkAclEntry,
  type NetworkInterface,
  ReplaceNetworkAclAssociationCommand,
} from '@aws-sdk/client-ec2'
import { awsCode } from '../../aws/clients.ts'
import type { ActionCall, Call } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { safe } from '../../ui/safe-text.ts'
import type { Kind } from './action.ts'
import type { Drafting } from './aims.ts'
import { findAcl, readAclOf } from './read-network.ts'
import { clients, type Target, tagsFor } from './reading.ts'

/**
 * `cut: nacl`: the subnets of the instances get a network ACL that lets nothing through, beside the groups. That ends
 * flows over the border of the subnet at once, tracked or not, for everything in it; inside of the subnet it does nothing.
 */

interface AclParams {
  vpc: string
  allow: readonly string[]
  /** Id of the change that makes it, which is in its tag. */
  made: string
}

interface SubnetParams {
  subnet: string
  made: string
}

export function aclAims({ world, call, aim }: Drafting): void {
  const vpcs = new Map<string, string>()
  for (const { SubnetId = '', VpcId = '' } of world.interfaces) {
    if (world.subnets.has(SubnetId)) vpcs.set(SubnetId, VpcId)
  }
  const { allow } = call.target.deployment
  const made = new Map<string, string>()
  for (const vpc of new Set(vpcs.values())) {
    const id = call.changeId('isolation-acl', `network ACL for ${vpc}`)
    made.set(vpc, id)
    aim('isolation-acl', `network ACL for ${vpc}`, {
      holds: lets(world.acls.get(id), allow),
      claim: `there is a network ACL in ${vpc} that lets nothing through${allow.length === 0 ? '' : ` but ${allow.join(', ')}`}`,
      seen: seen(world.acls.get(id), allow),
      summary: `Make a network ACL in ${vpc} that lets nothing through${allow.length === 0 ? '' : ` but ${allow.join(', ')}`}`,
      effect: 'creates',
      priority: 'essential',
      params: { vpc, allow, made: id } satisfies AclParams,
      undo: { delete: true },
      command: `ec2 create-network-acl --vpc-id ${vpc}`,
    })
  }
  for (const [subnet, vpc] of vpcs) {
    const { acl, neighbours } = world.subnets.get(subnet) ?? { acl: '', neighbours: [] }
    const change = made.get(vpc) ?? ''
    const ours = world.acls.get(change)?.NetworkAclId
    aim('cut-subnet', `subnet ${subnet}`, {
      holds: ours !== undefined && acl === ours,
      claim: `nothing passes the border of ${subnet}`,
      seen: `network ACL ${acl}${ours === undefined ? '' : ` (isolation ACL: ${ours})`}`,
      summary: `Cut the whole subnet ${subnet} off, at its border`,
      priority: 'essential',
      after: [change],
      params: { subnet, made: change } satisfies SubnetParams,
      undo: { acl },
      breaks: neighbours.map((one) => `${named(one)} in ${subnet} is cut off too`),
      command: `ec2 replace-network-acl-association --association-id "$(aws ec2 describe-network-acls --filters Name=association.subnet-id,Values=${subnet} --query "NetworkAcls[0].Associations[?SubnetId=='${subnet}'].NetworkAclAssociationId" --output text)" --network-acl-id ${ours ?? 'THE-NEW-ONE'}`,
    })
  }
}

function named({ Attachment, NetworkInterfaceId, Description, PrivateIpAddress }: NetworkInterface): string {
  const instance = Attachment?.InstanceId
  if (instance !== undefined) return `instance ${instance} (${PrivateIpAddress ?? 'no address'})`
  return `${NetworkInterfaceId} (${safe(Description === undefined || Description === '' ? 'no description' : Description, 80)})`
}

/** The last rule of every ACL, which denies all: https://docs.aws.amazon.com/vpc/latest/userguide/nacl-basics.html */
const lastRule = 32_767

const place = ({ Egress, CidrBlock, Ipv6CidrBlock }: Pick<NetworkAclEntry, 'Egress' | 'CidrBlock' | 'Ipv6CidrBlock'>) =>
  `${CidrBlock ?? Ipv6CidrBlock} ${Egress === true ? 'out' : 'in'}`

/** It keeps no state: answers need a rule too. */
function wantedEntries(allow: readonly string[]) {
  return allow.flatMap((cidr) =>
    [false, true].map((Egress) => ({
      Egress,
      ...(cidr.includes(':') ? { Ipv6CidrBlock: cidr } : { CidrBlock: cidr }),
    })),
  )
}

/** What it lets through that it should not, and what it should and does not. */
function difference({ Entries = [] }: NetworkAcl, allow: readonly string[]) {
  const wanted = wantedEntries(allow)
  const asWanted = (entry: NetworkAclEntry): boolean =>
    entry.RuleAction === 'allow' && entry.Protocol === '-1' && wanted.some((one) => place(one) === place(entry))
  return {
    surplus: Entries.filter((entry) => (entry.RuleNumber ?? 0) < lastRule && !asWanted(entry)),
    missing: wanted.filter((one) => !Entries.some((entry) => asWanted(entry) && place(entry) === place(one))),
  }
}

/** Whether it lets these through and nobody else, by its rules. */
function lets(acl: NetworkAcl | undefined, allow: readonly string[]): boolean {
  if (acl === undefined) return false
  const { surplus, missing } = difference(acl, allow)
  return surplus.length === 0 && missing.length === 0
}

function seen(acl: NetworkAcl | undefined, allow: readonly string[]): string {
  if (acl === undefined) return 'there is none'
  const { surplus, missing } = difference(acl, allow)
  const rules = [
    ...surplus.map((one) => `has ${one.RuleAction} ${place(one)}`),
    ...missing.map((one) => `lacks ${place(one)}`),
  ]
  return [acl.NetworkAclId, ...rules].join(', ')
}

export const isolationAcl: Kind<AclParams, unknown> = {
  async apply({ vpc, allow, made }, call) {
    const { ec2 } = clients(call)
    // A new one lets nothing through by itself.
    const before = (await findAcl(call, made)) ?? (await create(vpc, call, made))
    const { NetworkAclId, Entries = [] } = before
    const { surplus, missing } = difference(before, allow)
    for (const { RuleNumber, Egress } of surplus) {
      await ec2
        .send(new DeleteNetworkAclEntryCommand({ NetworkAclId, RuleNumber, Egress }))
        .catch(unless('InvalidNetworkAclEntry.NotFound'))
    }
    const taken = new Set(Entries.map(({ RuleNumber }) => RuleNumber))
    const free = Array.from({ length: missing.length + taken.size }, (_, index) => 100 + index).filter(
      (number) => !taken.has(number),
    )
    for (const [index, entry] of missing.entries()) {
      const rule = { NetworkAclId, RuleNumber: free[index], Protocol: '-1', RuleAction: 'allow' as const, ...entry }
      await ec2.send(new CreateNetworkAclEntryCommand(rule)).catch(unless('NetworkAclEntryAlreadyExists'))
    }
    if (!lets(await findAcl(call, made), allow)) {
      throw new IrError('unreachable', `The rules of ${NetworkAclId} are not yet as they should be.`, {
        ambiguous: true,
      })
    }
    return { acl: NetworkAclId ?? '' }
  },
  holds: async ({ allow, made }, call) => lets(await findAcl(call, made), allow),
  back: {
    drift: async () => [],
    async apply({ made }, _, call) {
      const found = await findAcl(call, made)
      if (found !== undefined)
        await clients(call).ec2.send(new DeleteNetworkAclCommand({ NetworkAclId: found.NetworkAclId }))
    },
    holds: async ({ made }, _, call) => (await findAcl(call, made)) === undefined,
  },
}

/** Found again by its tag, so that who may not tag cannot make one. */
async function create(VpcId: string, call: ActionCall<Target>, changeId: string): Promise<NetworkAcl> {
  const { NetworkAcl } = await clients(call).ec2Once.send(
    new CreateNetworkAclCommand({
      VpcId,
      ClientToken: changeId,
      TagSpecifications: tagsFor('network-acl', call, changeId),
    }),
  )
  return NetworkAcl ?? {}
}

/** The call was sent twice. */
function unless(code: string): (error: unknown) => void {
  return (error) => {
    if (awsCode(error) !== code) throw error
  }
}

export const cutSubnet: Kind<SubnetParams, { acl: string }> = {
  async apply({ subnet, made }, call) {
    const acl = (await findAcl(call, made))?.NetworkAclId
    if (acl === undefined) throw new IrError('partial', 'The network ACL that lets nothing through is not there.')
    await setAcl(call, subnet, acl)
    return { acl }
  },
  async holds({ subnet, made }, call) {
    const now = await readAclOf(call, subnet)
    return now === undefined || now.acl === (await findAcl(call, made))?.NetworkAclId
  },
  back: {
    async drift({ subnet, made }, { acl }, call) {
      const now = await readAclOf(call, subnet)
      if (now === undefined) return [`${subnet} no longer exists`]
      const ours = (await findAcl(call, made))?.NetworkAclId
      return now.acl === ours || now.acl === acl
        ? []
        : [`${subnet} has network ACL ${now.acl} now, and would get ${acl} back`]
    },
    apply: ({ subnet }, { acl }, call) => setAcl(call, subnet, acl),
    async holds({ subnet }, { acl }, call) {
      const now = await readAclOf(call, subnet)
      return now === undefined || now.acl === acl
    },
  },
}

/** The association gets a new id each time: the one of now is asked for. */
async function setAcl(call: Call<Target>, subnet: string, NetworkAclId: string): Promise<void> {
  const now = await readAclOf(call, subnet)
  if (now === undefined || now.acl === NetworkAclId) return
  await clients(call).ec2.send(
    new ReplaceNetworkAclAssociationCommand({ AssociationId: now.association, NetworkAclId }),
  )
}
