import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { awsClient } from '../../aws/clients.ts'
import type { Change, Json } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { clients, type Reading, reading } from './reading.ts'

/** Where we act, and as whom: what stands in another account or region is not what was isolated, whatever its name. */

interface Place {
  readonly account: string
  readonly region: string
}

/** Who we are to AWS. An instance's role session is named after the instance. */
export interface Caller extends Place {
  /** The responder's own, before any role of the deployment is assumed. */
  readonly arn: string
}

type Asking = Pick<Reading, 'target' | 'signal'>

/** By the signal of the command, and by region and role: neither changes while it runs. */
const callers = new WeakMap<AbortSignal, Map<string, Promise<Caller>>>()

/** @throws IrError denied, unreachable, input when no region is named */
export function identity(call: Asking): Promise<Caller> {
  const { region, role } = call.target.deployment
  const known = callers.get(call.signal) ?? new Map<string, Promise<Caller>>()
  callers.set(call.signal, known)
  const key = JSON.stringify([region ?? null, role ?? null])
  const caller = known.get(key) ?? reading(() => ask(call))
  known.set(key, caller)
  caller.catch(() => known.delete(key))
  return caller
}

async function ask(call: Asking): Promise<Caller> {
  const { region, role } = call.target.deployment
  const who = (scope: { region: string | undefined; role?: string | undefined }) =>
    awsClient(STSClient, scope, 'reads', call.signal).send(new GetCallerIdentityCommand({}), {
      abortSignal: call.signal,
    })
  const own = await who({ region })
  const acting = role === undefined ? own : await who({ region, role })
  return { account: acting.Account ?? '', region: await clients(call).ec2.config.region(), arn: own.Arn ?? '' }
}

/** For the parameters of every change. */
export function placed(params: object, { account, region }: Place): Json {
  return { ...params, place: { account, region } } as Json
}

/**
 * @throws IrError refused when one of the changes was planned in another account or region
 */
export async function mustBeHere(changes: readonly Pick<Change, 'summary' | 'params'>[], call: Asking): Promise<void> {
  const here = await identity(call)
  for (const { summary, params } of changes) {
    const there = placeOf(params)
    if (there === undefined || (there.account === here.account && there.region === here.region)) continue
    throw new IrError(
      'refused',
      `"${summary}" belongs to account ${there.account}, region ${there.region}; this is account ${here.account}, region ${here.region}.`,
      {
        hints: [
          `Set region (${there.region}) and role or AWS_PROFILE (account ${there.account}) as they were when it was planned.`,
        ],
      },
    )
  }
}

/** Journals of old do not name it. */
function placeOf(params: Json | undefined): Place | undefined {
  if (params === null || typeof params !== 'object' || !('place' in params)) return undefined
  const { place } = params
  if (place === null || typeof place !== 'object' || !('account' in place)) return undefined
  return { account: String(place.account), region: String('region' in place ? place.region : '') }
}
