import { createValidatedPolicy } from '@cloud-copilot/iam-policy'
import { type RunSimulationResults, runSimulation, type Simulation } from '@cloud-copilot/iam-simulate'
import { conditionWords } from './words.ts'

export interface PolicySet {
  /** ARN of the user or role. */
  readonly principal: string
  readonly identity: readonly NamedPolicy[]
  /** Undefined: there is none. */
  readonly boundary: NamedPolicy | undefined
  /** Service control policies, level by level from the root of the organization; empty: none bind the account. */
  readonly control: readonly { readonly level: string; readonly policies: readonly NamedPolicy[] }[]
  /** What is known of every request: `aws:username` and the like. */
  readonly known: Readonly<Record<string, string>>
}

export interface NamedPolicy {
  readonly name: string
  readonly document: unknown
}

export type Judged =
  | { readonly kind: 'allowed'; readonly condition: string | undefined }
  | { readonly kind: 'denied' }
  | { readonly kind: 'unjudged'; readonly why: string }
export type Told = Exclude<Judged, { kind: 'unjudged' }>
export type Judge = (action: string, resource: string) => Promise<Judged>

/** The evaluator, told what it needs. Where it also wants the policy of the resource, which is not read, that becomes a condition. */
export function judgeOf(
  { principal, identity, boundary, control, known }: PolicySet,
  values: Readonly<Record<string, string>>,
): Judge {
  const own = principal.split(':')[4] ?? ''
  // Found to be valid already; not to be looked at again for each of thousands of requests.
  const ready = ({ name, document }: NamedPolicy) => ({ name, policy: createValidatedPolicy(document, () => []) })
  const policies = {
    identityPolicies: identity.map(ready),
    serviceControlPolicies: control.map(({ level, policies }) => ({
      orgIdentifier: level,
      policies: policies.map(ready),
    })),
    resourceControlPolicies: [],
    ...(boundary === undefined ? {} : { permissionBoundaryPolicies: [ready(boundary)] }),
  }
  const constraints = Object.keys(known).map(
    (keyName) => ({ keyName, presenceIsKnown: true, valueIsKnown: true }) as const,
  )
  return async (action, resource) => {
    const named = resource.split(':')[4] ?? ''
    const accountId = /^\d{12}$/.test(named) ? named : own
    const also = resourcesWord(action, resource, accountId === own)
    const simulation: Simulation = {
      request: { principal, action, resource: { resource, accountId }, contextVariables: { ...values } },
      ...policies,
      ...(also === undefined ? {} : { resourcePolicy: letsIn(accountId === own ? own : principal) }),
    }
    const result = await runSimulation(simulation, {
      simulationMode: 'Discovery',
      discoveryContextKeyConstraints: constraints,
    })
    return judged(result, also)
  }
}

/** Whose word beside the principal's own policies is needed, and was not read. */
function resourcesWord(action: string, resource: string, sameAccount: boolean): string | undefined {
  if (!sameAccount) return "the other account's own policy lets it in (not read)"
  if (/^kms:/i.test(action) && /:key\//.test(resource)) return "the key's own policy leaves it to IAM (not read)"
  if (/^sts:AssumeRole$/i.test(action)) return "the role's trust policy lets it in (not read)"
  return undefined
}

function letsIn(who: string) {
  const principal = who.startsWith('arn:') ? who : `arn:aws:iam::${who}:root`
  return {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: { AWS: principal }, Action: '*', Resource: '*' }],
  }
}

function judged(result: RunSimulationResults, also: string | undefined): Judged {
  if (result.resultType === 'error') return { kind: 'unjudged', why: result.errors.message }
  const analyses = result.resultType === 'single' ? [result.result.analysis] : result.results.map((one) => one.analysis)
  const allowing = analyses.filter((analysis) => analysis.result === 'Allowed')
  const [analysis] = allowing
  if (analysis === undefined) return { kind: 'denied' }
  const conditions = allowing.map((one) => one.conditions)
  const own = conditions.includes(undefined)
    ? undefined
    : conditions.flatMap((one) => (one === undefined ? [] : conditionWords(one)))[0]
  const both = [own, also].filter((one) => one !== undefined)
  return { kind: 'allowed', condition: both.length === 0 ? undefined : both.join(', and ') }
}

/** Services of which the evaluator tells one action from another by more than the policies. */
const special = new Set(['iam', 'kms', 's3', 'sts'])

/**
 * Thousands of actions differ in their name alone: those of one service that the same statements are about, with the same kinds of
 * resources, get the same answer, and are asked about once.
 */
export class Judges {
  readonly #judge: Judge
  readonly #answers = new Map<string, Promise<Judged>>()

  constructor(judge: Judge) {
    this.#judge = judge
  }

  for(action: string, statements: readonly number[], types: readonly string[]): (resource: string) => Promise<Judged> {
    const service = action.split(':')[0] ?? ''
    const alike = JSON.stringify([special.has(service) ? action : service, statements, types])
    return (resource) => {
      const key = `${alike} ${resource}`
      const known = this.#answers.get(key) ?? this.#judge(action, resource)
      this.#answers.set(key, known)
      return known
    }
  }
}
