import { IAMClient } from '@aws-sdk/client-iam'
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { awsClient, awsCode, awsError, serverClock } from '../../aws/clients.ts'
import { named } from '../../aws/principal.ts'
import type { Call, Change, Json, Problem } from '../../change.ts'
import type { CredentialTarget } from '../port.ts'
import { field } from '../words.ts'

/** What the two IAM adapters have in common: clients, the caller, and how errors are read. */
export interface Iam {
  readonly client: IAMClient
  /** For what would happen twice when it is sent twice. */
  readonly creating: IAMClient
  readonly sts: STSClient
  /** What every `send` gets. */
  readonly options: { readonly abortSignal: AbortSignal }
  /** IAM's own clock by its last answer: a cutoff compares with it, not with the responder's. */
  readonly clock: () => Date
}

/** IAM is one per account, so that a region is needed for the signature alone. */
const anyRegion = 'us-east-1'

const clocks = new WeakMap<IAMClient, () => Date | undefined>()

export async function openIam(call: Pick<Call<CredentialTarget>, 'signal' | 'now' | 'target'>): Promise<Iam> {
  const { signal, target } = call
  // The configuration's, as STS answers in each region for itself, and partitions have their own; else the SDK's own chain.
  const region = await awsClient(STSClient, { region: target.aws?.region }, 'reads', signal)
    .config.region()
    .catch(() => anyRegion)
  const client = awsClient(IAMClient, { region }, 'reads', signal)
  const clock = clocks.get(client) ?? serverClock(client)
  clocks.set(client, clock)
  return {
    client,
    creating: awsClient(IAMClient, { region }, 'creates', signal),
    sts: awsClient(STSClient, { region }, 'reads', signal),
    options: { abortSignal: signal },
    clock: () => clock() ?? call.now(),
  }
}

export interface Caller {
  readonly account: string
  readonly arn: string
}

export async function callerOf(iam: Iam): Promise<Caller> {
  const { Account, Arn } = await asked('Asking AWS who we are', () =>
    iam.sts.send(new GetCallerIdentityCommand({}), iam.options),
  )
  return { account: Account ?? '', arn: Arn ?? '' }
}

/** What a caller's ARN names: `user/name`, `assumed-role/name`; paths and the session's name are left out. */
export function principalOf(arn: string): { readonly kind: string; readonly name: string } {
  const resource = arn.split(':').slice(5).join(':')
  const parts = resource.split('/')
  const kind = parts[0] ?? ''
  return { kind, name: (kind === 'assumed-role' ? parts[1] : parts.at(-1)) ?? '' }
}

/** Of the account that the caller is in? The entry may be of another one, where the same name is somebody else. */
export function otherAccount(given: string, caller: Caller): Problem | undefined {
  const { account } = named(given)
  if (account === undefined || account === caller.account) return undefined
  return {
    kind: 'input',
    message: `${given} is in account ${account}, but we are ${caller.arn}`,
    hint: 'Use credentials of that account (AWS_PROFILE)',
  }
}

/** One call of the SDK, its error in our words. @throws IrError */
export async function asked<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw awsError(error, what)
  }
}

/** The same, undefined when what it asks for is not there. */
export async function orAbsent<T>(what: string, work: () => Promise<T>): Promise<T | undefined> {
  return await asked(what, async () => {
    try {
      return await work()
    } catch (error) {
      if (isAbsent(error)) return undefined
      throw error
    }
  })
}

export function isAbsent(error: unknown): boolean {
  return /^NoSuchEntity(Exception)?$/.test(awsCode(error) ?? '')
}

/** What could not be read, and why: the vendor's code. */
export interface Unread {
  readonly what: string
  readonly code: string
  /** It could only have denied something. */
  readonly denies?: true
}

/** For what is good to know: a missing permission for it, or a service that lacks it, stops nothing. */
export async function orUnread<T>(what: string, otherwise: T, unread: Unread[], work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (isAbsent(error)) return otherwise
    const told = awsError(error, what)
    if (told.code === 'interrupted') throw told
    unread.push({ what, code: awsCode(error) ?? 'unknown' })
    return otherwise
  }
}

/** All pages in one list. */
export async function all<Page, Item>(
  pages: AsyncIterable<Page>,
  pick: (page: Page) => readonly Item[] | undefined,
): Promise<readonly Item[]> {
  const items: Item[] = []
  for await (const page of pages) items.push(...(pick(page) ?? []))
  return items
}

type Intent = 'revoke' | 'rotate' | 'reinstate'
type Planning<T> = (call: Call<T>) => Promise<readonly Change[]>

/** Reinstating plans nothing of its own: the runner undoes what is journalled. */
export function plannedBy<T>(plans: { readonly revoke: Planning<T>; readonly rotate: Planning<T> }) {
  return async (call: Call<T> & { readonly intent: Intent }): Promise<readonly Change[]> =>
    call.intent === 'reinstate' ? [] : await plans[call.intent](call)
}

/** Keeps what the plan read of the user or role before anything was changed (`before` of its changes) as evidence. */
export async function keepBefore(call: Call<CredentialTarget>, name: string): Promise<void> {
  const before = call.changes.map(({ params }) => field(params, 'before')).find((found) => found !== undefined)
  if (before !== undefined) await keep(call, name, 'before', before)
}

/** One piece of evidence on a user or role. */
export async function keep(call: Call<CredentialTarget>, name: string, what: string, content: Json): Promise<void> {
  const file = `${call.target.credential.kind}-${name.replace(/[^\w.-]/g, '_')}-${what}.json`
  await call.evidence.put(file, 'application/json', `${JSON.stringify(content, undefined, 2)}\n`)
}
