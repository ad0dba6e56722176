import { IrError } from '../../../errors.ts'
import type { Credential } from '../../../registry/port.ts'
import type { Caller, Unread } from '../../aws/iam.ts'
import type { Granted, PowersCall } from '../port.ts'
import { accessOf, grantsOf } from './grouping.ts'
import type { PolicySet } from './judge.ts'

/**
 * From the policies to what they open. The evaluator and its data are loaded only here.
 * @param whose `role crm`, for what is told
 */
export async function granted(
  call: PowersCall,
  whose: string,
  set: PolicySet,
  missing: readonly Unread[],
): Promise<Granted> {
  const account = set.principal.split(':')[4] ?? ''
  const told = (some: readonly Unread[]) =>
    some.map(
      ({ what, code }) =>
        `${what} of ${whose} could not be read (${code}): what it allows is missing here, what it denies is not taken away.`,
    )
  const gaps = told(missing.filter(({ denies }) => denies === true))
  const unread = told(missing.filter(({ denies }) => denies !== true))
  const evaluator = await loaded()
  if (evaluator === undefined) {
    const why = `The permissions of ${whose} were not evaluated: the evaluator (@cloud-copilot/iam-simulate, an optional package) is not installed.`
    return { opens: [], holds: [], gaps, unread: [...unread, why] }
  }
  const { allowed, gaps: unjudged } = await evaluator.evaluate(set, call.signal)
  const holds = []
  for (const credential of call.others) {
    const how = await heldBy(evaluator, set, credential, call)
    if (how !== undefined) holds.push({ credential, how })
  }
  return {
    opens: [
      { system: `AWS account ${account}`, kind: 'aws', access: accessOf(allowed), permissions: grantsOf(allowed) },
    ],
    holds,
    gaps: [...gaps, ...unjudged.map((gap) => `${whose}: ${gap}`), `${whose}: ${limit}`],
    unread,
  }
}

const limit =
  'Only its own policies were evaluated: policies of buckets, keys, queues and the like, which may give or take more, were not read.'

type Evaluator = typeof import('./evaluate.ts')

async function loaded(): Promise<Evaluator | undefined> {
  try {
    return await import('./evaluate.ts')
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ERR_MODULE_NOT_FOUND') return undefined
    throw error
  }
}

/** How another credential is got hold of, in plain words; undefined when it is not. */
async function heldBy(
  { mayDo }: Evaluator,
  set: PolicySet,
  credential: Credential,
  { aws }: PowersCall,
): Promise<string | undefined> {
  const [, partition = 'aws', , , account = ''] = set.principal.split(':')
  const arn = (name: string, build: () => string) => (name.startsWith('arn:') ? name : build())
  const wanted = (() => {
    switch (credential.kind) {
      case 'aws-secret': {
        const region = credential.region ?? aws.region ?? '*'
        // Secrets Manager puts six characters of its own behind the name.
        const secret = arn(
          credential.secret,
          () =>
            `arn:${partition}:secretsmanager:${region === '*' ? 'us-east-1' : region}:${account}:secret:${credential.secret}-000000`,
        )
        return { action: 'secretsmanager:GetSecretValue', resource: secret, told: `AWS secret ${credential.secret}` }
      }
      case 'aws-iam-role':
        return {
          action: 'sts:AssumeRole',
          resource: arn(credential.role, () => `arn:${partition}:iam::${account}:role/${credential.role}`),
          told: `assuming role ${credential.role}`,
        }
      case 'aws-iam-user':
        return {
          action: 'iam:CreateAccessKey',
          resource: arn(credential.user, () => `arn:${partition}:iam::${account}:user/${credential.user}`),
          told: `making a key of user ${credential.user}`,
        }
      default:
        return undefined
    }
  })()
  if (wanted === undefined || wanted.resource === set.principal) return undefined
  const { allowed, condition } = await mayDo(set, wanted.action, wanted.resource)
  if (!allowed) return undefined
  return condition === undefined ? wanted.told : `${wanted.told} (if ${condition})`
}

/** Of the account that we are in? @throws IrError input */
export function sameAccount(given: string, caller: Caller): void {
  const account = given.startsWith('arn:') ? given.split(':')[4] : undefined
  if (account !== undefined && account !== caller.account)
    throw new IrError('input', `${given} is in account ${account}, but we are ${caller.arn}`)
}
