import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { isDeepStrictEqual } from 'node:util'
import {
  AttachInstancesCommand,
  DetachInstancesCommand,
  ResumeProcessesCommand,
  SetInstanceProtectionCommand,
  SuspendProcessesCommand,
  UpdateAutoScalingGroupCommand,
} from '@aws-sdk/client-auto-scaling'
import {
  AssociateIamInstanceProfileCommand,
  CreateSnapshotsCommand,
  CreateTagsCommand,
  DeleteTagsCommand,
  DisassociateIamInstanceProfileCommand,
  GetConsoleOutputCommand,
  type Instance,
  ModifyInstanceAttributeCommand,
  ModifyInstanceMetadataOptionsCommand,
  ModifyNetworkInterfaceAttributeCommand,
  type NetworkInterface,
  type Snapshot,
} from '@aws-sdk/client-ec2'
import {
  DeregisterTargetsCommand,
  RegisterTargetsCommand,
  type TargetDescription,
} from '@aws-sdk/client-elastic-load-balancing-v2'
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { awsClient, awsError } from '../aws/clients.ts'
import type { Call, Change, Json, Observation, Problem, Verdict } from '../change.ts'
import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import { type AwsAction, actionsOf, type Kind, settledAgain } from './aws/action.ts'
import { permissionProblems } from './aws/dry-run.ts'
import { asWanted, ensureGroups, type GroupParams, removeGroups, wantedHop } from './aws/isolation-group.ts'
import {
  bounded,
  caseTag,
  changeTag,
  clients,
  type Ec2,
  findGroup,
  groupName,
  readAttributesOf,
  readGroups,
  readInstance,
  readInterface,
  readProfiles,
  readRules,
  readTargets,
  readWorld,
  snapshotsOf,
  type Target,
  type World,
} from './aws/world.ts'
import type { Containment, Discovered } from './port.ts'

/**
 * A server that runs on EC2 instances. It is cut off by giving every network interface of every instance one security
 * group that has no rules. What would bring it back, or destroy it, is held off: scaling is suspended, the instances leave
 * their auto scaling and target groups, are protected from termination, and lose their role. Release puts all of it back.
 * The facts and their sources are in docs/aws.md.
 */

/** Everything that would terminate a quarantined instance or start another copy of the same build. */
const processes = ['Launch', 'Terminate', 'HealthCheck', 'ReplaceUnhealthy', 'AZRebalance']
/** How long a passing-through interface is open, so that its flows are seen once under the rules that untrack them. */
const hopMs = 1000

const limits = [
  'DNS by the resolver of the VPC, the instance metadata and the time service are filtered by no security group: DNS can still carry data out.',
  'Credentials that the instances had already fetched stay valid for up to six hours: revoke the sessions of their role.',
  'Flows through NAT gateways, Network Load Balancers and private endpoints are tracked whatever the rules.',
]

export const awsEc2: Containment<Ec2> = {
  permissions: [
    'sts:GetCallerIdentity',
    'ec2:DescribeInstances',
    'ec2:DescribeNetworkInterfaces',
    'ec2:DescribeSecurityGroups',
    'ec2:DescribeSecurityGroupRules',
    'ec2:DescribeIamInstanceProfileAssociations',
    'ec2:DescribeInstanceAttribute',
    'ec2:DescribeSnapshots',
    'ec2:CreateSecurityGroup',
    'ec2:DeleteSecurityGroup',
    'ec2:AuthorizeSecurityGroupIngress',
    'ec2:AuthorizeSecurityGroupEgress',
    'ec2:RevokeSecurityGroupIngress',
    'ec2:RevokeSecurityGroupEgress',
    'ec2:ModifyNetworkInterfaceAttribute',
    'ec2:ModifyInstanceAttribute',
    'ec2:ModifyInstanceMetadataOptions',
    'ec2:CreateTags',
    'ec2:DeleteTags',
    'ec2:CreateSnapshots',
    'ec2:GetConsoleOutput',
    'ec2:AssociateIamInstanceProfile',
    'ec2:DisassociateIamInstanceProfile',
    'iam:PassRole',
    'autoscaling:DescribeAutoScalingGroups',
    'autoscaling:DescribeAutoScalingInstances',
    'autoscaling:SuspendProcesses',
    'autoscaling:ResumeProcesses',
    'autoscaling:UpdateAutoScalingGroup',
    'autoscaling:DetachInstances',
    'autoscaling:AttachInstances',
    'autoscaling:SetInstanceProtection',
    'elasticloadbalancing:DescribeTargetGroups',
    'elasticloadbalancing:DescribeTargetHealth',
    'elasticloadbalancing:RegisterTargets',
    'elasticloadbalancing:DeregisterTargets',
  ],

  async check(call) {
    const { deployment } = call.target
    const problems: Problem[] = []
    if (deployment.cut === 'nacl') {
      problems.push({
        kind: 'input',
        message: 'cut: nacl is not built yet, and alone it leaves the neighbours in the same subnet reachable.',
        hint: 'Use cut: auto.',
      })
    }
    for (const cidr of deployment.allow) {
      if (!validCidr(cidr)) {
        problems.push({
          kind: 'input',
          message: `allow: ${safe(cidr, 60)} is no address range of a workstation.`,
          hint: 'Write one such as 10.9.8.7/32; a range of everything is refused.',
        })
      }
    }
    if (problems.length > 0) return problems
    const caller = await identity(call)
    if (call.intent === 'release') return []
    const world = await reading(() => readWorld(call))
    problems.push(...refusals(world, caller))
    const found = new Set(world.instances.map(({ InstanceId }) => InstanceId))
    const missing = (deployment.instances ?? []).filter((id) => !found.has(id))
    const where = `account ${caller.account}, region ${await clients(call).ec2.config.region()}`
    if (missing.length > 0) {
      problems.push({
        kind: 'warning',
        message: `not found, or terminated: ${missing.map((id) => safe(id, 60)).join(', ')} (${where})`,
        hint: 'If it is elsewhere, set region or role of the deployment.',
      })
    } else if (found.size === 0) {
      problems.push({
        kind: 'warning',
        message: `no instance of it was found in ${where}`,
        hint: 'If it is elsewhere, set region or role of the deployment.',
      })
    }
    for (const { AutoScalingGroupName, Instances } of world.groups) {
      const others = (Instances ?? []).filter(({ InstanceId }) => !found.has(InstanceId ?? ''))
      if (others.length > 0) {
        problems.push({
          kind: 'warning',
          message: `auto scaling group ${safe(AutoScalingGroupName ?? '')} has other instances, which probably run the same build: ${others.map(({ InstanceId }) => InstanceId).join(', ')}`,
          hint: 'To cut them off too, name the group in the deployment (autoScalingGroup).',
        })
      }
    }
    problems.push(...world.unread.map((message): Problem => ({ kind: 'warning', message })))
    problems.push(...(await permissionProblems(call, world)))
    return problems
  },

  async plan(call) {
    if (call.intent === 'release') return []
    const caller = await identity(call)
    const world = await reading(() => readWorld(call))
    const [refused] = refusals(world, caller)
    if (refused !== undefined) throw new IrError('refused', refused.message)
    const changes = (await aims(world, call)).filter(({ holds }) => !holds).map(({ change }) => change)
    const planned = new Set(changes.map(({ id }) => id))
    return changes.map((change) => ({ ...change, after: change.after.filter((id) => planned.has(id)) }))
  },

  async collect(call) {
    if (call.intent === 'release') return
    call.progress('keeping the descriptions and the console output')
    const world = await reading(() => readWorld(call))
    const { attributes, isolation, ...descriptions } = world
    const slug = call.target.deployment.id.replace(/[^A-Za-z0-9-]+/g, '-').slice(0, 60)
    const content = { ...descriptions, isolation: [...isolation.values()], attributes: Object.fromEntries(attributes) }
    await call.evidence.put(
      `aws-${slug}.json`,
      'application/json',
      `${JSON.stringify(content, (key, value) => (key === '$metadata' ? undefined : value), 2)}\n`,
    )
    await bounded(world.instances, async ({ InstanceId = '' }) => {
      const { ec2 } = clients(call)
      const { Output } = await reading(() =>
        ec2.send(new GetConsoleOutputCommand({ InstanceId }), { abortSignal: call.signal }),
      )
      if (Output === undefined || Output === '') return
      await call.evidence.put(`console-${InstanceId}.txt`, 'text/plain', Buffer.from(Output, 'base64'))
    })
  },

  async verify(call) {
    return call.intent === 'release' ? verifyReleased(call) : verifyIsolated(call)
  },

  get actions() {
    return actions
  },
}

/** One thing that is to be so, whether it is, and the change that makes it so. */
interface Aim {
  readonly holds: boolean
  readonly claim: string
  readonly seen: string
  readonly change: Change
}

/** All that isolation wants of the world. What holds already is told by the verdict; what does not is the plan. */
async function aims(world: World, call: Call<Target>): Promise<Aim[]> {
  const region = await clients(call).ec2.config.region()
  const { consumers } = call.target
  const found: Aim[] = []
  const aim = (
    action: keyof typeof actions,
    target: string,
    rest: Pick<Change, 'summary' | 'priority'> &
      Partial<Pick<Change, 'after' | 'undo' | 'breaks' | 'effect' | 'facts'>> & {
        params: unknown
        command: string
      } & Pick<Aim, 'holds' | 'claim' | 'seen'>,
  ): string => {
    const { holds, claim, seen, params, command, ...change } = rest
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
        params: params as Json,
        command: `aws ${command} --region ${region}`,
      },
    })
    return id
  }

  // What would terminate the evidence, or start the same build again, is stopped first.
  const suspended = new Map<string, string>()
  for (const group of world.groups) {
    const name = group.AutoScalingGroupName ?? ''
    const before = (group.SuspendedProcesses ?? []).flatMap(({ ProcessName }) => ProcessName ?? []).sort()
    const missing = processes.filter((process) => !before.includes(process))
    suspended.set(
      name,
      aim('suspend-scaling', `auto scaling group ${name}`, {
        holds: missing.length === 0,
        claim: `auto scaling group ${safe(name)} neither starts nor ends instances`,
        seen: `suspended: ${before.join(', ') || 'nothing'}`,
        summary: `Suspend the scaling of ${safe(name)}, so that it neither starts another copy nor ends these`,
        priority: 'essential',
        params: { scaling: name, processes } satisfies SuspendParams,
        undo: { suspended: before },
        breaks: [`${safe(name)} no longer replaces unhealthy instances nor follows its load`],
        command: `autoscaling suspend-processes --auto-scaling-group-name ${quote(name)} --scaling-processes ${processes.join(' ')}`,
      }),
    )
  }

  // The cut: one group without rules for each VPC, and every interface in just that group.
  const name = groupName(call)
  const running = new Map(
    world.instances.map((one) => [one.InstanceId, one.State?.Name !== 'stopped' && one.State?.Name !== 'stopping']),
  )
  const made = new Map<string, string>()
  for (const vpc of [...new Set(world.interfaces.map(({ VpcId }) => VpcId ?? ''))].sort()) {
    const hop = world.interfaces.some((one) => one.VpcId === vpc && hops(one, call, running))
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
  const cuts = new Map<string | undefined, string>()
  for (const eni of world.interfaces) {
    const id = eni.NetworkInterfaceId ?? ''
    const vpc = eni.VpcId ?? ''
    const instance = eni.Attachment?.InstanceId ?? ''
    const groups = (eni.Groups ?? []).flatMap(({ GroupId }) => GroupId ?? []).sort()
    const isolation = world.isolation.get(vpc)?.id
    const hop = hops(eni, call, running)
    const description = world.instances.find(({ InstanceId }) => InstanceId === instance)
    const cutting = aim('isolate-interface', `network interface ${id}`, {
      holds: isolation !== undefined && groups.length === 1 && groups[0] === isolation,
      claim: `${id} of ${instance} is only in the isolation group`,
      seen: `${groups.join(', ')}${isolation === undefined ? '' : ` (isolation group: ${isolation})`}`,
      summary: `Cut ${id} of ${instance} off${hop ? ', through an open group for a second so that its active flows end too' : ''}`,
      priority: 'essential',
      after: [made.get(vpc) ?? ''],
      params: { eni: id, vpc, name, hop } satisfies InterfaceParams,
      undo: { groups },
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

  // Beside it, and never in its way.
  for (const group of world.groups) {
    const scaling = group.AutoScalingGroupName ?? ''
    const members = (group.Instances ?? [])
      .filter(({ InstanceId }) => running.has(InstanceId))
      .sort((a, b) => ((a.InstanceId ?? '') < (b.InstanceId ?? '') ? -1 : 1))
    if (members.length === 0) continue
    const ids = members.flatMap(({ InstanceId }) => InstanceId ?? [])
    const minSize = group.MinSize ?? 0
    const least = Math.max(0, (group.DesiredCapacity ?? 0) - members.length)
    const after = [suspended.get(scaling) ?? '']
    const lowered = aim('lower-minimum', `auto scaling group ${scaling}`, {
      holds: minSize <= least,
      claim: `auto scaling group ${safe(scaling)} may get smaller by the instances`,
      seen: `at least ${minSize} of ${group.DesiredCapacity ?? 0}`,
      summary: `Let ${safe(scaling)} have as few as ${least} instances`,
      priority: 'best-effort',
      after,
      params: { scaling, minSize: least } satisfies MinimumParams,
      undo: { minSize },
      command: `autoscaling update-auto-scaling-group --auto-scaling-group-name ${quote(scaling)} --min-size ${least}`,
    })
    for (const { InstanceId: instance = '', ProtectedFromScaleIn } of members) {
      const interfaces = world.interfaces.filter(({ Attachment }) => Attachment?.InstanceId === instance)
      aim('detach-from-scaling', `instance ${instance} in auto scaling group ${scaling}`, {
        holds: false,
        claim: `${instance} is in no auto scaling group`,
        seen: scaling,
        summary: `Take ${instance} out of ${safe(scaling)}, which starts no other in its place`,
        priority: 'best-effort',
        // Only once it is cut off: outside of its group it could not be found by the name of the group any more.
        after: [...after, lowered, ...interfaces.map(({ NetworkInterfaceId }) => cuts.get(NetworkInterfaceId) ?? '')],
        params: { scaling, instance, members: ids } satisfies DetachParams,
        undo: { protected: ProtectedFromScaleIn === true } satisfies DetachUndo,
        command: `autoscaling detach-instances --auto-scaling-group-name ${quote(scaling)} --should-decrement-desired-capacity --instance-ids ${instance}`,
      })
    }
  }
  for (const { arn, targets } of world.registrations) {
    const plain = targets.map(({ Id, Port, AvailabilityZone }) => ({
      Id: Id ?? '',
      ...(Port === undefined ? {} : { Port }),
      ...(AvailabilityZone === undefined ? {} : { AvailabilityZone }),
    }))
    const listed = plain.map(({ Id, Port }) => (Port === undefined ? Id : `${Id}:${Port}`)).join(', ')
    aim('deregister-targets', `target group ${arn}`, {
      holds: false,
      claim: `target group ${safe(arn)} sends nothing to the instances`,
      seen: `registered: ${listed}`,
      summary: `Take ${listed} out of target group ${safe(arn.split('/')[1] ?? arn)}`,
      priority: 'best-effort',
      params: { arn, targets: plain } satisfies TargetsParams,
      undo: { targets: plain },
      command: `elbv2 deregister-targets --target-group-arn ${arn} --targets ${plain.map(({ Id, Port }) => `Id=${Id}${Port === undefined ? '' : `,Port=${Port}`}`).join(' ')}`,
    })
  }
  for (const instance of world.instances) {
    const id = instance.InstanceId ?? ''
    const spot = instance.InstanceLifecycle === 'spot'
    const attributes = world.attributes.get(id)
    // AWS refuses both on Spot instances; nothing can be protected there.
    if (attributes !== undefined && !spot) {
      aim('protect-termination', `instance ${id}`, {
        holds: attributes.terminationProtected,
        claim: `${id} is protected from termination`,
        seen: attributes.terminationProtected ? 'protected' : 'not protected',
        summary: `Protect ${id} from termination`,
        priority: 'best-effort',
        params: { instance: id } satisfies InstanceParams,
        undo: { protected: false },
        command: `ec2 modify-instance-attribute --instance-id ${id} --disable-api-termination`,
      })
      if (instance.RootDeviceType === 'ebs') {
        aim('stop-on-shutdown', `instance ${id}`, {
          holds: attributes.stopsOnShutdown,
          claim: `${id} is kept when it shuts itself down`,
          seen: attributes.stopsOnShutdown ? 'stop' : 'terminate',
          summary: `Keep ${id} when it shuts itself down`,
          priority: 'best-effort',
          params: { instance: id } satisfies InstanceParams,
          undo: { behavior: 'terminate' },
          command: `ec2 modify-instance-attribute --instance-id ${id} --instance-initiated-shutdown-behavior stop`,
        })
      }
    }
    for (const { DeviceName = '', Ebs } of instance.BlockDeviceMappings ?? []) {
      const volume = Ebs?.VolumeId
      if (volume === undefined) continue
      const kept = Ebs?.DeleteOnTermination !== true
      aim('keep-volume', `volume ${volume} of ${id}`, {
        holds: kept,
        claim: `volume ${volume} outlives ${id}`,
        seen: kept ? 'kept on termination' : 'deleted on termination',
        summary: `Keep volume ${volume} when ${id} is terminated`,
        priority: 'best-effort',
        params: { instance: id, device: DeviceName } satisfies VolumeParams,
        undo: { deleteOnTermination: true },
        command: `ec2 modify-instance-attribute --instance-id ${id} --block-device-mappings '[{"DeviceName":"${DeviceName}","Ebs":{"DeleteOnTermination":false}}]'`,
      })
    }
    const tag = instance.Tags?.find(({ Key }) => Key === caseTag)?.Value
    aim('tag-instance', `instance ${id}`, {
      holds: tag === call.caseId,
      claim: `${id} carries the case`,
      seen: tag === undefined ? 'no tag' : safe(tag),
      summary: `Tag ${id} with the case`,
      priority: 'best-effort',
      params: { instance: id } satisfies InstanceParams,
      undo: { value: tag ?? null },
      command: `ec2 create-tags --resources ${id} --tags Key=${caseTag},Value=${call.caseId}`,
    })
    const profile = world.profiles.find(({ InstanceId }) => InstanceId === id)
    const arn = profile?.IamInstanceProfile?.Arn
    aim('remove-profile', `instance ${id}`, {
      holds: arn === undefined,
      claim: `${id} has no role`,
      seen: arn ?? 'no instance profile',
      summary: `Take the instance profile of ${id} away${arn === undefined ? '' : ` (${safe(arn.split('/').at(-1) ?? arn)})`}`,
      priority: 'best-effort',
      params: { instance: id } satisfies InstanceParams,
      undo: { arn: arn ?? null },
      command: `ec2 disassociate-iam-instance-profile --association-id ${profile?.AssociationId ?? ''}`,
    })
    const endpoint = instance.MetadataOptions?.HttpEndpoint
    if (endpoint !== undefined) {
      aim('close-metadata', `instance ${id}`, {
        holds: endpoint === 'disabled',
        claim: `the metadata service gives ${id} no more credentials`,
        seen: endpoint,
        summary: `Close the metadata service to ${id}, so that it fetches no more credentials`,
        priority: 'best-effort',
        params: { instance: id } satisfies InstanceParams,
        undo: metadataOptions(instance),
        command: `ec2 modify-instance-metadata-options --instance-id ${id} --http-endpoint disabled`,
      })
    }
    const volumes = (instance.BlockDeviceMappings ?? []).flatMap(({ Ebs }) => Ebs?.VolumeId ?? []).sort()
    if (volumes.length > 0) {
      const target = `volumes of ${id}`
      const taken = await snapshotsOf(call, call.changeId('snapshot-volumes', target))
      aim('snapshot-volumes', target, {
        holds: volumes.every((volume) => taken.some(({ VolumeId }) => VolumeId === volume)),
        claim: `every volume of ${id} has a snapshot`,
        seen:
          taken.map((one) => `${one.SnapshotId} of ${one.VolumeId}: ${one.State} ${one.Progress ?? ''}`).join(', ') ||
          'none',
        summary: `Take snapshots of ${volumes.join(', ')} of ${id}, all at one moment; they stay after a release`,
        effect: 'creates',
        priority: 'best-effort',
        params: { instance: id, volumes } satisfies SnapshotParams,
        undo: null,
        command: `ec2 create-snapshots --instance-specification InstanceId=${id} --description "mcp-ir ${call.caseId}" --tag-specifications 'ResourceType=snapshot,Tags=[{Key=${caseTag},Value=${call.caseId}}]'`,
      })
    }
  }
  return found
}

interface SuspendParams {
  scaling: string
  processes: string[]
}

interface InterfaceParams {
  eni: string
  vpc: string
  name: string
  hop: boolean
}

interface MinimumParams {
  scaling: string
  minSize: number
}

interface DetachParams {
  scaling: string
  instance: string
  /** All that are to leave the group. */
  members: string[]
}

interface DetachUndo {
  protected: boolean
}

interface TargetsParams {
  arn: string
  targets: TargetDescription[]
}

interface InstanceParams {
  instance: string
}

interface VolumeParams extends InstanceParams {
  device: string
}

interface SnapshotParams extends InstanceParams {
  volumes: string[]
}

const suspendScaling: Kind<SuspendParams, { suspended: string[] }> = {
  async apply({ scaling, processes: ScalingProcesses }, call) {
    await clients(call).scaling.send(new SuspendProcessesCommand({ AutoScalingGroupName: scaling, ScalingProcesses }))
  },
  async holds({ scaling, processes: wanted }, call) {
    const now = await suspendedNow(call, scaling)
    return now === undefined || wanted.every((process) => now.includes(process))
  },
  back: {
    async drift({ scaling, processes: ours }, { suspended }, call) {
      const now = await suspendedNow(call, scaling)
      if (now === undefined) return [`auto scaling group ${safe(scaling)} no longer exists`]
      const resumed = ours.filter((process) => !suspended.includes(process) && !now.includes(process))
      return resumed.length === 0 || resumed.length === ours.length - suspended.length
        ? []
        : [`somebody resumed ${resumed.join(', ')} of ${safe(scaling)}`]
    },
    async apply({ scaling, processes: ours }, { suspended }, call) {
      const ScalingProcesses = ours.filter((process) => !suspended.includes(process))
      await clients(call).scaling.send(new ResumeProcessesCommand({ AutoScalingGroupName: scaling, ScalingProcesses }))
    },
    async holds({ scaling, processes: ours }, { suspended }, call) {
      const now = await suspendedNow(call, scaling)
      return now === undefined || !ours.some((process) => !suspended.includes(process) && now.includes(process))
    },
  },
}

const isolationGroup: Kind<GroupParams, unknown> = {
  apply: (params, call, change) => ensureGroups(params, call, change.id),
  async holds({ vpc, name, allow, hop }, call) {
    const group = await findGroup(call, vpc, name)
    if (group === undefined || !asWanted(await readRules(call, group), allow)) return false
    return !hop || (await findGroup(call, vpc, `${name}-hop`)) !== undefined
  },
  back: {
    // What is still in it when it is to be deleted stops the deletion, by AWS itself.
    drift: async () => [],
    apply: ({ vpc, name }, _, call) => removeGroups(vpc, name, call),
    async holds({ vpc, name }, _, call) {
      const left = await Promise.all([findGroup(call, vpc, name), findGroup(call, vpc, `${name}-hop`)])
      return left.every((group) => group === undefined)
    },
  },
}

const isolateInterface: Kind<InterfaceParams, { groups: string[] }> = {
  async apply({ eni, vpc, name, hop }, call) {
    const group = await findGroup(call, vpc, name)
    if (group === undefined) throw new IrError('partial', `The isolation group ${name} of ${vpc} is not there.`)
    const through = hop ? await findGroup(call, vpc, `${name}-hop`) : undefined
    let hopped = false
    if (through !== undefined) {
      // A flow that is allowed both ways from and to everywhere is no longer tracked, and so ends with its permission.
      try {
        await setGroups(call, eni, [through])
        await new Promise((resolve) => setTimeout(resolve, hopMs))
        hopped = true
      } catch {
        // The hop is an extra. Whatever came of it, the cut follows at once.
      }
    }
    await setGroups(call, eni, [group])
    return { groups: [group], hopped }
  },
  async holds({ eni, vpc, name }, call) {
    const now = await groupsNow(call, eni)
    if (now === undefined) return true
    const group = await findGroup(call, vpc, name)
    return group !== undefined && now.length === 1 && now[0] === group
  },
  back: {
    async drift({ eni, vpc, name }, { groups }, call) {
      const now = await groupsNow(call, eni)
      if (now === undefined) return [`${eni} no longer exists`]
      const group = await findGroup(call, vpc, name)
      const as = now.join(', ')
      return (now.length === 1 && now[0] === group) || as === groups.join(', ')
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

const lowerMinimum: Kind<MinimumParams, { minSize: number }> = {
  async apply({ scaling, minSize: MinSize }, call) {
    await clients(call).scaling.send(new UpdateAutoScalingGroupCommand({ AutoScalingGroupName: scaling, MinSize }))
  },
  async holds({ scaling, minSize }, call) {
    const [group] = await readGroups(call, [scaling])
    return group === undefined || (group.MinSize ?? 0) <= minSize
  },
  back: {
    async drift({ scaling }, _, call) {
      return (await readGroups(call, [scaling])).length > 0 ? [] : [`auto scaling group ${safe(scaling)} is gone`]
    },
    async apply({ scaling }, { minSize: MinSize }, call) {
      const [group] = await readGroups(call, [scaling])
      if (group === undefined) return
      if ((group.DesiredCapacity ?? 0) < MinSize) {
        // AWS would start new instances of the same build to reach it.
        throw new IrError('partial', `${safe(scaling)} has fewer instances than its former minimum of ${MinSize}.`)
      }
      await clients(call).scaling.send(new UpdateAutoScalingGroupCommand({ AutoScalingGroupName: scaling, MinSize }))
    },
    async holds({ scaling }, { minSize }, call) {
      const [group] = await readGroups(call, [scaling])
      return group === undefined || group.MinSize === minSize
    },
  },
}

const detachFromScaling: Kind<DetachParams, DetachUndo> = {
  async apply({ scaling, instance, members }, call) {
    const { scalingOnce, balancing } = clients(call)
    const [group] = await readGroups(call, [scaling])
    await scalingOnce.send(
      new DetachInstancesCommand({
        AutoScalingGroupName: scaling,
        InstanceIds: [instance],
        // Otherwise the group starts another copy of the same build in its place.
        ShouldDecrementDesiredCapacity: true,
      }),
    )
    // A group that changes may register those that are still in it with its target groups again.
    for (const TargetGroupArn of group?.TargetGroupARNs ?? []) {
      try {
        const back = (await readTargets(call, TargetGroupArn)).filter(({ Id }) => members.includes(Id ?? ''))
        if (back.length > 0) await balancing.send(new DeregisterTargetsCommand({ TargetGroupArn, Targets: back }))
      } catch (error) {
        // The verdict tells what is still registered; the instance itself has left.
        if (awsError(error, 'Deregistering').code === 'interrupted') throw error
      }
    }
  },
  async holds({ scaling, instance }, call) {
    const state = await memberState(call, scaling, instance)
    return state === undefined || state.startsWith('Detach')
  },
  back: {
    async drift({ scaling, instance }, _, call) {
      if ((await readInstance(call, instance)) === undefined) return [`${instance} no longer exists`]
      return (await readGroups(call, [scaling])).length > 0 ? [] : [`auto scaling group ${safe(scaling)} is gone`]
    },
    async apply({ scaling, instance }, { protected: ProtectedFromScaleIn }, call) {
      const group = { AutoScalingGroupName: scaling, InstanceIds: [instance] }
      const { scaling: client, scalingOnce } = clients(call)
      if ((await memberState(call, scaling, instance)) === undefined) {
        await scalingOnce.send(new AttachInstancesCommand(group))
      }
      if (ProtectedFromScaleIn) await client.send(new SetInstanceProtectionCommand({ ...group, ProtectedFromScaleIn }))
    },
    async holds({ scaling, instance }, _, call) {
      if ((await readGroups(call, [scaling])).length === 0) return true
      const member = (await memberState(call, scaling, instance)) !== undefined
      return member || (await readInstance(call, instance)) === undefined
    },
  },
}

const deregisterTargets: Kind<TargetsParams, { targets: TargetDescription[] }> = {
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

const protectTermination: Kind<InstanceParams, unknown> = {
  apply: ({ instance }, call) => setTermination(call, instance, true),
  holds: async ({ instance }, call) => (await readAttributesOf(call, instance)).terminationProtected,
  back: {
    drift: async () => [],
    apply: ({ instance }, _, call) => setTermination(call, instance, false),
    holds: async ({ instance }, _, call) => !(await readAttributesOf(call, instance)).terminationProtected,
  },
}

const stopOnShutdown: Kind<InstanceParams, unknown> = {
  apply: ({ instance }, call) => setShutdown(call, instance, 'stop'),
  holds: async ({ instance }, call) => (await readAttributesOf(call, instance)).stopsOnShutdown,
  back: {
    drift: async () => [],
    apply: ({ instance }, _, call) => setShutdown(call, instance, 'terminate'),
    holds: async ({ instance }, _, call) => !(await readAttributesOf(call, instance)).stopsOnShutdown,
  },
}

const keepVolume: Kind<VolumeParams, unknown> = {
  apply: ({ instance, device }, call) => setVolume(call, instance, device, false),
  holds: async ({ instance, device }, call) => (await deletesVolume(call, instance, device)) !== true,
  back: {
    drift: async () => [],
    apply: ({ instance, device }, _, call) => setVolume(call, instance, device, true),
    holds: async ({ instance, device }, _, call) => (await deletesVolume(call, instance, device)) !== false,
  },
}

const tagInstance: Kind<InstanceParams, { value: string | null }> = {
  async apply({ instance }, call) {
    await clients(call).ec2.send(
      new CreateTagsCommand({ Resources: [instance], Tags: [{ Key: caseTag, Value: call.caseId }] }),
    )
  },
  holds: async ({ instance }, call) => (await tagNow(call, instance)) === call.caseId,
  back: {
    drift: async () => [],
    async apply({ instance }, { value }, call) {
      const { ec2 } = clients(call)
      const Resources = [instance]
      if (value === null) await ec2.send(new DeleteTagsCommand({ Resources, Tags: [{ Key: caseTag }] }))
      else await ec2.send(new CreateTagsCommand({ Resources, Tags: [{ Key: caseTag, Value: value }] }))
    },
    holds: async ({ instance }, { value }, call) => (await tagNow(call, instance)) === value,
  },
}

const removeProfile: Kind<InstanceParams, { arn: string | null }> = {
  async apply({ instance }, call) {
    for (const { AssociationId } of await readProfiles(call, [instance])) {
      await clients(call).ec2.send(new DisassociateIamInstanceProfileCommand({ AssociationId }))
    }
  },
  holds: async ({ instance }, call) => (await profileNow(call, instance)) === null,
  back: {
    async drift({ instance }, { arn }, call) {
      const now = await profileNow(call, instance)
      return now === null || now === arn ? [] : [`${instance} has another instance profile now: ${safe(now)}`]
    },
    async apply({ instance }, { arn }, call) {
      if (arn === null) return
      for (const { AssociationId } of await readProfiles(call, [instance])) {
        await clients(call).ec2.send(new DisassociateIamInstanceProfileCommand({ AssociationId }))
      }
      await clients(call).ec2Once.send(
        new AssociateIamInstanceProfileCommand({ InstanceId: instance, IamInstanceProfile: { Arn: arn } }),
      )
    },
    holds: async ({ instance }, { arn }, call) => (await profileNow(call, instance)) === arn,
  },
}

const closeMetadata: Kind<InstanceParams, ReturnType<typeof metadataOptions>> = {
  async apply({ instance }, call) {
    await clients(call).ec2.send(
      new ModifyInstanceMetadataOptionsCommand({ InstanceId: instance, HttpEndpoint: 'disabled' }),
    )
  },
  holds: async ({ instance }, call) => (await metadataNow(call, instance))?.HttpEndpoint === 'disabled',
  back: {
    drift: async () => [],
    async apply({ instance }, options, call) {
      await clients(call).ec2.send(new ModifyInstanceMetadataOptionsCommand({ InstanceId: instance, ...options }))
    },
    async holds({ instance }, options, call) {
      const now = await metadataNow(call, instance)
      return now === undefined || isDeepStrictEqual(now, options)
    },
  },
}

const snapshotVolumes: Kind<SnapshotParams, unknown> = {
  async apply({ instance, volumes }, call, change) {
    // Asked again although the plan found none: what is made twice is paid twice.
    const before = await snapshotsOf(call, change.id)
    if (volumes.every((volume) => before.some(({ VolumeId }) => VolumeId === volume))) return listed(before)
    const { Snapshots } = await clients(call).ec2Once.send(
      new CreateSnapshotsCommand({
        InstanceSpecification: { InstanceId: instance },
        Description: `mcp-ir ${call.caseId}`,
        TagSpecifications: [
          {
            ResourceType: 'snapshot',
            Tags: [
              { Key: caseTag, Value: call.caseId },
              { Key: changeTag, Value: change.id },
            ],
          },
        ],
      }),
    )
    return listed(Snapshots ?? [])
  },
  async holds({ volumes }, call, change) {
    const now = await snapshotsOf(call, change.id)
    return volumes.every((volume) => now.some(({ VolumeId }) => VolumeId === volume))
  },
}

const actions = actionsOf({
  'suspend-scaling': suspendScaling as AwsAction,
  'isolation-group': isolationGroup as AwsAction,
  'isolate-interface': isolateInterface as AwsAction,
  'lower-minimum': lowerMinimum as AwsAction,
  'detach-from-scaling': detachFromScaling as AwsAction,
  'deregister-targets': deregisterTargets as AwsAction,
  'protect-termination': protectTermination as AwsAction,
  'stop-on-shutdown': stopOnShutdown as AwsAction,
  'keep-volume': keepVolume as AwsAction,
  'tag-instance': tagInstance as AwsAction,
  'remove-profile': removeProfile as AwsAction,
  'close-metadata': closeMetadata as AwsAction,
  'snapshot-volumes': snapshotVolumes as AwsAction,
})

/** What is, by describing everything again. Only the cut decides; what is best effort is told. */
async function verifyIsolated(call: Call<Target>): Promise<Verdict> {
  const world = await reading(() => readWorld(call))
  if (world.instances.length === 0) {
    return {
      state: 'verified',
      observed: [{ claim: 'there is no living instance of it', seen: 'none', holds: true }],
      residue: [],
      limits,
    }
  }
  const found = await aims(world, call)
  const observed = found.map(({ claim, seen, holds }): Observation => ({ claim, seen, holds }))
  const cut = found.every(({ change, holds }) => holds || change.priority === 'best-effort')
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

/** Whether all that was undone is still as it was before. */
async function verifyReleased(call: Call<Target>): Promise<Verdict> {
  const observed = await bounded(call.changes, (change) => settledAgain(actions, change, call))
  const world = await reading(() => readWorld(call))
  if (call.changes.length === 0) {
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

/** Who we are to AWS. An instance's role session is named after the instance. */
interface Caller {
  readonly account: string
  readonly arn: string
}

/** The responder's own identity, before any role of the deployment is assumed. */
async function identity(call: Pick<Call<Target>, 'target' | 'signal'>): Promise<Caller> {
  const { region, role } = call.target.deployment
  return reading(async () => {
    const ask = (scope: { region: string | undefined; role?: string | undefined }) =>
      awsClient(STSClient, scope, 'reads', call.signal).send(new GetCallerIdentityCommand({}), {
        abortSignal: call.signal,
      })
    const own = await ask({ region })
    const acting = role === undefined ? own : await ask({ region, role })
    return { account: acting.Account ?? '', arn: own.Arn ?? '' }
  })
}

function refusals(world: World, caller: Caller): Problem[] {
  const problems: Problem[] = []
  const macs = new Set(
    Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ mac, address }) => `${mac} ${address}`)),
  )
  for (const { InstanceId = '' } of world.instances) {
    const interfaces = world.interfaces.filter(({ Attachment }) => Attachment?.InstanceId === InstanceId)
    const here = interfaces.some(({ MacAddress, PrivateIpAddress }) => macs.has(`${MacAddress} ${PrivateIpAddress}`))
    if (here || (caller.arn.includes(':assumed-role/') && caller.arn.endsWith(`/${InstanceId}`))) {
      problems.push({
        kind: 'refused',
        message: `${InstanceId} is the instance that this command runs on.`,
        hint: 'Run it from somewhere else, or you cut yourself off.',
      })
    }
  }
  for (const instance of world.instances) {
    const node = kubernetes(instance, world.interfaces)
    if (node !== undefined) {
      problems.push({
        kind: 'refused',
        message: `${instance.InstanceId} is a Kubernetes worker node (${safe(node)}): all pods on it would be cut off, not only this server.`,
        hint: 'Isolate the pod with a network policy, or drain and cordon the node and cut it off by hand.',
      })
    }
  }
  return problems
}

/** By what it is seen to be a worker node. */
function kubernetes(instance: Instance, interfaces: readonly NetworkInterface[]): string | undefined {
  const tag = instance.Tags?.find(
    ({ Key }) =>
      Key?.startsWith('kubernetes.io/cluster/') || Key === 'eks:cluster-name' || Key === 'aws:eks:cluster-name',
  )?.Key
  const eni = interfaces.find(
    ({ Attachment, Description }) =>
      Attachment?.InstanceId === instance.InstanceId && Description?.startsWith('aws-K8S-') === true,
  )
  return tag === undefined ? eni?.Description : `tag ${tag}`
}

/** Whether this interface goes through an open group: never one that the whole internet could reach meanwhile. */
function hops(
  { Association, Ipv6Addresses, Attachment }: NetworkInterface,
  { target }: Call<Target>,
  running: ReadonlyMap<string | undefined, boolean>,
): boolean {
  const { cut } = target.deployment
  if (cut === 'groups' || running.get(Attachment?.InstanceId) !== true) return false
  return cut === 'hop' || (Association?.PublicIp === undefined && (Ipv6Addresses ?? []).length === 0)
}

function hopped({ changes, receipts }: Call<Target>, eni: string): boolean {
  const change = changes.find(({ action, target }) => action === 'isolate-interface' && target.endsWith(` ${eni}`))
  const output = receipts.get(change?.id ?? '')?.output
  return output !== null && typeof output === 'object' && 'hopped' in output && output.hopped === true
}

function listed(snapshots: readonly Pick<Snapshot, 'SnapshotId' | 'VolumeId'>[]): Json {
  return snapshots.map(({ SnapshotId, VolumeId }) => ({ snapshot: SnapshotId ?? '', volume: VolumeId ?? '' }))
}

async function suspendedNow(call: Call<Target>, name: string): Promise<string[] | undefined> {
  const [group] = await readGroups(call, [name])
  return group === undefined ? undefined : (group.SuspendedProcesses ?? []).flatMap((one) => one.ProcessName ?? [])
}

async function groupsNow(call: Call<Target>, eni: string): Promise<string[] | undefined> {
  const found = await readInterface(call, eni)
  return found === undefined ? undefined : (found.Groups ?? []).flatMap(({ GroupId }) => GroupId ?? []).sort()
}

/** One interface at a time: the groups of an instance miss all but its first interface. */
async function setGroups(call: Call<Target>, NetworkInterfaceId: string, Groups: string[]): Promise<void> {
  await clients(call).ec2.send(new ModifyNetworkInterfaceAttributeCommand({ NetworkInterfaceId, Groups }))
}

/** The state of an instance in its auto scaling group; undefined when it is not in it. */
async function memberState(call: Call<Target>, scaling: string, instance: string): Promise<string | undefined> {
  const [group] = await readGroups(call, [scaling])
  const member = (group?.Instances ?? []).find(({ InstanceId }) => InstanceId === instance)
  return member === undefined ? undefined : (member.LifecycleState ?? '')
}

const place = ({ Id, Port }: TargetDescription): string => `${Id}:${Port ?? ''}`

// AWS takes one attribute a call.
async function setTermination(call: Call<Target>, InstanceId: string, Value: boolean): Promise<undefined> {
  await clients(call).ec2.send(new ModifyInstanceAttributeCommand({ InstanceId, DisableApiTermination: { Value } }))
}

async function setShutdown(call: Call<Target>, InstanceId: string, Value: 'stop' | 'terminate'): Promise<undefined> {
  await clients(call).ec2.send(
    new ModifyInstanceAttributeCommand({ InstanceId, InstanceInitiatedShutdownBehavior: { Value } }),
  )
}

async function setVolume(
  call: Call<Target>,
  InstanceId: string,
  DeviceName: string,
  DeleteOnTermination: boolean,
): Promise<undefined> {
  await clients(call).ec2.send(
    new ModifyInstanceAttributeCommand({
      InstanceId,
      BlockDeviceMappings: [{ DeviceName, Ebs: { DeleteOnTermination } }],
    }),
  )
}

async function deletesVolume(call: Call<Target>, instance: string, device: string): Promise<boolean | undefined> {
  const found = await readInstance(call, instance)
  return found?.BlockDeviceMappings?.find(({ DeviceName }) => DeviceName === device)?.Ebs?.DeleteOnTermination
}

async function tagNow(call: Call<Target>, instance: string): Promise<string | null> {
  const found = await readInstance(call, instance)
  return found?.Tags?.find(({ Key }) => Key === caseTag)?.Value ?? null
}

async function profileNow(call: Call<Target>, instance: string): Promise<string | null> {
  return (await readProfiles(call, [instance]))[0]?.IamInstanceProfile?.Arn ?? null
}

/** What of the metadata service can be set, without what is not known. */
function metadataOptions({ MetadataOptions: now }: Instance) {
  return {
    ...(now?.HttpEndpoint === undefined ? {} : { HttpEndpoint: now.HttpEndpoint }),
    ...(now?.HttpTokens === undefined ? {} : { HttpTokens: now.HttpTokens }),
    ...(now?.HttpPutResponseHopLimit === undefined ? {} : { HttpPutResponseHopLimit: now.HttpPutResponseHopLimit }),
    ...(now?.HttpProtocolIpv6 === undefined ? {} : { HttpProtocolIpv6: now.HttpProtocolIpv6 }),
    ...(now?.InstanceMetadataTags === undefined ? {} : { InstanceMetadataTags: now.InstanceMetadataTags }),
  }
}

async function metadataNow(call: Call<Target>, id: string): Promise<ReturnType<typeof metadataOptions> | undefined> {
  const instance = await readInstance(call, id)
  return instance === undefined ? undefined : metadataOptions(instance)
}

/** An SDK error while looking, in our words. */
async function reading<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw awsError(error, 'Reading from AWS')
  }
}

/** A range of addresses that somebody works from; a range of everything would isolate nothing. */
function validCidr(cidr: string): boolean {
  const [address = '', prefix = ''] = cidr.split('/')
  const family = isIP(address)
  const bits = Number(prefix)
  return /^\d{1,3}$/.test(prefix) && family !== 0 && bits >= 8 && bits <= (family === 4 ? 32 : 128)
}

/** For a shell: names of auto scaling groups may hold anything. */
function quote(text: string): string {
  return /^[\w.:/@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

/**
 * What `--target aws-ec2:i-…` names.
 * @throws IrError input when there is no such instance; denied; unreachable
 */
export async function discover(id: string, region: string | undefined): Promise<Discovered> {
  if (!/^i-[0-9a-f]{8,17}$/.test(id)) {
    throw new IrError('input', `aws-ec2:${safe(id, 60)} is no instance id.`, {
      hints: ['An instance id looks like i-0123456789abcdef0.'],
    })
  }
  const deployment: Ec2 = { id: 'target', kind: 'aws-ec2', instances: [id], cut: 'auto', allow: [] }
  const target: Target = {
    server: '',
    owner: '',
    deployment: { ...deployment, ...(region === undefined ? {} : { region }) },
  }
  const { signal } = new AbortController()
  const found = await reading(() => readInstance({ target, signal, caseId: '', changes: [] }, id))
  const where = await reading(() => clients({ target, signal }).ec2.config.region())
  if (found === undefined) {
    throw new IrError('input', `There is no living instance ${id} in ${where}.`, {
      hints: ['Name another region with --region, or another account with AWS_PROFILE.'],
    })
  }
  return { deployment: { ...deployment, region: where }, suggestedName: `aws-ec2/${id}` }
}
