import type { AutoScalingGroup } from '@aws-sdk/client-auto-scaling'
import {
  DescribeImagesCommand,
  DescribeInstanceAttributeCommand,
  DescribeSubnetsCommand,
  type Instance,
  type LaunchTemplateVersion,
  paginateDescribeSecurityGroups,
} from '@aws-sdk/client-ec2'
import {
  GetInstanceProfileCommand,
  GetPolicyCommand,
  GetPolicyVersionCommand,
  GetRolePolicyCommand,
  paginateListAttachedRolePolicies,
  paginateListRolePolicies,
  type Role,
} from '@aws-sdk/client-iam'
import { awsCode } from '../../aws/clients.ts'
import { named } from '../../aws/principal.ts'
import { all } from '../../aws/reading.ts'
import { bounded } from '../../bounded.ts'
import type { Problem } from '../../change.ts'
import { safe } from '../../ui/safe-text.ts'
import {
  artifactTag,
  clients,
  isolatedInstances,
  journalled,
  type Reading,
  type Rebuild,
  tagOf,
  texts,
} from './reading.ts'
import type { Draft } from './template.ts'

/** What a new instance gets must exist, and must not be what the compromised one had. */

interface Given {
  readonly call: Reading
  readonly rebuild: Rebuild
  readonly draft: Draft
  readonly base: LaunchTemplateVersion
  readonly group: AutoScalingGroup | undefined
  readonly replaced: readonly Instance[]
}

export async function requirements(given: Given): Promise<Problem[]> {
  const found = await bounded([imageProblems, groupProblems, profileProblems, sameBuild], (one) => one(given))
  return [...found.flat(), ...stillIn(given)]
}

const refused = (message: string, hint: string): Problem => ({ kind: 'refused', message, hint })

async function imageProblems({ call, rebuild: { image } }: Given): Promise<Problem[]> {
  const options = { abortSignal: call.signal }
  const { Images } = await clients(call)
    .ec2.send(new DescribeImagesCommand({ ImageIds: [image] }), options)
    .catch((error) => {
      if (awsCode(error)?.startsWith('InvalidAMIID') === true) return { Images: [] }
      throw error
    })
  const state = Images?.[0]?.State
  if (state === 'available') return []
  return [{ kind: 'input', message: `image ${image} is ${state === undefined ? 'not there' : safe(state)}` }]
}

/** The groups of the compromised one may have been opened by whoever took it over. */
async function groupProblems({ call, rebuild, base, group, replaced }: Given): Promise<Problem[]> {
  const wanted = rebuild.securityGroups
  const described = await all(paginateDescribeSecurityGroups, clients(call).ec2, call, 'SecurityGroups', {
    Filters: [{ Name: 'group-id', Values: [...wanted] }],
  })
  const found = described.filter(({ GroupId = '' }) => wanted.includes(GroupId))
  const problems: Problem[] = []
  const missing = wanted.filter((id) => !found.some(({ GroupId }) => GroupId === id))
  if (missing.length > 0) {
    const hint = 'Make them first, with just what the server needs: redeploy.securityGroups.'
    problems.push({ kind: 'input', message: `there is no security group ${missing.join(', ')}`, hint })
  }
  const had = new Set([
    ...journalled(call.target.isolation, 'isolate-interface').flatMap(({ undo }) => texts(undo.groups)),
    ...replaced.flatMap(({ NetworkInterfaces }) =>
      (NetworkInterfaces ?? []).flatMap(({ Groups }) => (Groups ?? []).flatMap(({ GroupId }) => GroupId ?? [])),
    ),
    ...texts(base.LaunchTemplateData?.SecurityGroupIds),
  ])
  const same = wanted.filter((id) => had.has(id))
  if (same.length > 0) {
    problems.push(
      refused(
        `the compromised server was in security group ${same.join(', ')}: its rules may have been changed`,
        'Name new ones: redeploy.securityGroups.',
      ),
    )
  }
  const vpc = await vpcOf(call, group, replaced)
  const elsewhere = found.filter(({ VpcId }) => vpc !== undefined && VpcId !== vpc)
  if (elsewhere.length > 0) {
    const ids = elsewhere.map(({ GroupId }) => GroupId).join(', ')
    problems.push({ kind: 'input', message: `security group ${ids} is not in ${vpc}, where the new instances will be` })
  }
  return problems
}

async function vpcOf(
  call: Reading,
  group: AutoScalingGroup | undefined,
  replaced: readonly Instance[],
): Promise<string | undefined> {
  const subnet = group?.VPCZoneIdentifier?.split(',')[0]
  if (subnet === undefined || subnet === '') return replaced[0]?.VpcId
  const { Subnets } = await clients(call).ec2.send(new DescribeSubnetsCommand({ SubnetIds: [subnet] }), {
    abortSignal: call.signal,
  })
  return Subnets?.[0]?.VpcId
}

/** A new role: the old one may carry a trust policy, or policies, that were changed; and it was revoked. */
async function profileProblems({ call, rebuild, base, replaced }: Given): Promise<Problem[]> {
  const name = rebuild.instanceProfile
  const role = await roleOf(call, name)
  if (role === undefined) {
    const hint = 'Make it first, with a role that may do just what the server needs: redeploy.instanceProfile.'
    return [{ kind: 'input', message: `there is no instance profile ${safe(name)} with a role`, hint }]
  }
  const old = [
    ...journalled(call.target.isolation, 'replace-profile').flatMap(({ undo }) => texts([undo.arn])),
    ...replaced.flatMap(({ IamInstanceProfile }) => IamInstanceProfile?.Arn ?? []),
    ...texts([base.LaunchTemplateData?.IamInstanceProfile?.Arn, base.LaunchTemplateData?.IamInstanceProfile?.Name]),
  ].map((one) => named(one).name)
  const roles = await bounded([...new Set(old)], async (one) => (await roleOf(call, one))?.RoleName)
  const revoked = call.target.server.credentials.flatMap((one) =>
    one.kind === 'aws-iam-role' ? [named(one.role).name] : [],
  )
  const { RoleName = '' } = role
  if (old.includes(name) || [...roles, ...revoked].includes(RoleName)) {
    return [
      refused(
        `instance profile ${safe(name)} gives the role of the compromised server (${safe(RoleName)}): its trust may have been changed`,
        'Make a new role and profile: redeploy.instanceProfile.',
      ),
    ]
  }
  return [...trustProblems(role), ...(await tooMuch(call, RoleName))]
}

async function roleOf(call: Reading, InstanceProfileName: string): Promise<Role | undefined> {
  try {
    const { InstanceProfile } = await clients(call).iam.send(new GetInstanceProfileCommand({ InstanceProfileName }), {
      abortSignal: call.signal,
    })
    return InstanceProfile?.Roles?.[0]
  } catch (error) {
    if (awsCode(error)?.startsWith('NoSuchEntity') === true) return undefined
    throw error
  }
}

interface Statement {
  readonly Effect?: string
  readonly Principal?: unknown
  readonly Action?: unknown
  readonly NotAction?: unknown
}

/** AWS hands policies out with percent-encoding. @returns undefined when it is none */
function statements(document: string | undefined): readonly Statement[] | undefined {
  try {
    const { Statement: found } = JSON.parse(decodeURIComponent(document ?? ''))
    return Array.isArray(found) ? found : [found]
  } catch {
    return undefined
  }
}

const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : [value])

function trustProblems({ RoleName = '', AssumeRolePolicyDocument }: Role): Problem[] {
  const allowed = statements(AssumeRolePolicyDocument)?.filter(({ Effect }) => Effect === 'Allow')
  const others = allowed?.filter(({ Principal }) => {
    const { Service, ...more } = (
      typeof Principal === 'object' && Principal !== null ? Principal : { other: Principal }
    ) as {
      Service?: unknown
    }
    return (
      Object.keys(more).length > 0 || listOf(Service).some((one) => !/^ec2\.amazonaws\.com(\.cn)?$/.test(String(one)))
    )
  })
  if (others?.length === 0) return []
  const hint = 'Only EC2 may assume the role of an instance: look at its trust policy.'
  return [refused(`role ${safe(RoleName)} can be assumed by somebody else than EC2`, hint)]
}

/** Least privilege cannot be told from a policy alone; everything can. */
async function tooMuch(call: Reading, RoleName: string): Promise<Problem[]> {
  const { iam } = clients(call)
  const options = { abortSignal: call.signal }
  const [inline, attached] = await Promise.all([
    all(paginateListRolePolicies, iam, call, 'PolicyNames', { RoleName }),
    all(paginateListAttachedRolePolicies, iam, call, 'AttachedPolicies', { RoleName }),
  ])
  const documents = await Promise.all([
    ...inline.map(
      async (PolicyName) =>
        (await iam.send(new GetRolePolicyCommand({ RoleName, PolicyName }), options)).PolicyDocument,
    ),
    ...attached.map(async ({ PolicyArn }) => {
      const { Policy } = await iam.send(new GetPolicyCommand({ PolicyArn }), options)
      const version = { PolicyArn, VersionId: Policy?.DefaultVersionId }
      return (await iam.send(new GetPolicyVersionCommand(version), options)).PolicyVersion?.Document
    }),
  ])
  const everything = documents
    .flatMap((document) => statements(document) ?? [{ Effect: 'Allow', Action: '*' }])
    .some(
      ({ Effect, Action, NotAction }) =>
        Effect === 'Allow' &&
        (NotAction !== undefined || listOf(Action).some((one) => /^\*(:\*)?$|^iam:\*$/.test(String(one)))),
    )
  if (!everything) return []
  const hint = 'Give the new role only what the server needs.'
  return [refused(`role ${safe(RoleName)} may do everything, or whatever IAM may`, hint)]
}

/** The build that ran when the server was compromised: by the image, by the user data, by what an earlier redeploy noted. */
async function sameBuild({ call, rebuild, draft, replaced }: Given): Promise<Problem[]> {
  const { target, signal } = call
  const { sha256 } = target.artifact.verdict
  const same = await bounded(replaced, async (one): Promise<string[]> => {
    const { InstanceId, ImageId } = one
    if (tagOf(one, artifactTag) === sha256) return [`${InstanceId} was started from this very build`]
    if (ImageId !== rebuild.image) return []
    const { UserData } = await clients(call).ec2.send(
      new DescribeInstanceAttributeCommand({ InstanceId, Attribute: 'userData' }),
      { abortSignal: signal },
    )
    return (UserData?.Value ?? '') === (draft.data.UserData ?? '')
      ? [`${InstanceId} was started from ${ImageId} with the same user data`]
      : []
  })
  return same.flat().map((message): Problem => {
    if (target.rootCause !== undefined) {
      return { kind: 'warning', message: `${message}; root cause: ${safe(target.rootCause)}` }
    }
    return refused(
      `${message}: it is the build that was compromised`,
      'When the cause lies elsewhere, say so: --root-cause TEXT.',
    )
  })
}

/** A group whose scaling goes on would end what is isolated in it. */
function stillIn({ call, group }: Given): Problem[] {
  const isolated = isolatedInstances(call.target.isolation)
  const counted = (group?.Instances ?? []).filter(
    ({ InstanceId = '', LifecycleState = '' }) =>
      isolated.includes(InstanceId) && !/^(Standby|Detach)/.test(LifecycleState),
  )
  if (counted.length === 0) return []
  const ids = counted.map(({ InstanceId }) => InstanceId).join(', ')
  return [
    refused(
      `${ids} is isolated and still in service in its auto scaling group, which would end it`,
      'Isolate again, so that it leaves the group; or put it in standby.',
    ),
  ]
}
