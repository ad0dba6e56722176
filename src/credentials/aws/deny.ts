/**
 * The inline policies that revoke. IAM keeps no date of an inline policy, and an adapter keeps no state, so what has to be known
 * later stands in the names of its statements (`Sid`: letters and digits only), where whoever could alter it could as well take
 * the whole policy away.
 */
export interface Deny {
  /** Everything, or every session that was issued before the cutoff. Long-term keys have no issue time: it does not bind them. */
  readonly kind: 'all' | 'sessions'
  /** When what it is for was stopped; undefined when the policy was put by hand. */
  readonly since?: Date | undefined
  /** With `sessions`: in RFC 3339. */
  readonly cutoff?: string | undefined
  /** The access key that rotation issued under it. */
  readonly issued?: string | undefined
  /** Access keys that were inactive before anything was done. */
  readonly idle?: readonly string[] | undefined
  /** Put in place by rotation: the sessions after the cutoff are those of the new server. */
  readonly fresh?: boolean | undefined
  /** The change that put it. */
  readonly change?: string | undefined
  /** What all changes of one run that put it have in common, so that a later run does not take it for its own. */
  readonly run?: string | undefined
  /** Put by this case. */
  readonly ours?: boolean | undefined
}

/** How AWS itself names the policy that ends sessions, so that its console shows it. */
export const olderSessions = 'AWSRevokeOlderSessions'

/** AWS adds as much to the cutoff, for the time that the policy takes to get everywhere. */
const marginMs = 30_000

export function cutoffAt(serverNow: Date): string {
  return new Date(serverNow.getTime() + marginMs).toISOString().replace(/\.\d+Z$/, 'Z')
}

export function policyName(caseId: string): string {
  return `mcp-ir-${caseId}`
}

export function denyDocument(deny: Deny, caseId: string): string {
  const names = [
    `McpIr${letters(caseId)}`,
    ...(deny.change === undefined ? [] : [`Change${deny.change}`]),
    ...(deny.run === undefined ? [] : [`Run${deny.run}`]),
    ...(deny.since === undefined ? [] : [`Since${compact(deny.since)}`]),
    ...(deny.issued === undefined ? [] : [`Issued${deny.issued}`]),
    ...(deny.idle ?? []).map((key) => `Idle${key}`),
    ...(deny.fresh === true ? [`Fresh${letters(caseId)}`] : []),
  ]
  const condition =
    deny.kind === 'all' ? {} : { Condition: { DateLessThan: { 'aws:TokenIssueTime': deny.cutoff ?? '' } } }
  const statements = names.map((Sid) => ({ Sid, Effect: 'Deny', Action: ['*'], Resource: ['*'], ...condition }))
  return JSON.stringify({ Version: '2012-10-17', Statement: statements })
}

/** @returns undefined for a document that denies neither everything nor older sessions */
export function readDeny(document: string, caseId: string): Deny | undefined {
  const statements = statementsOf(document).filter(deniesAll)
  const conditions = statements.map(({ Condition }) => Condition)
  const whole = conditions.some((condition) => condition === undefined)
  const cutoffs = conditions.flatMap((condition) => cutoffOf(condition) ?? [])
  if (!whole && cutoffs.length === 0) return undefined
  const names = statements.flatMap(({ Sid }) => (typeof Sid === 'string' ? [Sid] : []))
  const after = (word: string) => names.filter((name) => name.startsWith(word)).map((name) => name.slice(word.length))
  const since = after('Since').flatMap((text) => dateOf(text) ?? [])[0]
  return {
    kind: whole ? 'all' : 'sessions',
    since,
    cutoff: whole ? undefined : cutoffs.sort().at(-1),
    issued: after('Issued')[0],
    idle: after('Idle'),
    fresh: after('Fresh').includes(letters(caseId)),
    change: after('Change')[0],
    run: after('Run')[0],
    ours: after('McpIr').includes(letters(caseId)),
  }
}

/**
 * Why the deny must not go yet; undefined when no session from before can live any more.
 * @param longest how long a session lasts, in milliseconds and in words
 */
export function tooEarly(
  since: Date | undefined,
  now: Date,
  longest: { readonly ms: number; readonly told: string },
): string | undefined {
  if (since === undefined) return 'it is not known since when it is denied, so that stolen sessions could live again'
  const until = new Date(since.getTime() + longest.ms)
  if (now >= until) return undefined
  return `stolen sessions could live again until ${until.toISOString()} (${longest.told}): refused until then`
}

/** The documents of IAM come percent-encoded. */
export function decoded(document: string | undefined): string {
  try {
    return decodeURIComponent(document ?? '')
  } catch {
    return document ?? ''
  }
}

type Statement = Readonly<Record<string, unknown>>

function statementsOf(document: string): readonly Statement[] {
  try {
    const parsed: unknown = JSON.parse(document)
    const found = isRecord(parsed) ? parsed.Statement : undefined
    return (Array.isArray(found) ? found : [found]).filter(isRecord)
  } catch {
    return [] // somebody's own document that is none
  }
}

function deniesAll({ Effect, Action, Resource, Principal }: Statement): boolean {
  const star = (value: unknown) => value === '*' || (Array.isArray(value) && value.includes('*'))
  return Effect === 'Deny' && star(Action) && star(Resource) && Principal === undefined
}

/** Only where nothing else narrows it. */
function cutoffOf(condition: unknown): string | undefined {
  if (!isRecord(condition) || Object.keys(condition).length !== 1 || !isRecord(condition.DateLessThan)) return undefined
  const keys = Object.keys(condition.DateLessThan)
  const value = condition.DateLessThan[keys[0] ?? '']
  if (keys.length !== 1 || keys[0]?.toLowerCase() !== 'aws:tokenissuetime') return undefined
  const text: unknown = Array.isArray(value) && value.length === 1 ? value[0] : value
  return typeof text === 'string' && !Number.isNaN(Date.parse(text)) ? text : undefined
}

function letters(caseId: string): string {
  return caseId.replace(/[^A-Za-z0-9]/g, '')
}

function compact(date: Date): string {
  return date.toISOString().replace(/[-:]|\.\d+/g, '')
}

function dateOf(text: string): Date | undefined {
  const parts = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text)
  if (parts === null) return undefined
  const [, year, month, day, hour, minute, second] = parts
  return new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
