import { reading } from '../aws/reading.ts'
import type { Action, Call, Change, Json, Observation, Problem } from '../change.ts'
import { safe } from '../ui/safe-text.ts'
import { type AwsAction, actionOf } from './aws/action.ts'
import {
  membersBy,
  pinned,
  refreshInstances,
  resizeGroup,
  resumeScaling,
  toResume,
  useVersion,
  wantedSize,
} from './aws/group.ts'
import { launchInstance, registeredWith, registerTargets } from './aws/launch.ts'
import {
  type Ec2,
  isAlive,
  readGroup,
  readInstances,
  readReplaced,
  readStarted,
  readTemplate,
  readVersions,
  rebuildOf,
  replacesTag,
  type Target,
  tagOf,
} from './aws/reading.ts'
import { requirements } from './aws/requirements.ts'
import { takeOut } from './aws/take-out.ts'
import { baseOf, defaultVersion, draftOf, templateVersion } from './aws/template.ts'
import type { Deployments, Presence } from './port.ts'

/**
 * A server on EC2, put back as new instances from a new version of its launch template: from an image that the verified build
 * vouches for, or with user data out of it, in new security groups and with a new role. One instance is launched in the place of
 * each isolated one, or an auto scaling group starts them. The isolated ones stay as they are. Facts: docs/redeploy.md.
 */

const kinds: Readonly<Record<string, AwsAction>> = {
  'template-version': templateVersion,
  'default-version': defaultVersion,
  'launch-instance': launchInstance,
  'register-targets': registerTargets,
  'use-version': useVersion,
  'resume-scaling': resumeScaling,
  'resize-group': resizeGroup,
  'refresh-instances': refreshInstances,
}

export const awsEc2: Deployments<Ec2> = {
  startWithin: 600,
  permissions: [
    'sts:AssumeRole',
    'ec2:DescribeInstances',
    'ec2:DescribeInstanceAttribute',
    'ec2:DescribeImages',
    'ec2:DescribeSubnets',
    'ec2:DescribeSecurityGroups',
    'ec2:DescribeLaunchTemplates',
    'ec2:DescribeLaunchTemplateVersions',
    'ec2:CreateLaunchTemplateVersion',
    'ec2:ModifyLaunchTemplate',
    'ec2:RunInstances',
    'ec2:CreateTags',
    'ec2:StopInstances',
    'ec2:TerminateInstances',
    'iam:PassRole',
    'iam:GetInstanceProfile',
    'iam:ListRolePolicies',
    'iam:GetRolePolicy',
    'iam:ListAttachedRolePolicies',
    'iam:GetPolicy',
    'iam:GetPolicyVersion',
    'autoscaling:DescribeAutoScalingGroups',
    'autoscaling:DescribeInstanceRefreshes',
    'autoscaling:UpdateAutoScalingGroup',
    'autoscaling:SuspendProcesses',
    'autoscaling:ResumeProcesses',
    'autoscaling:StartInstanceRefresh',
    'autoscaling:CancelInstanceRefresh',
    'autoscaling:DetachInstances',
    'elasticloadbalancing:DescribeTargetHealth',
    'elasticloadbalancing:RegisterTargets',
    'elasticloadbalancing:DeregisterTargets',
  ],

  async check(call) {
    const rebuild = rebuildOf(call.target)
    const world = await look(call)
    const { group, replaced, base, draft } = world
    const problems: Problem[] = await reading(() => requirements({ call, rebuild, draft, base, group, replaced }))
    if (group === undefined && replaced.length === 0) {
      const message = 'no instance of it is left to be replaced: where a new one should be is not known'
      problems.push({ kind: 'input', message, hint: 'Name the isolated instances in the deployment.' })
    }
    if (group !== undefined && group.LaunchTemplate === undefined) {
      const message = `auto scaling group ${safe(group.AutoScalingGroupName ?? '')} is not started from one launch template`
      problems.push({ kind: 'input', message, hint: 'Put it back with the pipeline of your own: redeploy.command.' })
    }
    if (call.target.credentialsFile !== undefined) {
      const message = `the rotated credentials lie in ${call.target.credentialsFile} on this machine: the new instance does not get them`
      problems.push({ kind: 'warning', message, hint: 'deliverTo a store that it reads with its new role.' })
    }
    return problems
  },

  async plan(call) {
    const world = await look(call)
    const changes = world.group === undefined ? await launches(call, world) : await refresh(call, world)
    if (world.version !== undefined) return changes
    const made = versionChange(call, world)
    return [made, ...changes.map((one) => ({ ...one, after: one.after.length === 0 ? [made.id] : one.after }))]
  },

  async presence(call) {
    const { group, template, version } = await look(call)
    if (group !== undefined) {
      const { fresh, old } = await reading(() => membersBy(call, group, template, version))
      if (old.length > 0) return { state: 'coming', why: `${old.join(', ')} of the group is not replaced yet` }
      return fresh.length > 0
        ? { state: 'up' }
        : { state: 'coming', why: 'the group has no new instance in service yet' }
    }
    const started = await reading(() => readStarted(call))
    const living = started.filter(isAlive)
    if (living.length === 0) return gone(started.map(({ InstanceId, State }) => `${InstanceId} is ${State?.Name}`))
    const pending = living.find(({ State }) => State?.Name === 'pending')
    return pending === undefined ? { state: 'up' } : { state: 'coming', why: `${pending.InstanceId} is pending` }
  },

  takeOut,

  async verify(call) {
    const { group, template, version, replaced } = await look(call)
    const observed: Observation[] = []
    const observe = (claim: string, seen: string, holds: boolean) => observed.push({ claim, seen, holds })
    const residue: string[] = []
    observe(
      `launch template ${safe(template.name)} starts the verified build by default`,
      version === undefined ? 'it has no such version' : `version ${template.defaultVersion}, made as ${version}`,
      version !== undefined && template.defaultVersion === version,
    )
    let running: readonly string[]
    if (group === undefined) {
      running = (await reading(() => readStarted(call))).filter(isAlive).flatMap(({ InstanceId }) => InstanceId ?? [])
      const wanted = replaced.length
      observe('as many new instances run as were isolated', `${running.length} for ${wanted}`, running.length >= wanted)
      for (const arn of rebuildOf(call.target).targetGroups) {
        const registered = await reading(() => registeredWith(call, arn))
        const all = running.every((id) => registered.includes(id))
        observe(`target group ${safe(arn)} has them`, all ? 'registered' : 'not all of them', all)
      }
    } else {
      const { fresh, old } = await reading(() => membersBy(call, group, template, version))
      running = fresh
      const seen = [`new: ${fresh.join(', ') || 'none'}`, ...(old.length === 0 ? [] : [`old: ${old.join(', ')}`])]
      const whole = old.length === 0 && fresh.length >= (group.DesiredCapacity ?? 0) && fresh.length > 0
      observe('every instance in service in the group is from the new version', seen.join('; '), whole)
    }
    await rights(call, running, observe, residue)
    const failed = observed.some(({ holds }) => !holds)
    return {
      state: failed ? 'failed' : residue.length > 0 ? 'residual' : 'verified',
      observed,
      residue,
      limits: [
        'that the new role may do no more than it must is for people to judge: only that it may not do everything was seen',
        ...(replaced.length === 0 ? [] : [`the registry may still name ${names(replaced)}, which stays isolated`]),
      ],
      output: { running: [...running] } satisfies Json,
    }
  },

  get actions() {
    return actions
  },
}

const actions: Readonly<Record<string, Action<Target>>> = Object.fromEntries(
  Object.entries(kinds).map(([name, kind]) => [name, actionOf(kind)]),
)

const gone = (seen: readonly string[]): Presence => ({
  state: 'gone',
  why: seen.length === 0 ? 'The new instance is not there' : `The new instance is not running: ${seen.join(', ')}`,
})

const names = (instances: readonly { InstanceId?: string | undefined }[]): string =>
  instances.map(({ InstanceId }) => InstanceId).join(', ')

type World = Awaited<ReturnType<typeof look>>

/** All that a plan and a verdict need, as it is now. */
async function look(call: Call<Target>) {
  return await reading(async () => {
    const group = await readGroup(call)
    const template = await readTemplate(call, group)
    const [versions, replaced] = await Promise.all([
      readVersions(call, template),
      group === undefined ? readReplaced(call) : readReplaced(withoutTags(call)),
    ])
    const base = baseOf(template, versions)
    const draft = await draftOf(call, base)
    const made = versions.find(({ VersionDescription }) => VersionDescription === draft.description)
    const version = made === undefined ? undefined : Number(made.VersionNumber)
    return { group, template, base, draft, version, replaced }
  })
}

/** Of a group everything is replaced: tags would find its other instances. */
function withoutTags(call: Call<Target>): Call<Target> {
  const { tags: _, ...deployment } = call.target.deployment
  return { ...call, target: { ...call.target, deployment } }
}

interface Drafted extends Pick<Change, 'action' | 'target' | 'summary' | 'effect'> {
  readonly after?: readonly string[]
  readonly params: Json
  readonly undo?: Json
  readonly breaks?: readonly string[]
  readonly command?: string
  readonly facts?: Readonly<Record<string, string>>
}

function change(call: Call<Target>, drafted: Drafted): Change {
  const id = call.changeId(drafted.action, drafted.target)
  return { after: [], breaks: [], priority: 'essential', ...drafted, id }
}

function versionChange(call: Call<Target>, { template, base, draft }: World): Change {
  const { server, artifact } = call.target
  const rebuild = rebuildOf(call.target)
  const from = Number(base.VersionNumber)
  return change(call, {
    action: 'template-version',
    target: `launch template ${template.name}, ${draft.hash}`,
    summary: `Make a version of launch template ${safe(template.name)} from ${safe(server.package.identifier)} ${safe(server.package.version)} (${artifact.verdict.state})`,
    effect: 'creates',
    params: { base: from, hash: draft.hash },
    facts: {
      build: artifact.file,
      sha256: artifact.verdict.sha256,
      image: rebuild.image,
      'user data': rebuild.userData ?? 'none',
      'security groups': rebuild.securityGroups.join(', '),
      'instance profile': rebuild.instanceProfile,
      'machine as in': `version ${from}`,
    },
  })
}

function defaultChange(call: Call<Target>, { template, draft, version }: World): readonly Change[] {
  if (version !== undefined && template.defaultVersion === version) return []
  return [
    change(call, {
      action: 'default-version',
      target: `launch template ${template.name}`,
      summary: `Make it the default of ${safe(template.name)}, so that nothing starts the compromised build by default`,
      effect: 'reversible',
      params: { hash: draft.hash },
      undo: { version: template.defaultVersion },
    }),
  ]
}

/** One in the place of each that is isolated. */
async function launches(call: Call<Target>, world: World): Promise<readonly Change[]> {
  const { replaced, draft } = world
  const preset = defaultChange(call, world)
  const living = (await reading(() => readStarted(call))).filter(isAlive)
  const there = new Set(living.map((one) => tagOf(one, replacesTag)))
  const missing = replaced.filter((one) => !there.has(one.InstanceId))
  const launching = missing.map(({ InstanceId = '', SubnetId }) =>
    change(call, {
      action: 'launch-instance',
      target: `instance in place of ${InstanceId}, ${draft.hash}`,
      summary: `Launch a new instance from it in place of ${InstanceId}, which stays isolated`,
      effect: 'creates',
      after: preset.map(({ id }) => id),
      params: { hash: draft.hash, replaces: InstanceId, subnet: SubnetId ?? null },
      facts: { subnet: SubnetId ?? 'as the launch template has it' },
    }),
  )
  const registering = await reading(() =>
    Promise.all(
      rebuildOf(call.target).targetGroups.map(async (arn): Promise<Change[]> => {
        const registered = launching.length > 0 ? [] : await registeredWith(call, arn)
        if (launching.length === 0 && registered.length > 0) return []
        return [
          change(call, {
            action: 'register-targets',
            target: `target group ${arn}`,
            summary: `Register the new instances with ${safe(arn.split('/').at(-2) ?? arn)}`,
            effect: 'reversible',
            after: launching.map(({ id }) => id),
            params: { arn },
          }),
        ]
      }),
    ),
  )
  return [...preset, ...launching, ...registering.flat()]
}

/** The group starts its instances from the new version, at its former size; what is left of the old build in it is replaced. */
async function refresh(call: Call<Target>, world: World): Promise<readonly Change[]> {
  const { group, template, draft, version } = world
  if (group === undefined) return []
  const name = group.AutoScalingGroupName ?? ''
  const target = `auto scaling group ${name}`
  const { isolation } = call.target
  const changes: Change[] = [...defaultChange(call, world)]
  const add = (drafted: Omit<Drafted, 'target'>): void => {
    const last = changes.at(-1)
    changes.push(change(call, { ...drafted, target, after: last === undefined ? [] : [last.id] }))
  }
  const pin = pinned(group)
  if (pin !== undefined && pin !== version) {
    add({
      action: 'use-version',
      summary: `Let ${safe(name)} start its instances from the new version`,
      effect: 'reversible',
      params: { hash: draft.hash },
      undo: { version: `${pin}` },
    })
  }
  const processes = toResume(group, name, isolation)
  if (processes.length > 0) {
    add({
      action: 'resume-scaling',
      summary: `Resume the scaling of ${safe(name)} (${processes.join(', ')})`,
      effect: 'reversible',
      params: { processes },
      undo: { processes },
    })
  }
  const { old } = await reading(() => membersBy(call, group, template, version))
  const size = wantedSize(group, name, isolation)
  const [min, desired] = [group.MinSize ?? 0, group.DesiredCapacity ?? 0]
  if (size.desired > desired || size.min > min) {
    add({
      action: 'resize-group',
      summary: `Let ${safe(name)} have ${size.desired} instances again, at least ${size.min}`,
      effect: 'creates',
      params: { min: size.min, desired: size.desired },
      undo: { min, desired },
    })
  }
  if (old.length > 0) {
    add({
      action: 'refresh-instances',
      summary: `Replace what ${safe(name)} still runs of the old build (${old.length}); what is in standby or has left it stays`,
      effect: 'irreversible',
      params: { hash: draft.hash },
      breaks: [`ends ${old.join(', ')}: isolate what is to be kept as evidence`],
    })
  }
  return changes
}

/** The new instances have the groups and the role that they should have, and nothing of the old ones. */
async function rights(
  call: Call<Target>,
  running: readonly string[],
  observe: (claim: string, seen: string, holds: boolean) => void,
  residue: string[],
): Promise<void> {
  const rebuild = rebuildOf(call.target)
  const described = await reading(() => readInstances(call, running))
  for (const { InstanceId = '', SecurityGroups, NetworkInterfaces, IamInstanceProfile } of described) {
    const groups = [
      ...(SecurityGroups ?? []),
      ...(NetworkInterfaces ?? []).flatMap(({ Groups }) => Groups ?? []),
    ].flatMap(({ GroupId }) => GroupId ?? [])
    const seen = [...new Set(groups)].sort()
    const wanted = [...rebuild.securityGroups].sort()
    const same = seen.join() === wanted.join()
    observe(`${InstanceId} is in the new security groups only`, seen.join(', ') || 'in none', same)
    const profile = IamInstanceProfile?.Arn?.split('/').at(-1)
    if (profile === undefined) residue.push(`${InstanceId} has no instance profile: it may do nothing in AWS`)
    else observe(`${InstanceId} has the new instance profile`, safe(profile), profile === rebuild.instanceProfile)
  }
  const missing = running.filter((id) => !described.some(({ InstanceId }) => InstanceId === id))
  if (missing.length > 0) residue.push(`EC2 does not describe ${missing.join(', ')}: groups and role were not seen`)
}
