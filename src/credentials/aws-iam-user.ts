import {
  DeleteUserPolicyCommand,
  GetUserCommand,
  IAMClient,
  PutUserPolicyCommand,
  UpdateAccessKeyCommand,
  UpdateServiceSpecificCredentialCommand,
  UpdateSigningCertificateCommand,
  UpdateSSHPublicKeyCommand,
} from '@aws-sdk/client-iam'
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { awsCode, awsConfig } from '../aws/clients.ts'
import { named } from '../aws/principal.ts'
import type { Action, ActionCall, Call, Change, Observation, Problem, Receipt, Undo, Verdict } from '../change.ts'
import { IrError } from '../errors.ts'
import type { CredentialOf } from '../registry/port.ts'
import { cutoffAt, type Deny, denyDocument, policyName, readDeny, tooEarly } from './aws/deny.ts'
import {
  asked,
  type Caller,
  callerOf,
  type Iam,
  isAbsent,
  keepBefore,
  openIam,
  orAbsent,
  otherAccount,
  plannedBy,
  principalOf,
} from './aws/iam.ts'
import { keepLastAccessed } from './aws/last-accessed.ts'
import { keyIn, linesOf, newKey, placeOf, removeKey } from './aws/new-key.ts'
import {
  type Key,
  lastUse,
  type Other,
  outsideOfHours,
  readBefore,
  readKeys,
  readPolicy,
  readUser,
  tellUse,
  type User,
} from './aws/user.ts'
import { beforeSecondLook, defaults, type IamSettings, pause } from './aws/wait.ts'
import { deliveredTo, issueAndDeliver, issuedBy } from './issue.ts'
import { type Credentials, type CredentialTarget, stage } from './port.ts'
import { asJson, field, mayGoOn, orError, quoted, stateOf, textField, words } from './words.ts'

/**
 * A user is denied everything, then each of its access keys is made inactive. Rotation issues a new key and narrows the deny to
 * the sessions from before, which no inactive key ends: the new key has no sessions yet.
 */
type UserCredential = CredentialOf<'aws-iam-user'>
type Target = CredentialTarget<UserCredential>
type UserCall = Call<Target>

/** The longest that a session of GetSessionToken or GetFederationToken can last; with what IAM itself may take. */
const longest = { ms: 36 * 3_600_000 + 15 * 60_000, told: 'GetSessionToken gives them for 36 hours' }

export function userCredentials(overrides: Partial<IamSettings> = {}): Credentials<UserCredential> {
  const settings: IamSettings = { ...defaults, ...overrides }
  return {
    permissions: [
      'sts:GetCallerIdentity',
      'iam:GenerateServiceLastAccessedDetails',
      'iam:GetServiceLastAccessedDetails',
      'iam:GetUser',
      'iam:GetUserPolicy',
      'iam:GetLoginProfile',
      'iam:GetAccessKeyLastUsed',
      'iam:ListAccessKeys',
      'iam:ListUserPolicies',
      'iam:ListAttachedUserPolicies',
      'iam:ListGroupsForUser',
      'iam:ListMFADevices',
      'iam:ListServiceSpecificCredentials',
      'iam:ListSSHPublicKeys',
      'iam:ListSigningCertificates',
      'iam:PutUserPolicy',
      'iam:DeleteUserPolicy',
      'iam:UpdateAccessKey',
      'iam:CreateAccessKey',
      'iam:DeleteAccessKey',
      'iam:UpdateServiceSpecificCredential',
      'iam:UpdateSSHPublicKey',
      'iam:UpdateSigningCertificate',
      'write to the place of deliverTo',
    ],

    check,

    plan: plannedBy({ revoke: planRevoke, rotate: planRotate }),

    async collect(call) {
      await keepBefore(call, userName(call))
      await keepLastAccessed(call, userName(call), settings)
    },

    async verify(call) {
      if (call.intent === 'revoke') return await verifyRevoked(call, settings)
      return call.intent === 'rotate' ? await verifyRotated(call, settings) : await verifyReinstated(call)
    },

    actions: {
      'deny-user': denyUser,
      'stop-key': stopKey,
      'stop-other': stopOther,
      'delete-idle-key': deleteKey,
      'issue-and-deliver': issueAndDeliver<Target>(newKey, placeOf),
      'let-new-key-in': letNewKeyIn,
    },
  }
}

// What is read

function userName(call: UserCall): string {
  return named(call.target.credential.user).name
}

/** Without what differs from one look to the next: it makes the ids. */
function userTarget(name: string, caller: Caller): string {
  return `user ${name} in account ${caller.account}`
}

async function check(call: UserCall & { readonly intent: string }): Promise<readonly Problem[]> {
  const iam = await openIam(call)
  const caller = await callerOf(iam)
  const elsewhere = otherAccount(call.target.credential.user, caller)
  if (elsewhere !== undefined) return [elsewhere]
  const name = userName(call)
  const { kind, name: own } = principalOf(caller.arn)
  const hint = 'Use another user or role for the response (AWS_PROFILE)'
  if (kind === 'user' && own === name)
    return [
      {
        kind: 'refused',
        message: `we are user ${name} ourselves (${caller.arn}): revoking it would lock us out`,
        hint,
      },
    ]
  const user = await readUser(call, iam, name)
  if (user === undefined)
    return [
      { kind: 'input', message: `there is no user ${name} in account ${caller.account}`, hint: `We are ${caller.arn}` },
    ]
  const { accessKeyId } = await asked('Reading our own AWS credentials', () => iam.client.config.credentials())
  if (user.keys.some(({ id }) => id === accessKeyId))
    return [{ kind: 'refused', message: `${accessKeyId} of user ${name} is the key that we use ourselves`, hint }]
  if (call.intent === 'rotate') return await checkRotate(call, iam, user)
  if (call.intent === 'reinstate' && user.deny !== undefined) {
    const early = tooEarly(user.deny.since, iam.clock(), longest)
    if (early !== undefined)
      return [
        {
          kind: 'refused',
          message: `user ${name}: ${early}`,
          hint: `A new key works at once: mcp-ir rotate ${call.target.server}`,
        },
      ]
  }
  return []
}

/** Active keys that this case did not issue. */
function suspects(user: User): readonly Key[] {
  return user.keys.filter(({ id, active }) => active && id !== user.deny?.issued)
}

// Revoke

async function planRevoke(call: UserCall): Promise<readonly Change[]> {
  const iam = await openIam(call)
  const name = userName(call)
  const [caller, user] = await Promise.all([callerOf(iam), readUser(call, iam, name)])
  if (user === undefined) return []
  const { sharedWith, server, hours } = call.target
  const keys = suspects(user)
  const others = user.others.filter(({ active }) => active)
  if (user.deny !== undefined && keys.length === 0 && others.length === 0) return []
  const { before, used } = await readBefore(call, iam, user)
  const facts = { user: user.arn, account: caller.account, 'we are': caller.arn }
  const target = userTarget(name, caller)
  const policy = policyName(call.caseId)
  // Another change each time: what was put before is no sign that it was put again.
  const since = user.deny?.since?.toISOString()
  const denied = since === undefined ? target : `${target}, denied since ${since}`
  const changes: Change[] = []
  // Put again with every key that is stopped: the time for which its sessions can live counts from there.
  if (user.deny === undefined || keys.length > 0)
    changes.push({
      id: call.changeId('deny-user', denied),
      action: 'deny-user',
      target: denied,
      summary: `Deny everything to user ${name} of ${server}: its keys, its sessions and its console password`,
      effect: 'reversible',
      priority: 'essential',
      after: [],
      stage: stage.mint,
      params: {
        user: name,
        policy,
        before,
        idle: user.keys.filter(({ active }) => !active).map(({ id }) => id),
      },
      undo: { policy },
      breaks: sharedWith,
      command: `aws iam put-user-policy --user-name ${quoted(name)} --policy-name ${quoted(policy)} --policy-document ${quoted(denyDocument({ kind: 'all' }, ''))}`,
      facts,
    })
  for (const { id, created } of keys)
    changes.push({
      id: call.changeId('stop-key', `${id} of ${target}`),
      action: 'stop-key',
      target: `${id} of ${target}`,
      summary: `Make access key ${id} of user ${name} inactive`,
      effect: 'reversible',
      priority: 'essential',
      // Once the deny was attempted, well or not: a responder who may not deny can still stop the keys.
      after: [],
      stage: stage.end,
      params: { user: name, key: id },
      undo: { status: 'Active' },
      breaks: sharedWith,
      command: `aws iam update-access-key --user-name ${quoted(name)} --access-key-id ${quoted(id)} --status Inactive`,
      facts: { ...facts, key: id, created, 'last used': tellUse(used.get(id), hours) },
    })
  for (const { type, id } of others)
    changes.push({
      id: call.changeId('stop-other', `${type} ${id} of ${target}`),
      action: 'stop-other',
      target: `${type} ${id} of ${target}`,
      summary: `Make ${type} ${id} of user ${name} inactive`,
      effect: 'reversible',
      priority: 'best-effort',
      after: [],
      stage: stage.end,
      params: { user: name, type, id },
      undo: { status: 'Active' },
      breaks: sharedWith,
      command: otherCommand(name, type, id),
      facts,
    })
  return changes
}

function otherCommand(user: string, type: Other['type'], id: string): string {
  const [verb, option] = {
    'service-specific credential': ['update-service-specific-credential', '--service-specific-credential-id'],
    'SSH public key': ['update-ssh-public-key', '--ssh-public-key-id'],
    'signing certificate': ['update-signing-certificate', '--certificate-id'],
  }[type]
  return `aws iam ${verb} --user-name ${quoted(user)} ${option} ${quoted(id)} --status Inactive`
}

const denyUser: Action<Target> = {
  async apply(change, call) {
    mayGoOn(call)
    return await deny(change, call)
  },
  async settle(change, call) {
    const found = await currentDeny(change, call)
    if (found === undefined || found.change !== change.id) return undefined
    return { output: { since: found.since?.toISOString() ?? null } }
  },
  undo: {
    async drift(change, _receipt, call) {
      const document = await readPolicy(await openIam(call), textField(change.params, 'user'), policyName(call.caseId))
      if (document === undefined) return ['somebody took the deny away already']
      const found = readDeny(document, call.caseId)
      if (found === undefined) return ['somebody altered the policy that denies']
      return found.issued === undefined ? [] : [`rotation issued access key ${found.issued} since`]
    },
    async apply(change, _receipt, call) {
      mayGoOn(call)
      const iam = await openIam(call)
      const user = textField(change.params, 'user')
      const policy = policyName(call.caseId)
      const document = await readPolicy(iam, user, policy)
      if (document === undefined) return {}
      const early = tooEarly(readDeny(document, call.caseId)?.since, iam.clock(), longest)
      if (early !== undefined) throw new IrError('refused', `user ${user}: ${early}`)
      await orAbsent(`Removing policy ${policy} from user ${user}`, () =>
        iam.client.send(new DeleteUserPolicyCommand({ UserName: user, PolicyName: policy }), iam.options),
      )
      return {}
    },
    async settle(change, _receipt, call) {
      const document = await readPolicy(await openIam(call), textField(change.params, 'user'), policyName(call.caseId))
      return document === undefined ? {} : undefined
    },
  },
}

async function currentDeny(change: Change, call: UserCall): Promise<Deny | undefined> {
  const document = await readPolicy(await openIam(call), textField(change.params, 'user'), policyName(call.caseId))
  return document === undefined ? undefined : readDeny(document, call.caseId)
}

async function deny(change: Change, call: ActionCall<Target>): Promise<Receipt> {
  const iam = await openIam(call)
  const user = textField(change.params, 'user')
  const before = await currentDeny(change, call)
  const since = iam.clock()
  const { issued } = before ?? {}
  await put(call, iam, user, {
    // A key that this case issued goes on working.
    kind: issued === undefined ? 'all' : 'sessions',
    since,
    change: change.id,
    issued,
    cutoff: issued === undefined ? undefined : cutoffAt(since),
    idle: before?.idle ?? words(field(change.params, 'idle')),
  })
  return { output: { since: since.toISOString() } }
}

async function put(call: UserCall, iam: Iam, user: string, deny: Deny): Promise<void> {
  const policy = policyName(call.caseId)
  await asked(`Putting policy ${policy} on user ${user}`, () =>
    iam.client.send(
      new PutUserPolicyCommand({
        UserName: user,
        PolicyName: policy,
        PolicyDocument: denyDocument(deny, call.caseId),
      }),
      iam.options,
    ),
  )
}

type Status = 'Active' | 'Inactive'

const stopKey: Action<Target> = {
  async apply(change, call) {
    mayGoOn(call)
    await setKey(change, call, 'Inactive')
    return { output: { status: 'Inactive' } }
  },
  async settle(change, call) {
    const status = await keyStatus(change, call)
    return status === 'Active' ? undefined : { output: { status: status ?? 'deleted' } }
  },
  undo: giveBack(
    async (change, call) => {
      const status = await keyStatus(change, call)
      return status ?? 'gone'
    },
    (change, call) => setKey(change, call, 'Active'),
  ),
}

/** @returns undefined when there is no such key any more */
async function keyStatus(change: Change, call: UserCall): Promise<Status | undefined> {
  const keys = await readKeys(await openIam(call), textField(change.params, 'user'))
  const key = keys.find(({ id }) => id === field(change.params, 'key'))
  return key === undefined ? undefined : key.active ? 'Active' : 'Inactive'
}

async function setKey(change: Change, call: UserCall, status: Status): Promise<void> {
  const iam = await openIam(call)
  const user = textField(change.params, 'user')
  const key = textField(change.params, 'key')
  await orAbsent(`Making access key ${key} ${status.toLowerCase()}`, () =>
    iam.client.send(new UpdateAccessKeyCommand({ UserName: user, AccessKeyId: key, Status: status }), iam.options),
  )
}

const stopOther: Action<Target> = {
  async apply(change, call) {
    mayGoOn(call)
    await setOther(change, call, 'Inactive')
    return { output: { status: 'Inactive' } }
  },
  async settle(change, call) {
    return (await otherStatus(change, call)) === 'Active' ? undefined : { output: { status: 'Inactive' } }
  },
  undo: giveBack(otherStatus, (change, call) => setOther(change, call, 'Active')),
}

async function otherStatus(change: Change, call: UserCall): Promise<Status | 'gone'> {
  const user = await readUser(call, await openIam(call), textField(change.params, 'user'))
  const found = user?.others.find(
    ({ type, id }) => type === field(change.params, 'type') && id === field(change.params, 'id'),
  )
  return found === undefined ? 'gone' : found.active ? 'Active' : 'Inactive'
}

async function setOther(change: Change, call: UserCall, Status: Status): Promise<void> {
  const { client, options } = await openIam(call)
  const UserName = textField(change.params, 'user')
  const type = textField(change.params, 'type')
  const id = textField(change.params, 'id')
  await orAbsent(`Making ${type} ${id} ${Status.toLowerCase()}`, async () => {
    if (type === 'SSH public key')
      await client.send(new UpdateSSHPublicKeyCommand({ UserName, SSHPublicKeyId: id, Status }), options)
    else if (type === 'signing certificate')
      await client.send(new UpdateSigningCertificateCommand({ UserName, CertificateId: id, Status }), options)
    else
      await client.send(
        new UpdateServiceSpecificCredentialCommand({ UserName, ServiceSpecificCredentialId: id, Status }),
        options,
      )
    return true
  })
}

/** Active again, once no session from before can live. */
function giveBack(
  status: (change: Change, call: UserCall) => Promise<Status | 'gone'>,
  activate: (change: Change, call: UserCall) => Promise<void>,
): Undo<Target> {
  return {
    async drift(change, _receipt, call) {
      const now = await status(change, call)
      if (now === 'gone') return ['it was deleted: it cannot be given back']
      return now === 'Active' ? ['somebody made it active already'] : []
    },
    async apply(change, _receipt, call) {
      mayGoOn(call)
      const found = await currentDeny(change, call)
      const early = found === undefined ? undefined : tooEarly(found.since, (await openIam(call)).clock(), longest)
      if (early !== undefined) throw new IrError('refused', `user ${textField(change.params, 'user')}: ${early}`)
      await activate(change, call)
      return {}
    },
    async settle(change, _receipt, call) {
      return (await status(change, call)) === 'Inactive' ? undefined : {}
    },
  }
}

// Rotate

async function checkRotate(call: UserCall, iam: Iam, user: User): Promise<readonly Problem[]> {
  const place = await orError(placeOf(call))
  if (place instanceof IrError)
    return [
      { kind: 'input', message: place.message, ...(place.hints[0] === undefined ? {} : { hint: place.hints[0] }) },
    ]
  const problems = [...(await place.store.check(call))]
  if (user.deny?.kind === 'all' && user.password === true)
    problems.push({
      kind: 'input',
      message: `user ${user.name} has a console password, which would work again once a new key is let in`,
      hint: `Take it away first: aws iam delete-login-profile --user-name ${quoted(user.name)}`,
    })
  const goes = await keyThatGoes(iam, user)
  if (typeof goes === 'object' && 'unclear' in goes)
    problems.push({ kind: 'input', message: goes.unclear, hint: goes.hint })
  return problems
}

/** A user has two access keys at most: which one has to go; undefined when there is room. */
async function keyThatGoes(
  iam: Iam,
  { keys, deny, name }: User,
): Promise<Key | undefined | { readonly unclear: string; readonly hint: string }> {
  if (keys.length < 2 || deny?.issued !== undefined) return undefined
  const inactive = keys.filter(({ active }) => !active)
  const only = (some: readonly Key[]) => (some.length === 1 ? some[0] : undefined)
  const remove = (id: string) => `aws iam delete-access-key --user-name ${quoted(name)} --access-key-id ${quoted(id)}`
  if (inactive.length === 0)
    return {
      unclear: `user ${name} has two active access keys, and AWS gives no third one`,
      hint: 'Revoke them first: mcp-ir revoke',
    }
  const obvious = only(inactive) ?? only(inactive.filter(({ id }) => deny?.idle?.includes(id)))
  if (obvious !== undefined) return obvious
  const used = await Promise.all(inactive.map(async (key) => ({ key, last: await lastUse(iam, key.id, []) })))
  const unused = only(used.filter(({ last }) => last === 'never').map(({ key }) => key))
  if (unused !== undefined) return unused
  return {
    unclear: `user ${name} has two access keys, and AWS gives no third one; both were in use, so it is not clear which one may be deleted: ${used.map(({ key, last }) => `${key.id} (made ${key.created}, last used ${last})`).join(', ')}`,
    hint: `Delete one by hand, once its evidence is no longer needed: ${used.map(({ key }) => remove(key.id)).join('; or ')}`,
  }
}

async function planRotate(call: UserCall): Promise<readonly Change[]> {
  const iam = await openIam(call)
  const name = userName(call)
  const [caller, user] = await Promise.all([callerOf(iam), readUser(call, iam, name)])
  if (user === undefined) throw new IrError('input', `there is no user ${name} in account ${caller.account}`)
  const target = userTarget(name, caller)
  const { credential, server } = call.target
  const facts = { user: user.arn, account: caller.account, 'we are': caller.arn }
  const { store, key } = await placeOf(call)
  const issueTarget = `new access key of ${target}, to ${store.path}`
  const issue = call.changeId('issue-and-deliver', issueTarget)
  const changes: Change[] = []

  const letIn = call.changeId('let-new-key-in', target)
  const narrow = (after: readonly string[]): Change => ({
    id: letIn,
    action: 'let-new-key-in',
    target,
    summary: `Deny user ${name} only the sessions that were opened until now, so that the new key works`,
    effect: 'irreversible',
    priority: 'essential',
    after,
    stage: stage.issue,
    params: { user: name, issue },
    breaks: [],
    facts,
  })

  // Issued by an earlier try, or by this case, and there: nothing to issue any more.
  const found = await store.get(key, call)
  const there = found === undefined ? undefined : keyIn(found.secret)?.id
  const earlier = user.deny?.issued ?? field(issuedBy(call.receipts.get(issue))?.ref, 'key')
  if (there !== undefined && there === earlier && user.keys.some(({ id, active }) => active && id === there))
    return user.deny?.kind === 'all' ? [narrow([])] : []

  const goes = await keyThatGoes(iam, user)
  if (goes !== undefined && 'unclear' in goes) throw new IrError('input', goes.unclear, { hints: [goes.hint] })
  const after: string[] = []
  if (goes !== undefined) {
    const last = await lastUse(iam, goes.id, [])
    const id = call.changeId('delete-idle-key', `${goes.id} of ${target}`)
    after.push(id)
    changes.push({
      id,
      action: 'delete-idle-key',
      target: `${goes.id} of ${target}`,
      summary: `Delete access key ${goes.id}, which is inactive: user ${name} has two keys, and AWS gives no third one`,
      effect: 'irreversible',
      priority: 'essential',
      after: [],
      stage: stage.issue,
      params: { user: name, key: goes.id },
      breaks: [],
      command: `aws iam delete-access-key --user-name ${quoted(name)} --access-key-id ${quoted(goes.id)}`,
      facts: { ...facts, key: goes.id, created: goes.created, 'last used': last },
    })
  }
  changes.push({
    id: issue,
    action: 'issue-and-deliver',
    target: issueTarget,
    summary: `Issue a new access key of user ${name} for ${server} and deliver it to ${store.path}`,
    effect: 'creates',
    priority: 'essential',
    after,
    stage: stage.issue,
    params: { user: name },
    breaks: [],
    facts: {
      ...facts,
      ...(store.kind === 'file'
        ? {
            'delivered to': `${store.path} (0600)`,
            keys: `${linesOf(credential.id).id} and ${linesOf(credential.id).secret}`,
          }
        : { 'delivered to': `${store.kind} ${store.path}`, key: credential.id }),
      ...(found === undefined ? {} : { replaces: 'the value that is there' }),
    },
  })
  if (user.deny?.kind === 'all') changes.push(narrow([issue]))
  return changes
}

const deleteKey: Action<Target> = {
  async apply(change, call) {
    mayGoOn(call)
    if ((await keyStatus(change, call)) === 'Active')
      throw new IrError('refused', `${textField(change.params, 'key')} was made active since: it is not deleted`)
    await removeKey(call, textField(change.params, 'user'), textField(change.params, 'key'))
    return {}
  },
  async settle(change, call) {
    return (await keyStatus(change, call)) === undefined ? {} : undefined
  },
}

const letNewKeyIn: Action<Target> = {
  async apply(change, call) {
    mayGoOn(call)
    const iam = await openIam(call)
    const name = textField(change.params, 'user')
    const key = field(issuedBy(call.receipts.get(textField(change.params, 'issue')))?.ref, 'key')
    const user = await readUser(call, iam, name)
    if (typeof key !== 'string' || user === undefined)
      throw new IrError('partial', `there is no new key of user ${name} to let in`)
    const alive = [
      ...user.keys.filter(({ id, active }) => active && id !== key).map(({ id }) => `access key ${id}`),
      ...user.others.filter(({ active }) => active).map(({ type, id }) => `${type} ${id}`),
      ...(user.password === true ? ['console password'] : []),
    ]
    if (alive.length > 0)
      throw new IrError(
        'refused',
        `user ${name} has more that would live again: ${alive.join(', ')}; it stays denied`,
        {
          hints: [`Revoke it first: mcp-ir revoke ${call.target.server}`],
        },
      )
    await put(call, iam, name, {
      kind: 'sessions',
      since: user.deny?.since ?? iam.clock(),
      cutoff: cutoffAt(iam.clock()),
      issued: key,
      idle: user.deny?.idle,
      change: change.id,
    })
    return { output: { key } }
  },
  async settle(change, call) {
    const found = await currentDeny(change, call)
    return found?.kind === 'sessions' && found.change === change.id
      ? { output: { key: found.issued ?? null } }
      : undefined
  },
}

// The verdict

interface Old {
  readonly observed: readonly Observation[]
  readonly residue: readonly string[]
  readonly limits: readonly string[]
  readonly dead: boolean
  readonly proof: string
}

/** What has become of all that the suspect may hold. @param spared the key that rotation issued */
function lookAtOld(call: UserCall, name: string, user: User | undefined, spared: string | undefined): Old {
  if (user === undefined)
    return {
      observed: [{ claim: `user ${name} is gone`, seen: 'no such user', holds: true }],
      residue: [],
      limits: [],
      dead: true,
      proof: 'issuer says so (no such user)',
    }
  const { deny, unread } = user
  const keys = user.keys.filter(({ id }) => id !== spared)
  const planned = call.changes.flatMap(({ action, params }) => (action === 'stop-key' ? [field(params, 'key')] : []))
  const deniedBy =
    deny === undefined
      ? 'no policy denies it'
      : deny.kind === 'all'
        ? 'everything is denied'
        : `sessions from before ${deny.cutoff} are denied`
  const observed: Observation[] = [
    {
      claim:
        deny?.kind === 'sessions'
          ? `user ${name} is denied the sessions from before`
          : `everything is denied to user ${name}`,
      seen: deniedBy,
      holds: deny !== undefined,
    },
    ...keys.map(({ id, active, created }) => ({
      claim: `access key ${id} is inactive`,
      seen: `${active ? 'active' : 'inactive'}${active && call.changes.length > 0 && !planned.includes(id) ? `, made or switched on since the plan (made ${created})` : ''}`,
      holds: !active,
    })),
  ]
  const residue = [
    ...user.others
      .filter(({ active }) => active)
      .map(
        ({ type, id }) =>
          `user ${name}: ${type} ${id} is active: ${deny?.kind === 'all' ? 'denied as long as the policy is there' : 'it works'}`,
      ),
    // What the service does not know at all is no gap; what we may not see is one.
    ...unread
      .filter(({ code }) => code !== 'InvalidAction')
      .map(({ what, code }) => `user ${name}: ${what} could not be listed (${code})`),
  ]
  const alive = keys.filter(({ active }) => active)
  const dead = deny !== undefined && alive.length === 0
  const proof = dead
    ? `issuer says so (${keys.length === 0 ? 'no old key' : 'inactive'}, denied)`
    : alive.length > 0
      ? `access key ${alive.map(({ id }) => id).join(', ')} is active${deny?.kind === 'all' ? ', and denied for as long as the policy is there' : ''}`
      : 'its keys are inactive, but sessions that were opened with them may live: no policy denies them'
  return {
    observed,
    residue,
    limits: [
      `user ${name}: the old secrets are not known here, so that they were not tried; IAM's word counts`,
      `user ${name}: IAM takes seconds, sometimes minutes, until a change holds everywhere: run revoke again after a minute`,
      `user ${name}: sessions that it opened in roles (AssumeRole) are not touched: look for them in CloudTrail`,
      ...(user.password === true
        ? [
            `user ${name}: its console password is denied, not taken away: aws iam delete-login-profile --user-name ${quoted(name)} when the case is closed`,
          ]
        : []),
      ...unread
        .filter(({ code }) => code === 'InvalidAction')
        .map(({ what }) => `user ${name}: this service has no ${what} to list`),
    ],
    dead,
    proof,
  }
}

async function verifyRevoked(call: UserCall, settings: IamSettings): Promise<Verdict> {
  const iam = await openIam(call)
  const name = userName(call)
  let user = await readUser(call, iam, name)
  if (user !== undefined && (await beforeSecondLook(call, settings))) user = await readUser(call, iam, name)
  const spared = user?.deny?.issued
  const old = lookAtOld(call, name, user, spared)
  return {
    state: old.dead ? (old.residue.length > 0 ? 'residual' : 'verified') : 'failed',
    observed: [...old.observed, ...unusualUse(call)],
    residue: old.residue,
    limits: [
      ...old.limits,
      ...(spared === undefined
        ? []
        : [`user ${name}: access key ${spared} was issued by this case's rotation and is left`]),
    ],
    output: asJson(stateOf(call.target, old.dead ? 'dead' : 'alive', old.proof)),
  }
}

/** What was unusual about the last use of its keys, as the plan saw it: a probe, or the next server, would hide it. */
function unusualUse({ changes }: UserCall): readonly Observation[] {
  return changes.flatMap(({ facts }) => {
    const used = facts?.['last used']
    if (used === undefined || !used.endsWith(outsideOfHours)) return []
    return [{ claim: `the last use of access key ${facts?.key ?? ''} was looked up in IAM`, seen: used, holds: true }]
  })
}

async function verifyRotated(call: UserCall, settings: IamSettings): Promise<Verdict> {
  const iam = await openIam(call)
  const name = userName(call)
  const change = call.changes.find(({ action }) => action === 'issue-and-deliver')
  const { store, key } = await placeOf(call)
  const [user, found] = [await readUser(call, iam, name), await orError(store.get(key, call))]
  const lies = found instanceof IrError ? undefined : found
  const pair = lies === undefined ? undefined : keyIn(lies.secret)
  const issued = change === undefined ? undefined : issuedBy(call.receipts.get(change.id))
  const expected = change === undefined ? user?.deny?.issued : field(issued?.ref, 'key')
  const fresh = pair?.id === expected ? pair : undefined
  const observed: Observation[] = [
    {
      claim: `the new access key is in ${store.path}`,
      seen:
        found instanceof IrError
          ? found.message
          : (fresh?.id ?? (pair === undefined ? 'nothing' : `another one (${pair.id})`)),
      holds: fresh !== undefined,
    },
  ]
  if (fresh !== undefined) {
    const listed = user?.keys.find(({ id }) => id === fresh.id)
    observed.push({
      claim: `access key ${fresh.id} is active`,
      seen: listed === undefined ? 'not listed' : listed.active ? 'active' : 'inactive',
      holds: listed?.active === true,
    })
    observed.push(await tryKey(call, name, fresh.id, fresh.secret, settings))
  }
  const old = lookAtOld(call, name, user, fresh?.id)
  const holds = observed.every((one) => one.holds)
  const state = stateOf(
    call.target,
    old.dead ? 'dead' : 'alive',
    old.dead ? old.proof : `${old.proof}; revoke it: mcp-ir revoke ${call.target.server}`,
  )
  return {
    state: !old.dead || !holds ? 'failed' : old.residue.length > 0 ? 'residual' : 'verified',
    observed: [...old.observed, ...observed],
    residue: old.residue,
    limits: old.limits,
    output: asJson(
      fresh === undefined
        ? state
        : { ...state, delivered: issued?.delivered ?? deliveredTo(store, { version: lies?.version }) },
    ),
  }
}

/**
 * Whether the new key is taken, and not denied by us. GetCallerIdentity tells that it is known, whatever is denied; GetUser is
 * governed by policies, so that only an explicit deny counts against it: the user may not be meant to read itself.
 */
async function tryKey(
  call: UserCall,
  name: string,
  accessKeyId: string,
  secretAccessKey: string,
  settings: IamSettings,
): Promise<Observation> {
  const { client } = await openIam(call)
  const config = {
    ...awsConfig({ region: await client.config.region() }, 'reads'),
    credentials: { accessKeyId, secretAccessKey },
    maxAttempts: 2,
  }
  const options = { abortSignal: call.signal }
  const sts = new STSClient(config)
  const iam = new IAMClient(config)
  let seen = ''
  try {
    for (let tried = 0; tried < settings.probes; tried++) {
      if (tried > 0) await pause(settings.pauseMs * 2 ** (tried - 1), call.signal)
      try {
        const { Arn } = await sts.send(new GetCallerIdentityCommand({}), options)
        seen = 'accepted'
        if (principalOf(Arn ?? '').name !== name) seen = 'accepted as somebody else'
        else await iam.send(new GetUserCommand({ UserName: name }), options)
        break
      } catch (error) {
        mayGoOn(call)
        if (isAbsent(error)) break
        const code = awsCode(error) ?? 'no answer'
        const denied = /^AccessDenied/.test(code)
        // A deny that was just narrowed, or a key that was just made, is not everywhere yet: then it is tried again.
        seen = denied
          ? /explicit deny/.test(error instanceof Error ? error.message : '')
            ? 'accepted, but denied'
            : 'accepted'
          : code
        if (seen === 'accepted') break
      }
    }
  } finally {
    sts.destroy()
    iam.destroy()
  }
  return { claim: `AWS takes access key ${accessKeyId}`, seen, holds: seen === 'accepted' }
}

async function verifyReinstated(call: UserCall): Promise<Verdict> {
  const name = userName(call)
  const user = await readUser(call, await openIam(call), name)
  const active = user?.keys.filter((key) => key.active) ?? []
  const free = user !== undefined && user.deny === undefined && active.length > 0
  const seen =
    user === undefined
      ? 'no such user'
      : user.deny !== undefined
        ? 'denied'
        : active.length === 0
          ? 'no active key'
          : 'active'
  return {
    state: free ? 'verified' : 'residual',
    observed: [{ claim: `user ${name} can be used again`, seen, holds: free }],
    residue: [],
    limits: [],
    output: asJson(stateOf(call.target, free ? 'alive' : 'dead', `issuer says so (${seen})`)),
  }
}

/** Last, as it is made of all that stands above. */
export const adapter = userCredentials()
