import {
  CreateNetworkAclCommand,
  CreateNetworkAclEntryCommand,
  DeleteNetworkAclCommand,
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
      holds: world.acls.has(id),
      claim: `there is a network ACL in ${vpc} that lets nothing through${allow.length === 0 ? '' : ` but ${allow.join(', ')}`}`,
      seen: world.acls.get(id)?.NetworkAclId ?? 'there is none',
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

export const isolationAcl: Kind<AclParams, unknown> = {
  async apply({ vpc, allow, made }, call) {
    const { ec2 } = clients(call)
    const acl = (await findAcl(call, made))?.NetworkAclId ?? (await create(vpc, call, made))
    // A new one lets nothing through by itself. It keeps no state: answers need a rule too.
    for (const [index, cidr] of allow.entries()) {
      for (const Egress of [false, true]) {
        const where = cidr.includes(':') ? { Ipv6CidrBlock: cidr } : { CidrBlock: cidr }
        try {
          await ec2.send(
            new CreateNetworkAclEntryCommand({
              NetworkAclId: acl,
              RuleNumber: 100 + index,
              Protocol: '-1',
              RuleAction: 'allow',
              Egress,
              ...where,
            }),
          )
        } catch (error) {
          if (awsCode(error) !== 'NetworkAclEntryAlreadyExists') throw error
        }
      }
    }
    return { acl }
  },
  async holds({ allow, made }, call) {
    const found = await findAcl(call, made)
    return found?.Entries?.filter((one) => one.RuleAction === 'allow').length === 2 * allow.length
  },
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
async function create(VpcId: string, call: ActionCall<Target>, changeId: string): Promise<string> {
  const { NetworkAcl } = await clients(call).ec2Once.send(
    new CreateNetworkAclCommand({
      VpcId,
      ClientToken: changeId,
      TagSpecifications: tagsFor('network-acl', call, changeId),
    }),
  )
  return NetworkAcl?.NetworkAclId ?? ''
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
