import { setTimeout as sleep } from 'node:timers/promises'
import type { Action, ActionCall, Call, Change, Json, Observation, Problem, Receipt, Verdict } from '../change.ts'
import { IrError } from '../errors.ts'
import type { CredentialOf } from '../registry/port.ts'
import { safe } from '../ui/safe-text.ts'
import { type CredentialIntent, type CredentialState, type Credentials, type CredentialTarget, stage } from './port.ts'
import { leftToRetire, type StoredValue } from './stored.ts'
import { readableBySuspect } from './stores/aws-secret.ts'
import { parsed, secretIn } from './stores/json-secret.ts'
import { type AwsSecret, type Described, openSecret, requestToken } from './stores/secrets-manager.ts'
import { asJson, field, mayGoOn, orError, quoted, textField } from './words.ts'

/**
 * A value in AWS Secrets Manager. With a rotation function, that one makes the new value where it is accepted; else its issuer
 * does. Old versions lose the labels that lead to them; they are kept, as they tell which value leaked.
 */
type SecretCredential = CredentialOf<'aws-secret'>
type Target = CredentialTarget<SecretCredential>
type SecretCall = Call<Target>

export interface RotationSettings {
  /** How often a rotation that is under way is looked at, and for how long. */
  readonly pollMs: number
  readonly polls: number
  /** A rotation function runs for 15 minutes at most: what is pending for longer is left over. */
  readonly strayAfterMs: number
}

const defaults: RotationSettings = { pollMs: 3000, polls: 200, strayAfterMs: 20 * 60_000 }

export function secretValues(overrides: Partial<RotationSettings> = {}): StoredValue<SecretCredential> {
  const settings: RotationSettings = { ...defaults, ...overrides }
  return {
    permissions: [
      'secretsmanager:DescribeSecret',
      'secretsmanager:GetSecretValue',
      'secretsmanager:ListSecretVersionIds',
      'secretsmanager:UpdateSecretVersionStage',
      'secretsmanager:RotateSecret',
    ],
    name: ({ secret }) => `the value of ${safe(secret)} in AWS Secrets Manager`,
    check,
    planRetire,
    look,
    held,
    own: (otherwise) => rotating(otherwise, settings),
    actions: { 'retire-versions': retireVersions },
  }
}

// What is read

async function describe(call: SecretCall): Promise<{ readonly secret: AwsSecret; readonly found: Described }> {
  const secret = openSecret(call.target.credential, call)
  const found = await secret.describe()
  if (found === undefined) throw new IrError('input', `there is no secret ${safe(secret.id)}`)
  return { secret, found }
}

async function check(call: SecretCall & { readonly intent: string }): Promise<readonly Problem[]> {
  const { credential } = call.target
  const secret = openSecret(credential, call)
  const found = await secret.describe()
  const name = safe(credential.secret)
  if (found === undefined) return [{ kind: 'input', message: `there is no secret ${name} in AWS Secrets Manager` }]
  if (found.deleted !== undefined)
    return [
      {
        kind: 'warning',
        message: `secret ${name} is marked for deletion since ${found.deleted.toISOString()}: its value may live on where it is accepted`,
        hint: `aws secretsmanager restore-secret --secret-id ${quoted(credential.secret)}`,
      },
    ]
  const problems: Problem[] = []
  if (found.primaryRegion !== undefined)
    problems.push({
      kind: 'input',
      message: `secret ${name} is a copy of the one in ${found.primaryRegion}, which alone can be changed`,
      hint: `Name region: ${found.primaryRegion} in the registry`,
    })
  if (call.intent !== 'rotate') return problems
  if (found.rotatedBy !== undefined && credential.issuer !== undefined)
    problems.push({
      kind: 'warning',
      message: `secret ${name} is also rotated by ${safe(found.rotatedBy)}: the issuer of the registry is used`,
    })
  const users = await usersOf(secret, found)
  if (users.length > 1 && credential.issuer !== undefined)
    problems.push({
      kind: 'warning',
      message: `secret ${name} alternates between the users ${users.map((user) => safe(user)).join(' and ')}: the issuer makes one of them anew, the other one keeps its password`,
    })
  return problems
}

/** What the suspect could read: the current value and the one before. */
async function held(call: SecretCall): Promise<readonly { readonly secret: string; readonly where: string }[]> {
  const { secret, found } = await describe(call)
  const values = await Promise.all(
    ['AWSCURRENT', 'AWSPREVIOUS'].map(async (label) => {
      const value = labelled(found, label) === undefined ? undefined : await secret.read({ stage: label })
      if (value === undefined) return []
      const text = secretIn(value.text)
      return text === undefined ? [] : [{ secret: text, where: `${label} of ${secret.id}` }]
    }),
  )
  return values.flat()
}

function labelled({ versions }: Described, label: string): string | undefined {
  return [...versions].find(([, labels]) => labels.includes(label))?.[0]
}

/** A version that is to be the next one, and is not yet the current one. */
function pending(found: Described): string | undefined {
  const version = labelled(found, 'AWSPENDING')
  return version === labelled(found, 'AWSCURRENT') ? undefined : version
}

/** Both users of a pair that takes turns, so that the password of the other one lives on; one where it is always the same. */
async function usersOf(secret: AwsSecret, found: Described): Promise<readonly string[]> {
  const users = new Set<string>()
  let pair = false
  for (const label of ['AWSCURRENT', 'AWSPREVIOUS']) {
    if (labelled(found, label) === undefined) continue
    const value = parsed((await secret.read({ stage: label }))?.text ?? '')
    if (typeof value?.username === 'string') users.add(value.username)
    // Who rotates by the rights of another secret makes a second user, by the rule of AWS's own functions.
    if (value?.masterarn !== undefined) pair = true
  }
  const [only] = users
  if (pair && only !== undefined && users.size === 1)
    users.add(only.endsWith('_clone') ? only.slice(0, -'_clone'.length) : `${only}_clone`)
  return [...users]
}

// Old versions

async function planRetire(call: SecretCall, after: readonly string[]): Promise<readonly Change[]> {
  const { credential, sharedWith, deliverTo } = call.target
  // Where the new value goes elsewhere, this secret keeps its current version.
  if (deliverTo !== undefined) return []
  const { found } = await describe(call)
  const versions = ['AWSCURRENT', 'AWSPREVIOUS'].flatMap((label) => labelled(found, label) ?? [])
  if (versions.length === 0) return []
  const target = `old versions of secret ${credential.secret}`
  return [
    {
      id: call.changeId('retire-versions', target),
      action: 'retire-versions',
      target,
      summary: `Take the label AWSPREVIOUS from the old value of ${credential.secret}; it is kept under a label of this case`,
      effect: 'reversible',
      priority: 'best-effort',
      after,
      stage: stage.tidy,
      chain: [`${credential.id} (aws-secret)`, target],
      params: { versions },
      undo: { versions },
      breaks: sharedWith,
      command: `aws secretsmanager update-secret-version-stage --secret-id ${quoted(credential.secret)} --version-stage AWSPREVIOUS --remove-from-version-id VERSION`,
    },
  ]
}

/** Without any label AWS may throw a version away. */
function keepLabel(call: SecretCall, version: string): string {
  return `mcp-ir-${call.caseId}-${version.slice(0, 8)}`
}

const retireVersions: Action<Target> = {
  async apply(change, call) {
    mayGoOn(call)
    const { secret, found } = await describe(call)
    const versions = versionsOf(change)
    if (versions.includes(labelled(found, 'AWSCURRENT') ?? ''))
      throw new IrError('partial', `secret ${safe(secret.id)} has no newer version: the old one keeps its labels`)
    const kept: string[] = []
    for (const version of versions) {
      const label = keepLabel(call, version)
      if (labelled(found, label) !== version) {
        // One that has lost its labels by the new value may have been thrown away.
        if ((await secret.createdAt(version)) === undefined) continue
        await secret.label(label, { from: labelled(found, label), to: version })
      }
      kept.push(version)
    }
    const previous = labelled(found, 'AWSPREVIOUS')
    if (previous !== undefined && versions.includes(previous)) await secret.label('AWSPREVIOUS', { from: previous })
    return { output: { kept } }
  },
  async settle(change, call) {
    const { secret, found } = await describe(call)
    const versions = versionsOf(change)
    const kept = versions.filter((version) => labelled(found, keepLabel(call, version)) === version)
    const leads = versions.includes(labelled(found, 'AWSPREVIOUS') ?? '')
    if (leads || kept.length === 0) return undefined
    for (const version of versions)
      if (!kept.includes(version) && (await secret.createdAt(version)) !== undefined) return undefined
    return { output: { kept } }
  },
  undo: {
    async drift(_change, _receipt, call) {
      const { found } = await describe(call)
      const previous = labelled(found, 'AWSPREVIOUS')
      return previous === undefined ? [] : [`AWSPREVIOUS is on version ${safe(previous)} by now`]
    },
    async apply(change, _receipt, call) {
      mayGoOn(call)
      const { secret, found } = await describe(call)
      const versions = versionsOf(change)
      const [first] = versions
      if (first !== undefined && labelled(found, 'AWSPREVIOUS') !== first)
        await secret.label('AWSPREVIOUS', { from: labelled(found, 'AWSPREVIOUS'), to: first })
      for (const version of versions) {
        const label = keepLabel(call, version)
        if (labelled(found, label) === version) await secret.label(label, { from: version })
      }
      return {}
    },
    async settle(change, _receipt, call) {
      const { found } = await describe(call)
      const versions = versionsOf(change)
      const kept = versions.some((version) => labelled(found, keepLabel(call, version)) === version)
      return labelled(found, 'AWSPREVIOUS') === versions[0] && !kept ? {} : undefined
    },
  },
}

async function look(
  call: SecretCall,
): Promise<{ readonly observed: readonly Observation[]; readonly residue: readonly string[] }> {
  const retired = call.changes.filter(({ action }) => action === 'retire-versions')
  if (retired.length === 0) return { observed: [], residue: [] }
  const { secret, found } = await describe(call)
  const old = new Set(retired.flatMap(versionsOf))
  const ours = `mcp-ir-${call.caseId}-`
  const leads = [...found.versions].flatMap(([version, labels]) =>
    old.has(version) ? labels.filter((label) => !label.startsWith(ours)) : [],
  )
  return {
    observed: [
      {
        claim: `no label of secret ${secret.id} but that of this case leads to an old value`,
        seen: leads.length === 0 ? 'none does' : leads.map((label) => safe(label, 80)).join(', '),
        holds: leads.length === 0,
      },
    ],
    residue: [],
  }
}

function versionsOf(change: Change): readonly string[] {
  const versions = field(change.params, 'versions')
  return Array.isArray(versions) ? versions.filter((one): one is string => typeof one === 'string') : []
}

// With a rotation function

/** A secret that Secrets Manager has rotated by itself; all others are as `otherwise` has them. */
function rotating(otherwise: Credentials<SecretCredential>, settings: RotationSettings): Credentials<SecretCredential> {
  const rotatedBy = async (call: SecretCall): Promise<string | undefined> =>
    (await openSecret(call.target.credential, call).describe())?.rotatedBy
  return {
    permissions: otherwise.permissions,

    async check(call) {
      const by = await rotatedBy(call)
      if (by === undefined || call.intent === 'reinstate') return await otherwise.check(call)
      const problems = [...(await check(call))]
      if (call.intent === 'revoke') {
        const message = `${call.target.credential.id} dies when ${safe(by)} rotates it`
        return [...problems, { kind: 'warning', message, hint: `mcp-ir rotate ${call.target.server}` }]
      }
      return [...problems, ...readableBySuspect(call.target.credential.secret, call)]
    },

    async plan(call) {
      const { secret, found } = await describe(call)
      if (found.rotatedBy === undefined) return await otherwise.plan(call)
      return call.intent === 'rotate' ? await planRotation(call, secret, found, settings) : []
    },

    async verify(call) {
      const by = await rotatedBy(call)
      if (by === undefined || call.intent === 'reinstate') return await otherwise.verify(call)
      return call.intent === 'rotate' || rotationsOf(call).length > 0 ? await verifyRotated(call, by) : notYet(call, by)
    },

    actions: { ...otherwise.actions, 'remove-label': removeLabel, 'rotate-by-function': rotateByFunction(settings) },
  }
}

async function planRotation(
  call: SecretCall & { readonly intent: CredentialIntent },
  secret: AwsSecret,
  found: Described,
  settings: RotationSettings,
): Promise<readonly Change[]> {
  const { credential, sharedWith, server } = call.target
  const { rotatedBy = '' } = found
  const users = await usersOf(secret, found)
  const rounds = users.length > 1 ? 2 : 1
  const targetOf = (round: number): string =>
    rounds === 1 ? `secret ${credential.secret}` : `secret ${credential.secret}, user ${round} of 2`
  const ids = Array.from({ length: rounds }, (_, index) => call.changeId('rotate-by-function', targetOf(index + 1)))
  // Rotated in this run already: nothing to do any more, but what was left undone.
  if (ids.every((id) => call.receipts.has(id)) && labelled(found, 'AWSCURRENT') === tokenOf(ids.at(-1) ?? ''))
    return leftToRetire(call)
  const stray = await strayOf(call, secret, found, ids, settings)
  const chain = [`${credential.id} (aws-secret)`, `secret ${credential.secret}`]
  const facts = {
    secret: found.arn,
    'rotated by': rotatedBy,
    ...(users.length === 0 ? {} : { users: users.join(', ') }),
    current: labelled(found, 'AWSCURRENT') ?? 'none',
  }
  const rotations = ids.map(
    (id, index): Change => ({
      id,
      action: 'rotate-by-function',
      target: targetOf(index + 1),
      summary:
        rounds === 1
          ? `Have ${rotatedBy} rotate ${credential.secret} of ${server}`
          : `Have ${rotatedBy} rotate ${credential.secret} of ${server}, time ${index + 1} of 2: the users ${users.join(' and ')} take turns`,
      effect: 'creates',
      priority: 'essential',
      after: index === 0 ? stray.map((one) => one.id) : [ids[index - 1] ?? ''],
      stage: stage.issue,
      chain,
      params: { version: tokenOf(id), was: labelled(found, 'AWSCURRENT') ?? '', users },
      breaks: sharedWith,
      command: `aws secretsmanager rotate-secret --secret-id ${quoted(credential.secret)}`,
      facts,
    }),
  )
  return [...stray, ...rotations, ...(await planRetire(call, ids.slice(-1)))]
}

/** What an earlier rotation that failed has left: while it is there, AWS goes on with that one instead of a new one. */
async function strayOf(
  call: SecretCall,
  secret: AwsSecret,
  found: Described,
  own: readonly string[],
  { strayAfterMs }: RotationSettings,
): Promise<readonly Change[]> {
  const version = pending(found)
  if (version === undefined || own.some((id) => tokenOf(id) === version)) return []
  const created = await secret.createdAt(version)
  if (created !== undefined && call.now().getTime() - created.getTime() < strayAfterMs) return []
  const { credential } = call.target
  const target = `label AWSPENDING on version ${version} of secret ${credential.secret}`
  return [
    {
      id: call.changeId('remove-label', target),
      action: 'remove-label',
      target,
      summary: `Take the label AWSPENDING that a rotation of ${credential.secret} left behind ${created?.toISOString() ?? 'some time ago'}`,
      effect: 'reversible',
      priority: 'essential',
      after: [],
      stage: stage.issue,
      chain: [`${credential.id} (aws-secret)`, `secret ${credential.secret}`, target],
      params: { label: 'AWSPENDING', version },
      undo: { label: 'AWSPENDING', version },
      breaks: [],
      command: `aws secretsmanager update-secret-version-stage --secret-id ${quoted(credential.secret)} --version-stage AWSPENDING --remove-from-version-id ${version}`,
    },
  ]
}

const removeLabel: Action<Target> = {
  async apply(change, call) {
    mayGoOn(call)
    const { secret, found } = await describe(call)
    const [label, version] = [textField(change.params, 'label'), textField(change.params, 'version')]
    if (labelled(found, label) === version) await secret.label(label, { from: version })
    return {}
  },
  async settle(change, call) {
    const { found } = await describe(call)
    return labelled(found, textField(change.params, 'label')) === textField(change.params, 'version') ? undefined : {}
  },
  undo: {
    async drift(_change, _receipt, call) {
      const { found } = await describe(call)
      const version = pending(found)
      return version === undefined ? [] : [`AWSPENDING is on version ${safe(version)} by now`]
    },
    async apply(change, _receipt, call) {
      mayGoOn(call)
      const { secret, found } = await describe(call)
      const [label, version] = [textField(change.params, 'label'), textField(change.params, 'version')]
      if (labelled(found, label) !== version) await secret.label(label, { from: labelled(found, label), to: version })
      return {}
    },
    async settle(change, _receipt, call) {
      const { found } = await describe(call)
      return labelled(found, textField(change.params, 'label')) === textField(change.params, 'version') ? {} : undefined
    },
  },
}

/** The version of a rotation has the id of the request that asked for it, so that it is asked for once. */
function tokenOf(id: string): string {
  return requestToken('rotate', id)
}

function rotateByFunction({ pollMs, polls }: RotationSettings): Action<Target> {
  const receiptOf = (change: Change): Receipt => ({ output: { version: textField(change.params, 'version') } })
  /** Current, or so before another rotation that came after it. */
  const isDone = (found: Described, version: string): boolean => {
    const labels = found.versions.get(version) ?? []
    return labels.includes('AWSCURRENT') || (labels.includes('AWSPREVIOUS') && !labels.includes('AWSPENDING'))
  }
  const until = async (call: ActionCall<Target>, holds: (found: Described) => boolean): Promise<boolean> => {
    for (let poll = 0; poll < polls; poll++) {
      if (holds((await describe(call)).found)) return true
      await sleep(pollMs, undefined, { signal: call.signal }).catch(() => mayGoOn(call))
    }
    return false
  }
  return {
    async apply(change, call) {
      mayGoOn(call)
      const { secret } = await describe(call)
      const version = textField(change.params, 'version')
      const name = safe(secret.id)
      const free = (found: Described): boolean => [undefined, version].includes(pending(found))
      if (!(await until(call, free)))
        throw new IrError('partial', `a rotation of secret ${name} that somebody else began does not end`)
      const { found } = await describe(call)
      call.progress(`${safe(found.rotatedBy ?? '')} rotates ${name}`)
      try {
        await secret.rotate(version)
      } catch (error) {
        // Of one that it knows already, AWS says that it is not complete, and goes on with it.
        const began =
          error instanceof IrError && error.code === 'partial' && (await describe(call)).found.versions.has(version)
        if (!began) throw error
      }
      if (!(await until(call, (now) => isDone(now, version))))
        throw new IrError(
          'partial',
          `the rotation of secret ${name} has not ended: AWSPENDING is still on version ${version}`,
          {
            hints: [`See the log of ${safe(found.rotatedBy ?? 'its function')}, then run the same command again`],
          },
        )
      return receiptOf(change)
    },
    async settle(change, call) {
      const { found } = await describe(call)
      return isDone(found, textField(change.params, 'version')) ? receiptOf(change) : undefined
    },
  }
}

async function verifyRotated(call: SecretCall & { readonly intent: CredentialIntent }, by: string): Promise<Verdict> {
  const { credential, sharedWith } = call.target
  const { secret, found } = await describe(call)
  const rotations = rotationsOf(call)
  const last = rotations.at(-1)?.change
  const done = rotations.filter(({ applied }) => applied)
  const current = labelled(found, 'AWSCURRENT')
  const made = last !== undefined && done.length === rotations.length && current === field(last.params, 'version')
  const same = made ? await isSame(secret, field(rotations[0]?.change.params, 'was'), current) : false
  const ours = made && same !== true
  const left = pending(found)
  const retired = await look(call)
  const observed: Observation[] = [
    {
      claim: `the current version of secret ${credential.secret} is the one that ${by} made`,
      seen: current ?? 'there is none',
      holds: ours,
    },
    { claim: 'no rotation is left unfinished', seen: left ?? 'none is', holds: left === undefined },
    ...retired.observed,
  ]
  const users = last === undefined ? [] : field(last.params, 'users')
  const other =
    rotations.length > 1 && done.length === 1 && Array.isArray(users) ? ` of one of ${users.join(', ')}` : ''
  const state: CredentialState = {
    id: credential.id,
    kind: credential.kind,
    state: ours ? 'dead' : 'alive',
    proof: ours
      ? 'issuer says so'
      : same
        ? `${safe(by)} put the old value into the new version: it is not rotated`
        : `the old password${other} was not replaced: the rotation did not end`,
    sharedWith,
    ...(ours && current !== undefined
      ? { delivered: { kind: 'aws-secret', path: credential.secret, version: current } }
      : {}),
  }
  return {
    state: !ours ? 'failed' : same === false && observed.every(({ holds }) => holds) ? 'verified' : 'residual',
    observed,
    residue: [
      ...retired.residue,
      ...(same === undefined
        ? [`${credential.id}: whether the new value is another one than the old could not be read`]
        : []),
    ],
    limits: [
      `${credential.id}: database sessions that were opened with the old password are not ended by a rotation: name the database's user in the registry`,
    ],
    output: asJson(state),
  }
}

/** What this plan rotates; where it has nothing to rotate any more, what an earlier one of this case did. */
function rotationsOf(call: SecretCall): readonly { readonly change: Change; readonly applied: boolean }[] {
  const isRotation = ({ action }: Change): boolean => action === 'rotate-by-function'
  const planned = call.changes.filter(isRotation)
  if (planned.length > 0) return planned.map((change) => ({ change, applied: call.receipts.has(change.id) }))
  return (call.target.past?.() ?? [])
    .filter(({ change, receipt }) => isRotation(change) && receipt !== undefined)
    .map(({ change }) => ({ change, applied: true }))
}

/** A function that does nothing makes a version all the same. Undefined: the values may not be read, or are binary. */
async function isSame(secret: AwsSecret, before: Json | undefined, now = ''): Promise<boolean | undefined> {
  if (typeof before !== 'string' || before === '' || before === now) return false
  const [old, fresh] = await Promise.all([before, now].map((version) => orError(secret.read({ version }))))
  if (old instanceof IrError || fresh instanceof IrError) return undefined
  return old !== undefined && old.text === fresh?.text
}

function notYet({ target }: SecretCall, by: string): Verdict {
  const { id, kind, secret } = target.credential
  const how = `it dies when ${safe(by)} rotates it: mcp-ir rotate ${target.server}`
  const claim = `${id} is refused where it is accepted`
  const state: CredentialState = { id, kind, state: 'alive', proof: how, sharedWith: target.sharedWith }
  return {
    state: 'failed',
    observed: [{ claim, seen: `secret ${secret} still has the value that the server could read`, holds: false }],
    residue: [`${id}: ${how}`],
    limits: [],
    output: asJson(state),
  }
}

export const stored = secretValues()
