import type { BlastRadius } from '../blast-radius/port.ts'
import type { Observation } from '../change.ts'
import type { CredentialState } from '../credentials/port.ts'
import type { Grant } from '../credentials/powers/port.ts'
import type { Finding, Review } from '../invocations/port.ts'
import type { Redeployment } from './model.ts'
import { plural } from './words.ts'

/**
 * Steps' outputs, read leniently: a field that is missing or of the wrong kind becomes empty, never an error, since a case
 * of an older version, or one that was cut short, must still give a report.
 */

type Fields = Readonly<Record<string, unknown>>

export function readReview(output: unknown): Review | undefined {
  const value = fields(output)
  if (value === undefined) return undefined
  const source = fields(value.source) ?? {}
  const evidence = fields(value.evidence)
  return {
    window: readWindow(value.window),
    sinceFrom: oneOf(value.sinceFrom, ['flag', 'knownGood', 'default'] as const, 'default'),
    source: { kind: text(source.kind), name: text(source.name), format: text(source.format) },
    records: number(value.records),
    duplicates: number(value.duplicates),
    ...optional('first', optionalText(value.first)),
    ...optional('last', optionalText(value.last)),
    tools: list(value.tools).map((use) => ({
      tool: text(use.tool),
      ...readUse(use),
      ...optional('changes', typeof use.changes === 'boolean' ? use.changes : undefined),
      ...optional(
        'changesBy',
        (['registry', 'annotations', 'name'] as const).find((by) => by === use.changesBy),
      ),
    })),
    callers: list(value.callers).map((use) => ({ caller: text(use.caller), ...readUse(use) })),
    resources: list(value.resources).map((use) => ({
      resource: text(use.resource),
      system: text(use.system),
      access: oneOf(use.access, ['read', 'write'] as const, 'read'),
      tools: texts(use.tools),
      calls: number(use.calls),
    })),
    findings: list(value.findings).map((finding) => ({
      kind: text(finding.kind) as Finding['kind'],
      summary: text(finding.summary),
      expected: text(finding.expected),
      seen: text(finding.seen),
      records: texts(finding.records),
      ...optional('more', optionalNumber(finding.more)),
      ...optional('first', optionalText(finding.first)),
      ...optional('last', optionalText(finding.last)),
    })),
    ...optional('baseline', readBaseline(value.baseline)),
    hours: list(value.hours).map((hour) => ({
      from: text(hour.from),
      calls: number(hour.calls),
      ...optional('expected', optionalNumber(hour.expected)),
      ...optional('upper', optionalNumber(hour.upper)),
    })),
    gaps: texts(value.gaps),
    ...optional(
      'evidence',
      evidence === undefined ? undefined : { name: text(evidence.name), sha256: text(evidence.sha256) },
    ),
  }
}

function readBaseline(output: unknown): Review['baseline'] {
  const value = fields(output)
  if (value === undefined) return undefined
  return {
    since: text(value.since),
    until: text(value.until),
    calls: number(value.calls),
    zone: text(value.zone),
    days: text(value.days),
    assumed: value.assumed === true,
  }
}

function readUse(use: Fields) {
  return {
    calls: number(use.calls),
    failed: number(use.failed),
    ...optional('rows', optionalNumber(use.rows)),
    ...optional('bytes', optionalNumber(use.bytes)),
    first: text(use.first),
    last: text(use.last),
  }
}

export function readBlastRadius(output: unknown): BlastRadius | undefined {
  const value = fields(output)
  if (value === undefined) return undefined
  return {
    window: readWindow(value.window),
    couldReach: list(value.couldReach).map((reach) => ({
      system: text(reach.system),
      kind: text(reach.kind),
      via: text(reach.via),
      ...optional('way', Array.isArray(reach.way) ? texts(reach.way) : undefined),
      access: text(reach.access),
      data: texts(reach.data),
      ...optional('classification', optionalText(reach.classification)),
      ...optional('owner', optionalText(reach.owner)),
      ...optional('permissions', Array.isArray(reach.permissions) ? readPermissions(reach.permissions) : undefined),
    })),
    didReach: list(value.didReach).map((reach) => ({
      system: text(reach.system),
      // What is not said to be covered counts as not seen by any log.
      coverage: oneOf(reach.coverage, ['accessed', 'not-seen', 'no-visibility'] as const, 'no-visibility'),
      calls: number(reach.calls),
      rows: number(reach.rows),
      bytes: number(reach.bytes),
      data: texts(reach.data),
    })),
    left: list(value.left).map((left) => ({
      caller: text(left.caller),
      calls: number(left.calls),
      ...optional('rows', optionalNumber(left.rows)),
      ...optional('bytes', optionalNumber(left.bytes)),
    })),
    exposed: list(value.exposed).map((exposed) => ({
      context: text(exposed.context),
      caller: text(exposed.caller),
      calls: number(exposed.calls),
      ...optional('bytes', optionalNumber(exposed.bytes)),
      parameters: list(exposed.parameters).map((parameter) => ({
        name: text(parameter.name),
        calls: number(parameter.calls),
        bytes: number(parameter.bytes),
      })),
      before: list(exposed.before).map((before) => ({
        server: text(before.server),
        tool: text(before.tool),
        calls: number(before.calls),
        data: texts(before.data),
      })),
    })),
    suspect: list(value.suspect).map((suspect) => ({
      record: text(suspect.record),
      server: text(suspect.server),
      tool: text(suspect.tool),
      at: text(suspect.at),
      hop: number(suspect.hop),
      by: oneOf(suspect.by, ['session', 'trace', 'idle-gap', 'inferred'] as const, 'inferred'),
      chain: texts(suspect.chain),
      ...optional('context', optionalText(suspect.context)),
      ...optional('resource', optionalText(suspect.resource)),
    })),
    hubs: list(value.hubs).map((hub) => ({
      context: text(hub.context),
      kind: oneOf(hub.kind, ['account', 'resource'] as const, 'account'),
      contexts: number(hub.contexts),
      calls: number(hub.calls),
    })),
    worst: list(value.worst).map((one) => ({ record: text(one.record), why: text(one.why) })),
    dataClasses: texts(value.dataClasses),
    owners: texts(value.owners),
    gaps: texts(value.gaps),
  }
}

function readPermissions(value: unknown): readonly Grant[] {
  return list(value).map((permission) => ({
    // What nobody knows is shown where it is looked at.
    group: oneOf(permission.group, ['read data', 'change', 'escalate', 'persist'] as const, 'escalate'),
    actions: texts(permission.actions),
    ...optional('more', optionalNumber(permission.more)),
    resources: texts(permission.resources),
    ...optional('except', Array.isArray(permission.except) ? texts(permission.except) : undefined),
    conditional: permission.conditional === true,
    ...optional('condition', optionalText(permission.condition)),
  }))
}

export function readCredentials(output: unknown): readonly CredentialState[] {
  return list(fields(output)?.credentials).map((credential) => {
    const delivered = fields(credential.delivered)
    return {
      id: text(credential.id),
      kind: text(credential.kind),
      state: oneOf(credential.state, ['dead', 'expires', 'alive', 'unknown'] as const, 'unknown'),
      proof: text(credential.proof),
      ...optional('until', optionalText(credential.until)),
      sharedWith: texts(credential.sharedWith),
      ...optional(
        'delivered',
        delivered === undefined
          ? undefined
          : {
              kind: text(delivered.kind),
              path: text(delivered.path),
              ...optional('version', optionalNumber(delivered.version) ?? optionalText(delivered.version)),
            },
      ),
    }
  })
}

export function readRedeployment(output: unknown, state: string): Redeployment | undefined {
  const value = fields(output)
  if (value === undefined) return undefined
  const verification = fields(value.verification) ?? fields(fields(value.artifact)?.verdict)
  const rootCause = optionalText(value.rootCause)
  const unverifiable = optionalText(value.acceptedUnverifiable)
  return {
    state,
    deployments: list(value.deployments).map((deployment) => ({
      deployment: text(deployment.deployment),
      version: text(deployment.version),
      toolsDigest: text(deployment.toolsDigest),
      tools: texts(deployment.tools),
      url: optionalText(deployment.url),
      state: text(deployment.state),
    })),
    verification:
      verification === undefined
        ? undefined
        : {
            state: text(verification.state),
            sha256: optionalText(verification.sha256),
            observed: list(verification.observed).map(readObservation),
            reasons: texts(verification.reasons),
          },
    tampered: list(value.deployments).flatMap((deployment) =>
      readTampered(text(deployment.deployment), deployment.tampered),
    ),
    rootCause,
    exceptions: [
      ...(rootCause === undefined
        ? []
        : [`Root cause recorded, with which the compromised digest is no longer refused: ${rootCause}`]),
      ...(unverifiable === undefined ? [] : [`A build that cannot be verified was allowed: ${unverifiable}`]),
    ],
  }
}

function readTampered(deployment: string, value: unknown): string[] {
  const difference = fields(value)
  if (difference === undefined) return []
  const kinds = ['changed', 'added', 'removed'] as const
  const lines = kinds.flatMap((kind) => texts(difference[kind]).map((path) => `${deployment}: ${kind}: ${path}`))
  if (difference.cut === true) lines.push(`${deployment}: there is more, the list was cut`)
  if (lines.length === 0) return [`${deployment}: no file differs from the verified build`]
  return [...lines, `${deployment}: unchanged: ${plural(number(difference.same), 'file')}`]
}

function readObservation(value: Fields): Observation {
  return { claim: text(value.claim), seen: text(value.seen), holds: value.holds === true }
}

function readWindow(value: unknown): { since: string; until: string } {
  const window = fields(value) ?? {}
  return { since: text(window.since), until: text(window.until) }
}

function fields(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined
}

function list(value: unknown): Fields[] {
  return Array.isArray(value) ? value.map(fields).filter((entry) => entry !== undefined) : []
}

function text(value: unknown): string {
  return optionalText(value) ?? ''
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.flatMap((entry) => optionalText(entry) ?? []) : []
}

function optionalText(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined
}

function number(value: unknown): number {
  return optionalNumber(value) ?? 0
}

function optionalNumber(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}

function oneOf<const T extends string>(value: unknown, known: readonly T[], otherwise: T): T {
  return known.find((one) => one === value) ?? otherwise
}

function optional<K extends string, V>(key: K, value: V | undefined): { [key in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [key in K]?: V })
}
