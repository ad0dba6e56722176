import { isIP } from 'node:net'
import { GetConsoleOutputCommand } from '@aws-sdk/client-ec2'
import { bounded } from '../bounded.ts'
import type { Problem } from '../change.ts'
import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import { actionsOf } from './aws/action.ts'
import { aims } from './aws/aims.ts'
import { permissionProblems } from './aws/dry-run.ts'
import { kinds } from './aws/kinds.ts'
import { identity, mustBeHere } from './aws/place.ts'
import { readInstance } from './aws/read-instances.ts'
import { clients, type Ec2, reading, type Target } from './aws/reading.ts'
import { nodes, refusals } from './aws/refusals.ts'
import { verifyIsolated, verifyReleased } from './aws/verdict.ts'
import { lastLook, look } from './aws/world.ts'
import type { Containment, Discovered } from './port.ts'

/**
 * A server that runs on EC2 instances. It is cut off by giving every network interface of every instance one security
 * group that has no rules. What would bring it back, or destroy it, is held off: scaling is suspended, the instances leave
 * their auto scaling and target groups, are protected from termination, and lose their role. Release puts all of it back.
 * The facts and their sources are in docs/aws.md.
 */

export const awsEc2: Containment<Ec2> = {
  permissions: [
    'sts:GetCallerIdentity',
    'sts:AssumeRole',
    'ec2:DescribeInstances',
    'ec2:DescribeNetworkInterfaces',
    'ec2:DescribeSecurityGroups',
    'ec2:DescribeSecurityGroupRules',
    'ec2:DescribeIamInstanceProfileAssociations',
    'ec2:DescribeInstanceAttribute',
    'ec2:DescribeSnapshots',
    'ec2:DescribeNetworkAcls',
    'ec2:DescribeAddresses',
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
    'ec2:ReplaceIamInstanceProfileAssociation',
    'ec2:DisassociateIamInstanceProfile',
    'ec2:AssociateAddress',
    'ec2:DisassociateAddress',
    'ec2:CreateNetworkAcl',
    'ec2:CreateNetworkAclEntry',
    'ec2:DeleteNetworkAclEntry',
    'ec2:DeleteNetworkAcl',
    'ec2:ReplaceNetworkAclAssociation',
    'iam:PassRole',
    'iam:CreateRole',
    'iam:GetRole',
    'iam:GetRolePolicy',
    'iam:PutRolePolicy',
    'iam:DeleteRolePolicy',
    'iam:DeleteRole',
    'iam:CreateInstanceProfile',
    'iam:GetInstanceProfile',
    'iam:AddRoleToInstanceProfile',
    'iam:RemoveRoleFromInstanceProfile',
    'iam:DeleteInstanceProfile',
    'autoscaling:DescribeAutoScalingGroups',
    'autoscaling:DescribeAutoScalingInstances',
    'autoscaling:SuspendProcesses',
    'autoscaling:ResumeProcesses',
    'autoscaling:UpdateAutoScalingGroup',
    'autoscaling:DetachInstances',
    'autoscaling:AttachInstances',
    'autoscaling:EnterStandby',
    'autoscaling:SetInstanceProtection',
    'elasticloadbalancing:DescribeTargetGroups',
    'elasticloadbalancing:DescribeTargetHealth',
    'elasticloadbalancing:RegisterTargets',
    'elasticloadbalancing:DeregisterTargets',
    'ssm:DescribeSessions',
    'ssm:TerminateSession',
  ],

  async check(call) {
    const { deployment } = call.target
    const problems: Problem[] = []
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
    const world = await look(call)
    problems.push(...refusals(world, caller))
    const found = new Set(world.instances.map(({ InstanceId }) => InstanceId))
    const where = `account ${caller.account}, region ${caller.region}`
    const hint =
      'If it is elsewhere, set region or role of the deployment; if it is gone for good, take it out of the registry.'
    const missing = (deployment.instances ?? []).filter((id) => !found.has(id) && !world.ended.includes(id))
    const nothing = found.size === 0 && world.ended.length === 0 && world.groups.length === 0
    if (missing.length > 0) {
      const message = `there is no ${missing.map((id) => `instance ${safe(id, 60)}`).join(', no ')} in ${where}`
      // What was found is cut off all the same; nothing at all is not what anybody meant.
      problems.push({ kind: nothing ? 'input' : 'warning', message, hint })
    } else if (nothing) {
      problems.push({ kind: 'input', message: `no instance of it was found in ${where}`, hint })
    }
    if (world.ended.length > 0) {
      problems.push({ kind: 'warning', message: `terminated already: ${world.ended.join(', ')}` })
    }
    problems.push(...nodes(world, call.target.forceNode === true ? 'warning' : 'refused'))
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

  recognise: mustBeHere,

  async plan(call) {
    if (call.intent === 'release') return []
    const caller = await identity(call)
    const world = await lastLook(call)
    const [refused] = [...refusals(world, caller), ...(call.target.forceNode === true ? [] : nodes(world, 'refused'))]
    if (refused !== undefined) throw new IrError('refused', refused.message)
    const changes = (await aims(world, call)).filter(({ holds }) => !holds).map(({ change }) => change)
    const planned = new Set(changes.map(({ id }) => id))
    return changes.map((change) => ({ ...change, after: change.after.filter((id) => planned.has(id)) }))
  },

  async collect(call) {
    if (call.intent === 'release') return
    call.progress('keeping the descriptions and the console output')
    const world = await look(call)
    const { attributes, isolation, open, snapshots, subnets, acls, ruleless, ...descriptions } = world
    const slug = call.target.deployment.id.replace(/[^A-Za-z0-9-]+/g, '-').slice(0, 60)
    const content = {
      ...descriptions,
      isolation: [...isolation.values()],
      open: [...open],
      snapshots: [...(snapshots?.values() ?? [])].flat(),
      attributes: Object.fromEntries(attributes),
      subnets: Object.fromEntries(subnets),
      acls: Object.fromEntries(acls),
      ruleless: [...ruleless],
    }
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

const actions = actionsOf(kinds)

/** A range of addresses that somebody works from; a range of everything would isolate nothing. */
function validCidr(cidr: string): boolean {
  const [address = '', prefix = ''] = cidr.split('/')
  const family = isIP(address)
  const bits = Number(prefix)
  return /^\d{1,3}$/.test(prefix) && family !== 0 && bits >= 8 && bits <= (family === 4 ? 32 : 128)
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
