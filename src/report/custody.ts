import type { Line } from '../case/events.ts'
import { evidenceOf } from '../case/state.ts'
import type { Custodian, EvidenceRow } from './model.ts'

export function buildEvidence(lines: readonly Line[]): EvidenceRow[] {
  const stored = new Map(
    lines.flatMap((line) => (line.kind === 'evidence.stored' ? [[`${line.data.sha256} ${line.data.name}`, line]] : [])),
  )
  return evidenceOf(lines).map(({ name, sha256, bytes, mediaType }) => {
    const line = stored.get(`${sha256} ${name}`)
    return { name, sha256, bytes, mediaType, at: line?.at ?? '', by: line?.by ?? '', step: line?.step, seq: line?.seq }
  })
}

/** Who held the case: everybody who wrote into its journal. */
export function buildCustody(lines: readonly Line[]): Custodian[] {
  const people = new Map<string, Custodian>()
  for (const { by, at, kind } of lines) {
    const before = people.get(by) ?? { by, first: at, last: at, lines: 0, evidence: 0 }
    people.set(by, {
      ...before,
      last: at,
      lines: before.lines + 1,
      evidence: before.evidence + (kind === 'evidence.stored' ? 1 : 0),
    })
  }
  return [...people.values()]
}
