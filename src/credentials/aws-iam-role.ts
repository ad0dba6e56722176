import {
  DeleteRolePolicyCommand,
  GetRoleCommand,
  GetRolePolicyCommand,
  PutRolePolicyCommand,
  paginateListAttachedRolePolicies,
  paginateListInstanceProfilesForRole,
  paginateListRolePolicies,
} from '@aws-sdk/client-iam'
import { named } from '../aws/principal.ts'
import type { Action, Call, Change, Json, Observation, Problem, Verdict } from '../change.ts'
import { IrError } from '../errors.ts'
import type { CredentialOf } from '../registry/port.ts'
import {
  cutoffAt,
  type Deny,
  decoded,
  denyDocument,
  olderSessions,
  policyName,
  readDeny,
  tooEarly,
} from './aws/deny.ts'
import {
  all,
  asked,
  type Caller,
  callerOf,
  type Iam,
  keepBefore,
  openIam,
  orAbsent,
  orUnread,
  otherAccount,
  plannedBy,
  principalOf,
  type Unread,
} from './aws/iam.ts'
import { keepLastAccessed } from './aws/last-accessed.ts'
import { closeChange, closeMetadata, type Machine, openMachines } from './aws/metadata.ts'
import { beforeSecondLook, defaults, type IamSettings } from './aws/wait.ts'
import { type Credentials, type CredentialTarget, stage } from './port.ts'
import { asJson, field, mayGoOn, quoted, stateOf, textField } from './words.ts'

/**
 * A role's sessions cannot be recalled: they are denied by a policy on the role. A role that only this server uses is denied
 * everything; of one that others use the sessions from before a cutoff, so that the others fail only until they renew.
 * There is nothing to deliver: rotation lets fresh sessions in, and keeps the old ones out.
 */
type RoleCredential = CredentialOf<'aws-iam-role'>
type Target = CredentialTarget<RoleCredential>
type RoleCall = Call<Target>

/** The longest that a session of a role can last. */
const longest = { ms: 12 * 3_600_000, told: 'a session lasts 12 hours at most' }

export function roleCredentials(overrides: Partial<IamSettings> = {}): Credentials<RoleCredential> {
  const settings: IamSettings = { ...defaults, ...overrides }
  return {
    permissions: [
      'sts:GetCallerIdentity',
      'iam:GenerateServiceLastAccessedDetails',
      'iam:GetServiceLastAccessedDetails',
      'iam:GetRole',
      'iam:GetRolePolicy',
      'iam:ListRolePolicies',
      'iam:ListAttachedRolePolicies',
      'iam:ListInstanceProfilesForRole',
      'iam:PutRolePolicy',
      'iam:DeleteRolePolicy',
      'ec2:DescribeInstances',
      'ec2:ModifyInstanceMetadataOptions',
    ],

    check,

    plan: plannedBy({ revoke: planRevoke, rotate: planRotate }),

    async collect(call) {
      await keepBefore(call, roleName(call))
      await keepLastAccessed(call, roleName(call), settings)
    },

    verify: (call) => (call.intent === 'reinstate' ? verifyReinstated(call) : verifyRevoked(call, settings)),

    actions: {
      'close-metadata': closeMetadata(),
      'deny-role': denyRole,
      'cut-sessions': cutSessions(false),
      'let-fresh-sessions-in': cutSessions(true),
      'lift-deny': liftDeny,
    },
  }
}

// What is read

interface Role {
  readonly name: string
  readonly arn: string
  readonly trust: string
  /** What is denied by our own policy, and by the one for older sessions. */
  readonly deny: Deny | undefined
  readonly older: Deny | undefined
}

function roleName(call: RoleCall): string {
  return named(call.target.credential.role).name
}

async function readRole(call: RoleCall, iam: Iam): Promise<Role | undefined> {
  const name = roleName(call)
  const found = await orAbsent(`Reading role ${name}`, () =>
    iam.client.send(new GetRoleCommand({ RoleName: name }), iam.options),
  )
  if (found?.Role === undefined) return undefined
  const [deny, older] = await Promise.all(
    [policyName(call.caseId), olderSessions].map(async (policy) => {
      const document = await readPolicy(iam, name, policy)
      return document === undefined ? undefined : readDeny(document, call.caseId)
    }),
  )
  return { name, arn: found.Role.Arn ?? '', trust: decoded(found.Role.AssumeRolePolicyDocument), deny, older }
}

async function readPolicy(iam: Iam, role: string, policy: string): Promise<string | undefined> {
  const found = await orAbsent(`Reading policy ${policy} of role ${role}`, () =>
    iam.client.send(new GetRolePolicyCommand({ RoleName: role, PolicyName: policy }), iam.options),
  )
  return found === undefined ? undefined : decoded(found.PolicyDocument)
}

/** Evidence: what the role could do, who could take it and where it is used, before anything is changed. */
async function readBefore(
  call: RoleCall,
  iam: Iam,
  role: Role,
): Promise<{ before: Json; profiles: readonly string[] }> {
  const { client, options } = iam
  const of = { RoleName: role.name }
  const unread: Unread[] = []
  const [inline, attached, profiles] = await Promise.all([
    orUnread('inline policies', [], unread, () =>
      all(paginateListRolePolicies({ client }, of, options), ({ PolicyNames }) => PolicyNames),
    ),
    orUnread('attached policies', [], unread, () =>
      all(paginateListAttachedRolePolicies({ client }, of, options), ({ AttachedPolicies }) => AttachedPolicies),
    ),
    profilesOf(iam, role.name, unread),
  ])
  mayGoOn(call)
  const policies = await Promise.all(
    inline.map(async (name) => ({
      name,
      document: (await orUnread(`policy ${name}`, undefined, unread, () => readPolicy(iam, role.name, name))) ?? null,
    })),
  )
  const before = {
    role: role.arn,
    trust: role.trust,
    inline: policies,
    attached: attached.map(({ PolicyArn }) => PolicyArn ?? ''),
    instanceProfiles: profiles,
    unread: unread.map(({ what, code }) => `${what}: ${code}`),
  }
  return { before, profiles }
}

async function profilesOf({ client, options }: Iam, role: string, unread: Unread[]): Promise<readonly string[]> {
  const found = await orUnread('instance profiles', [], unread, () =>
    all(
      paginateListInstanceProfilesForRole({ client }, { RoleName: role }, options),
      ({ InstanceProfiles }) => InstanceProfiles,
    ),
  )
  return found.map(({ InstanceProfileName }) => InstanceProfileName ?? '')
}

async function check(call: RoleCall & { readonly intent: string }): Promise<readonly Problem[]> {
  const iam = await openIam(call)
  const caller = await callerOf(iam)
  const { role: given } = call.target.credential
  const elsewhere = otherAccount(given, caller)
  if (elsewhere !== undefined) return [elsewhere]
  const name = roleName(call)
  const { kind, name: own } = principalOf(caller.arn)
  if (kind === 'assumed-role' && own === name)
    return [
      {
        kind: 'refused',
        message: `we are role ${name} ourselves (${caller.arn}): denying it would lock us out`,
        hint: 'Use another role or user for the response (AWS_PROFILE)',
      },
    ]
  const role = await readRole(call, iam)
  if (role === undefined)
    return [
      { kind: 'input', message: `there is no role ${name} in account ${caller.account}`, hint: `We are ${caller.arn}` },
    ]
  const untouchable = cannotBeEdited(role)
  if (untouchable !== undefined && call.intent !== 'reinstate') return [untouchable]
  if (call.intent === 'reinstate' && role.deny !== undefined) {
    const early = tooEarly(role.deny.since, iam.clock(), longest)
    if (early !== undefined)
      return [{ kind: 'refused', message: `role ${name}: ${early}`, hint: 'mcp-ir rotate lets fresh sessions in' }]
  }
  return []
}

function cannotBeEdited({ arn, name }: Role): Problem | undefined {
  if (arn.includes(':role/aws-service-role/'))
    return {
      kind: 'denied',
      message: `${name} is a service-linked role: AWS lets nobody put a policy on it, and its sessions cannot be revoked`,
      hint: 'Stop what the service does for the server, then delete the role in that service',
    }
  if (name.startsWith('AWSReservedSSO_'))
    return {
      kind: 'denied',
      message: `${name} belongs to IAM Identity Center: AWS lets nobody put a policy on it here`,
      hint: 'In Identity Center: delete the user’s active sessions, and put the deny into the permission set or an organization policy',
    }
  return undefined
}

// Revoke

/** Named without what differs from one look to the next: it makes the ids. */
function roleTarget(name: string, account: string): string {
  return `role ${name} in account ${account}`
}

async function planRevoke(call: RoleCall): Promise<readonly Change[]> {
  const iam = await openIam(call)
  const [caller, role] = await Promise.all([callerOf(iam), readRole(call, iam)])
  if (role === undefined || role.deny?.kind === 'all') return []
  // Rotated: its sessions are the new server's, and the old ones are kept out.
  if (role.older?.fresh === true) return []
  const target = roleTarget(role.name, caller.account)
  const run = call.changeId('cut-sessions', target)
  const { sharedWith, server } = call.target
  const shared = sharedWith.length > 0
  const { before, profiles } = await readBefore(call, iam, role)
  const cut = role.older?.run === run ? role.older : undefined
  const machines = shared ? (await openMachines(call, profiles)).open.filter((one) => isOlder(one, cut)) : []
  if (cut !== undefined && shared && machines.length === 0) return []
  const policy = shared ? olderSessions : policyName(call.caseId)
  const common = {
    target,
    priority: 'essential',
    after: [],
    params: { role: role.name, policy, before },
    breaks: sharedWith,
    facts: factsOf(role, caller, profiles),
  } as const
  if (shared) {
    const closing = machines.map((one) => closeChange(call, one, role.name))
    // Another change each time: what was put before is no sign that it was put again.
    const again = cut === undefined ? target : `${target}, sessions from before ${cut.cutoff} denied`
    return [
      ...closing,
      {
        ...common,
        id: call.changeId('cut-sessions', again),
        target: again,
        action: 'cut-sessions',
        // Once the attempts to close have ended, well or not: the other way round a machine could fetch newer sessions.
        stage: stage.end,
        params: { ...common.params, run },
        summary: `End every session of role ${role.name} that was issued until now; those who share it fail until they renew: ${sharedWith.join(', ')}`,
        effect: 'irreversible',
        command: putCommand(role.name, policy, {
          kind: 'sessions',
          cutoff: 'YYYY-MM-DDThh:mm:ssZ (now in UTC, plus 30 s)',
        }),
      },
    ]
  }
  return [
    {
      ...common,
      id: call.changeId('deny-role', target),
      action: 'deny-role',
      stage: stage.mint,
      summary: `Deny everything to role ${role.name}, which only ${server} uses, running sessions included`,
      effect: 'reversible',
      undo: { policy },
      command: putCommand(role.name, policy, { kind: 'all' }),
    },
  ]
}

function factsOf(role: Role, caller: Caller, profiles: readonly string[]): Record<string, string> {
  return {
    role: role.arn,
    account: caller.account,
    'instance profiles': profiles.join(', ') || 'none',
    'we are': caller.arn,
  }
}

function putCommand(role: string, policy: string, deny: Deny): string {
  const document = denyDocument(deny, '')
  return `aws iam put-role-policy --role-name ${quoted(role)} --policy-name ${quoted(policy)} --policy-document ${quoted(document)}`
}

async function put(call: RoleCall, iam: Iam, role: string, policy: string, deny: Deny): Promise<void> {
  await asked(`Putting policy ${policy} on role ${role}`, () =>
    iam.client.send(
      new PutRolePolicyCommand({
        RoleName: role,
        PolicyName: policy,
        PolicyDocument: denyDocument(deny, call.caseId),
      }),
      iam.options,
    ),
  )
}

const denyRole: Action<Target> = {
  async apply(change, call) {
    mayGoOn(call)
    const iam = await openIam(call)
    const role = textField(change.params, 'role')
    // Also to have the server's clock.
    await readPolicy(iam, role, policyName(call.caseId))
    const since = iam.clock()
    await put(call, iam, role, policyName(call.caseId), { kind: 'all', since, change: change.id })
    return { output: { since: since.toISOString() } }
  },
  async settle(change, call) {
    const document = await readPolicy(await openIam(call), textField(change.params, 'role'), policyName(call.caseId))
    const deny = document === undefined ? undefined : readDeny(document, call.caseId)
    return deny?.kind === 'all' ? { output: { since: deny.since?.toISOString() ?? null } } : undefined
  },
  undo: {
    async drift(change, _receipt, call) {
      const document = await readPolicy(await openIam(call), textField(change.params, 'role'), policyName(call.caseId))
      if (document === undefined) return ['somebody took the deny away already']
      return readDeny(document, call.caseId)?.kind === 'all' ? [] : ['somebody altered the policy that denies']
    },
    async apply(change, _receipt, call) {
      mayGoOn(call)
      const iam = await openIam(call)
      const role = textField(change.params, 'role')
      const document = await readPolicy(iam, role, policyName(call.caseId))
      if (document === undefined) return {}
      const early = tooEarly(readDeny(document, call.caseId)?.since, iam.clock(), longest)
      if (early !== undefined) throw new IrError('refused', `role ${role}: ${early}`)
      await remove(call, iam, role)
      return {}
    },
    async settle(change, _receipt, call) {
      const document = await readPolicy(await openIam(call), textField(change.params, 'role'), policyName(call.caseId))
      return document === undefined ? {} : undefined
    },
  },
}

async function remove(call: RoleCall, iam: Iam, role: string): Promise<void> {
  const policy = policyName(call.caseId)
  await orAbsent(`Removing policy ${policy} from role ${role}`, () =>
    iam.client.send(new DeleteRolePolicyCommand({ RoleName: role, PolicyName: policy }), iam.options),
  )
}

/** @param fresh by rotation: what comes after the cutoff is the new server's */
function cutSessions(fresh: boolean): Action<Target> {
  return {
    async apply(change, call) {
      mayGoOn(call)
      const iam = await openIam(call)
      const role = textField(change.params, 'role')
      await readPolicy(iam, role, olderSessions)
      const cutoff = cutoffAt(iam.clock())
      const run = field(change.params, 'run')
      await put(call, iam, role, olderSessions, {
        kind: 'sessions',
        cutoff,
        fresh,
        change: change.id,
        run: typeof run === 'string' ? run : undefined,
      })
      return { output: { cutoff } }
    },
    async settle(change, call) {
      const document = await readPolicy(await openIam(call), textField(change.params, 'role'), olderSessions)
      const deny = document === undefined ? undefined : readDeny(document, call.caseId)
      return deny?.change === change.id ? { output: { cutoff: deny.cutoff ?? null } } : undefined
    },
  }
}

// Rotate

async function planRotate(call: RoleCall): Promise<readonly Change[]> {
  const iam = await openIam(call)
  const [caller, role] = await Promise.all([callerOf(iam), readRole(call, iam)])
  if (role?.deny === undefined) return []
  const target = roleTarget(role.name, caller.account)
  const fresh = call.changeId('let-fresh-sessions-in', target)
  const { sharedWith, server } = call.target
  const { open } = await openMachines(call, await profilesOf(iam, role.name, []))
  const closing = open.map((one) => closeChange(call, one, role.name))
  return [
    ...closing,
    {
      id: fresh,
      action: 'let-fresh-sessions-in',
      target,
      summary: `Deny only the sessions of role ${role.name} that were issued until now: the new ${server} gets fresh ones; there is nothing to deliver`,
      effect: 'irreversible',
      priority: 'essential',
      after: closing.map(({ id }) => id),
      stage: stage.issue,
      params: { role: role.name },
      breaks: sharedWith,
      facts: factsOf(role, caller, []),
    },
    {
      id: call.changeId('lift-deny', target),
      action: 'lift-deny',
      target,
      summary: `Take the deny of everything off role ${role.name}, once its old sessions are denied by themselves`,
      effect: 'irreversible',
      priority: 'essential',
      after: [fresh],
      stage: stage.issue,
      params: { role: role.name },
      breaks: [],
      command: `aws iam delete-role-policy --role-name ${quoted(role.name)} --policy-name ${quoted(policyName(call.caseId))}`,
    },
  ]
}

const liftDeny: Action<Target> = {
  async apply(change, call) {
    mayGoOn(call)
    const iam = await openIam(call)
    const role = textField(change.params, 'role')
    const document = await readPolicy(iam, role, olderSessions)
    if (document === undefined || readDeny(document, call.caseId)?.fresh !== true)
      throw new IrError('refused', `the old sessions of role ${role} are not denied: the deny of everything stays`)
    await remove(call, iam, role)
    return {}
  },
  async settle(change, call) {
    const document = await readPolicy(await openIam(call), textField(change.params, 'role'), policyName(call.caseId))
    return document === undefined ? {} : undefined
  },
}

// The verdict

const limits = (name: string): readonly string[] => [
  `role ${name}: sessions that it opened in other roles (AssumeRole) are not touched: look for them in CloudTrail and revoke those roles too`,
  `role ${name}: IAM takes seconds, sometimes minutes, until a policy holds everywhere`,
  `role ${name}: who may take the role can do so again where it is denied by a cutoff only; a machine that still has its instance profile gets fresh sessions: isolate it first`,
]

async function verifyRevoked(call: RoleCall, settings: IamSettings): Promise<Verdict> {
  const iam = await openIam(call)
  const name = roleName(call)
  let role = await readRole(call, iam)
  if (role !== undefined && call.intent === 'revoke' && (await beforeSecondLook(call, settings)))
    role = await readRole(call, iam)
  if (role === undefined)
    return {
      state: 'verified',
      observed: [{ claim: `role ${name} is gone`, seen: 'no such role', holds: true }],
      residue: [],
      limits: limits(name),
      output: asJson(stateOf(call.target, 'dead', 'issuer says so (no such role)')),
    }
  const observed: Observation[] = []
  const residue: string[] = []
  const rotating = call.intent === 'rotate'
  const { deny, older } = role
  const cut = older?.ours === true && (older.fresh === true || call.target.sharedWith.length > 0) ? older : undefined
  const denied = deny?.kind === 'all' || cut !== undefined
  if (cut !== undefined)
    observed.push({
      claim: `the sessions of role ${name} from before ${cut.cutoff} are denied`,
      seen: `policy ${olderSessions} denies them`,
      holds: true,
    })
  if (cut === undefined || deny !== undefined)
    observed.push({
      claim: rotating ? `the old sessions of role ${name} are denied` : `everything is denied to role ${name}`,
      seen: deny === undefined ? 'no policy denies it' : `policy ${policyName(call.caseId)} denies everything`,
      holds: deny !== undefined,
    })
  if (rotating && denied)
    observed.push({
      claim: `fresh sessions of role ${name} are let in`,
      seen: deny === undefined ? 'only older ones are denied' : 'everything is denied',
      holds: deny === undefined,
    })
  const stillOpen: readonly Machine[] =
    cut === undefined || deny !== undefined ? [] : await stillFetching(call, iam, cut, residue)
  for (const { instance } of stillOpen)
    observed.push({
      claim: `${instance} fetches no fresh sessions of role ${name}`,
      seen: 'it has the role and its metadata service is open',
      holds: false,
    })
  const trustBefore = call.changes.map(({ params }) => field(field(params, 'before'), 'trust')).find(Boolean)
  if (typeof trustBefore === 'string' && trustBefore !== role.trust)
    residue.push(`${name}: who may take the role was changed while it was revoked: look at its trust policy`)
  const proof =
    deny?.kind === 'all'
      ? 'issuer says so (everything is denied)'
      : cut === undefined
        ? `no policy denies its sessions${rotating ? `; revoke it: mcp-ir revoke ${call.target.server}` : ''}`
        : `issuer says so (sessions from before ${cut.cutoff} are denied)`
  const holds = observed.every((one) => one.holds)
  const dead = denied && stillOpen.length === 0
  return {
    state: holds ? (residue.length > 0 ? 'residual' : 'verified') : 'failed',
    observed,
    residue,
    limits: limits(name),
    output: asJson(stateOf(call.target, dead ? 'dead' : 'alive', fetching(stillOpen) ?? proof)),
  }
}

async function stillFetching(call: RoleCall, iam: Iam, cut: Deny, residue: string[]): Promise<readonly Machine[]> {
  const name = roleName(call)
  const unread: Unread[] = []
  const profiles = await profilesOf(iam, name, unread)
  const machines = await openMachines(call, profiles)
  const blind = [...unread.map(({ what, code }) => `${what}: ${code}`), ...machines.unread]
  if (blind.length > 0)
    residue.push(`role ${name}: whether a machine still fetches fresh sessions could not be seen (${blind.join('; ')})`)
  return machines.open.filter((one) => isOlder(one, cut))
}

/** Those launched after the cutoff are the new server's. */
function isOlder({ launched }: Machine, cut: Deny | undefined): boolean {
  return cut?.cutoff === undefined || launched === undefined || launched.getTime() < Date.parse(cut.cutoff)
}

function fetching(machines: readonly Machine[]): string | undefined {
  if (machines.length === 0) return undefined
  return `${machines.map(({ instance }) => instance).join(', ')} can fetch fresh sessions: its metadata service is open`
}

async function verifyReinstated(call: RoleCall): Promise<Verdict> {
  const role = await readRole(call, await openIam(call))
  const free = role !== undefined && role.deny === undefined
  const name = roleName(call)
  const seen = role === undefined ? 'no such role' : free ? 'no policy denies it' : 'everything is denied'
  return {
    state: free ? 'verified' : 'residual',
    observed: [{ claim: `nothing of ours denies role ${name} any more`, seen, holds: free }],
    residue: [],
    limits:
      role?.older?.ours === true ? [`role ${name}: its sessions from before ${role.older.cutoff} stay denied`] : [],
    output: asJson(stateOf(call.target, free ? 'alive' : 'dead', `issuer says so (${seen})`)),
  }
}

/** Last, as it is made of all that stands above. */
export const adapter = roleCredentials()
