import { GetRoleCommand, GetUserCommand, IAMClient, paginateSimulatePrincipalPolicy } from '@aws-sdk/client-iam'
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { type AwsScope, awsClient, awsError } from './aws/clients.ts'
import type { DoctorRow } from './doctor.ts'
import { canBeNamed, isIamAction } from './doctor-policy.ts'
import { IrError } from './errors.ts'
import { safe } from './ui/safe-text.ts'

/** What one adapter will need of AWS. */
export interface AwsNeed {
  /** Of the deployment or credential. */
  readonly id: string
  /** Capability and kind: `containment/aws-ec2`. */
  readonly adapter: string
  readonly permissions: readonly string[]
  readonly scope: AwsScope
  /** The user, role or secret that it is about: its name or ARN. */
  readonly about?: { readonly kind: 'user' | 'role' | 'secret'; readonly name: string }
}

/**
 * Who the responder is to AWS, where, and what IAM's simulation says that its policies permit. Reads only; nothing of what
 * is asked for is done.
 */
export async function awsRows(needs: readonly AwsNeed[], signal: AbortSignal): Promise<readonly DoctorRow[]> {
  const scopes = new Map<string, AwsNeed[]>()
  for (const need of needs) {
    const key = JSON.stringify([need.scope.region ?? null, need.scope.role ?? null])
    scopes.set(key, [...(scopes.get(key) ?? []), need])
  }
  const rows: DoctorRow[] = []
  for (const [first, ...others] of scopes.values()) {
    if (first !== undefined) rows.push(...(await scopeRows(first.scope, [first, ...others], signal)))
  }
  return rows
}

async function scopeRows(
  scope: AwsScope,
  needs: readonly AwsNeed[],
  signal: AbortSignal,
): Promise<readonly DoctorRow[]> {
  const check = scope.role === undefined ? 'AWS identity' : `AWS identity as ${safe(scope.role)}`
  const sts = awsClient(STSClient, scope, 'reads', signal)
  let caller: string
  let region: string
  try {
    region = await sts.config.region()
    const { Arn, Account } = await sts.send(new GetCallerIdentityCommand({}), { abortSignal: signal })
    if (Arn === undefined || Account === undefined) throw new IrError('unreachable', 'AWS does not say who we are.')
    caller = Arn
  } catch (error) {
    const told = awsError(error, 'Asking AWS who we are')
    if (told.code === 'interrupted') throw told
    return [{ check, state: 'failed', detail: told.message, hint: told.hints[0] }]
  }
  const rows: DoctorRow[] = [{ check, state: 'ok', detail: `${safe(caller)}, region ${safe(region)}` }]
  for (const need of needs) rows.push(await permissionsRow(need, caller, { ...scope, region }, signal))
  return rows
}

async function permissionsRow(need: AwsNeed, caller: string, scope: AwsScope, signal: AbortSignal): Promise<DoctorRow> {
  const check = `permissions ${safe(need.id)}`
  // Who we are was just asked, and the role just assumed.
  const actions = need.permissions.filter((one) => isIamAction(one) && !one.startsWith('sts:'))
  const open = (why: string): DoctorRow => ({
    check,
    state: 'warning',
    detail: `${need.adapter}: could not be asked: ${why}; whether its ${actions.length} actions are permitted is not known`,
  })
  if (caller.endsWith(':root')) return open('the root user has no policies to simulate')
  // Asked once: where there is no answer, that is what is told.
  const iam = awsClient(IAMClient, scope, 'creates', signal)
  const options = { abortSignal: signal }
  try {
    const principal = await principalOf(caller, iam, options)
    if (principal === undefined) return open(`${safe(caller)} is neither a user nor a role`)
    const named =
      need.about === undefined ? undefined : await resourceOf(need.about, caller, scope.region ?? '', iam, options)
    const narrow = (action: string): boolean => named !== undefined && canBeNamed(action)
    const results = [
      ...(await simulate(iam, principal, actions.filter(narrow), named, options)),
      ...(await simulate(
        iam,
        principal,
        actions.filter((action) => !narrow(action)),
        undefined,
        options,
      )),
    ]
    return { check, ...answer(need.adapter, principal, actions, results) }
  } catch (error) {
    const told = awsError(error, 'iam:SimulatePrincipalPolicy')
    if (told.code === 'interrupted') throw told
    return open(told.message.replace(/\.$/, ''))
  }
}

interface Result {
  readonly action: string
  readonly allowed: boolean
  /** Conditions that decide, and whose values are known only when it is done. */
  readonly depends: readonly string[]
}

function answer(
  adapter: string,
  principal: string,
  actions: readonly string[],
  results: readonly Result[],
): Omit<DoctorRow, 'check'> {
  // Only what was answered with a yes is permitted.
  const allowed = new Set(results.filter((one) => one.allowed).map(({ action }) => action))
  const unsure = results.filter((one) => !one.allowed && one.depends.length > 0)
  const depending = new Set(unsure.map(({ action }) => action))
  const denied = actions.filter((action) => !allowed.has(action) && !depending.has(action))
  if (denied.length > 0) {
    return {
      state: 'failed',
      detail: `${adapter}: not permitted to ${safe(principal)}, by simulation of its policies: ${denied.join(', ')}`,
      hint: 'mcp-ir doctor SERVER --iam-policy prints what is needed',
    }
  }
  if (unsure.length > 0) {
    const keys = [...new Set(unsure.flatMap(({ depends }) => depends))].sort()
    return {
      state: 'warning',
      detail: `${adapter}: depends on ${safe(keys.join(', '))}: ${[...depending].join(', ')}; the others are permitted`,
    }
  }
  return {
    state: 'ok',
    detail: `${adapter}: ${actions.length} actions permitted, by simulation of the policies of ${safe(principal)}`,
  }
}

interface Options {
  readonly abortSignal: AbortSignal
}

/** What has policies: of a session that is its role, whose ARN has a path that the session's lacks. */
async function principalOf(caller: string, iam: IAMClient, options: Options): Promise<string | undefined> {
  const [, partition = '', , , account = '', resource = ''] = caller.split(':')
  if (resource.startsWith('user/')) return caller
  const [kind, RoleName] = resource.split('/')
  if (kind !== 'assumed-role' || RoleName === undefined) return undefined
  try {
    const { Role } = await iam.send(new GetRoleCommand({ RoleName }), options)
    if (Role?.Arn !== undefined) return Role.Arn
  } catch (error) {
    if (awsError(error, '').code === 'interrupted') throw error
    // Most roles have no path; the simulation says so when this one has.
  }
  return `arn:${partition}:iam::${account}:role/${RoleName}`
}

async function resourceOf(
  { kind, name }: NonNullable<AwsNeed['about']>,
  caller: string,
  region: string,
  iam: IAMClient,
  options: Options,
): Promise<string> {
  if (name.startsWith('arn:')) return name
  const [, partition = '', , , account = ''] = caller.split(':')
  // Six characters of Secrets Manager's own stand behind the name; which ones decides nothing.
  if (kind === 'secret') return `arn:${partition}:secretsmanager:${region}:${account}:secret:${name}-000000`
  try {
    const found =
      kind === 'user'
        ? (await iam.send(new GetUserCommand({ UserName: name }), options)).User?.Arn
        : (await iam.send(new GetRoleCommand({ RoleName: name }), options)).Role?.Arn
    if (found !== undefined) return found
  } catch (error) {
    if (awsError(error, '').code === 'interrupted') throw error
    // That it is not there, or cannot be read, is told by the adapter's own check.
  }
  return `arn:${partition}:iam::${account}:${kind}/${name}`
}

async function simulate(
  client: IAMClient,
  PolicySourceArn: string,
  ActionNames: string[],
  resource: string | undefined,
  options: Options,
): Promise<readonly Result[]> {
  if (ActionNames.length === 0) return []
  const found: Result[] = []
  const pages = paginateSimulatePrincipalPolicy(
    { client },
    {
      PolicySourceArn,
      ActionNames,
      ...(resource === undefined ? {} : { ResourceArns: [resource] }),
      // The only service that a role is passed to.
      ContextEntries: [
        {
          ContextKeyName: 'iam:PassedToService',
          ContextKeyType: 'string',
          ContextKeyValues: ['ec2.amazonaws.com'],
        },
      ],
    },
    options,
  )
  for await (const { EvaluationResults } of pages) {
    for (const { EvalActionName = '', EvalDecision, MissingContextValues } of EvaluationResults ?? []) {
      found.push({ action: EvalActionName, allowed: EvalDecision === 'allowed', depends: MissingContextValues ?? [] })
    }
  }
  return found
}
