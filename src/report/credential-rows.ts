import type { LineOf } from '../case/events.ts'
import type { Run } from './facts.ts'
import type { CredentialRow } from './model.ts'
import { readCredentials } from './outputs.ts'
import { isFinished } from './standing.ts'
import { unique } from './words.ts'

/** One row per credential that the registry or a step names: the old one and the new one apart. */
export function buildCredentials(
  opened: LineOf<'case.opened'>,
  runs: readonly Run[],
  byUse: ReadonlyMap<string, unknown>,
): CredentialRow[] {
  const revoked = new Map(readCredentials(byUse.get('credentials.revoke')).map((state) => [state.id, state]))
  const rotated = new Map(readCredentials(byUse.get('credentials.rotate')).map((state) => [state.id, state]))
  const kinds = new Map<string, string>(opened.data.server.credentials.map(({ id, kind }) => [id, kind]))
  for (const { id, kind } of [...revoked.values(), ...rotated.values()]) if (!kinds.has(id)) kinds.set(id, kind)
  const reinstated = runs.findLastIndex((run) => run.use === 'credentials.reinstate' && isFinished(run))
  const revocation = runs.findLastIndex((run) => run.use === 'credentials.revoke' && run.finished !== undefined)

  return [...kinds].map(([id, kind]) => {
    const old = revoked.get(id)
    const fresh = rotated.get(id)
    // The revocation's word, unless the rotation looked later and saw more.
    const later = fresh !== undefined && fresh.state !== 'unknown' && old?.state !== 'dead'
    const known = later ? fresh : (old ?? fresh)
    return {
      id,
      kind,
      old:
        known === undefined
          ? undefined
          : {
              state: known.state,
              proof: known.proof,
              ...(known.until === undefined ? {} : { until: known.until }),
            },
      delivered: fresh?.delivered,
      rotated: fresh?.proof,
      sharedWith: unique([...(old?.sharedWith ?? []), ...(fresh?.sharedWith ?? [])]),
      reinstated: reinstated > revocation && old !== undefined,
    }
  })
}
