import type { Line } from '../case/events.ts'
import { type CaseFiles, journalName, receiptsName } from '../case/files.ts'
import { readJournal } from '../case/journal.ts'
import { fold } from '../case/state.ts'
import type { Config } from '../config.ts'
import { IrError } from '../errors.ts'
import { assertTrusted } from '../trust.ts'
import { loadAnchor } from './index.ts'
import type { Head, KnownHead } from './port.ts'
import { type Attempt, parseAttempts } from './receipts.ts'

export interface AnchorCheck {
  /** Name of the anchor. */
  readonly anchor: string
  /** How many heads it knows of this case. */
  readonly heads: number
  /** The last line that it vouches for, when all of them are in the journal. */
  readonly upTo: KnownHead | undefined
  readonly damage: readonly { readonly place: string; readonly what: string }[]
  /** What is no damage, and should be known. */
  readonly notes: readonly string[]
}

/** How far two clocks may be apart before it is told. */
const toleranceMs = 5 * 60_000

/**
 * Compares a journal, whose chain holds, with what is known of it off the host.
 * @throws IrError input when no anchor is configured; refused when the configuration is not trusted; unreachable, denied
 */
export async function checkAnchor(config: Config, files: CaseFiles, signal: AbortSignal): Promise<AnchorCheck> {
  if (config.anchor === undefined)
    throw new IrError('input', 'The configuration names no anchor to compare with.', {
      hints: ['Add `anchor: {kind: …}` to mcp-ir.yaml; docs/case.md says what it can be.'],
    })
  await assertTrusted(config, 'the anchor of the journal')
  const anchor = await loadAnchor(config.anchor)
  const { lines } = readJournal((await files.read(journalName)) ?? Buffer.alloc(0))
  const { id } = fold(lines)
  const attempts = parseAttempts((await files.read(receiptsName))?.toString('utf8') ?? '', id)
  const own = attempts.filter((one) => one.anchor === anchor.name)
  const answered = own.flatMap(({ head, receipt }) => (receipt === undefined ? [] : [{ head, receipt }]))
  const { heads, wrong } = await anchor.known(id, answered, signal)
  const damage = [
    ...compare(lines, heads),
    ...lost(answered, heads).map((what) => ({ place: anchor.name, what })),
    ...wrong.map((what) => ({ place: 'anchors.ndjson', what })),
  ]
  const upTo = damage.length > 0 ? undefined : heads.toSorted((a, b) => a.seq - b.seq).at(-1)
  return { anchor: anchor.name, heads: heads.length, upTo, damage, notes: notes(lines, upTo, heads, own) }
}

/** The first place at which the journal is not the one that was anchored. */
function compare(lines: readonly Line[], heads: readonly Head[]): AnchorCheck['damage'] {
  const other = heads.filter(({ seq, hash }) => lines[seq - 1]?.hash !== hash).toSorted((a, b) => a.seq - b.seq)
  const [first] = other
  if (first === undefined) return []
  const place = `journal.ndjson line ${first.seq}`
  const more = other.length === 1 ? '' : ` (and ${other.length - 1} later heads)`
  return [
    lines[first.seq - 1] === undefined
      ? { place, what: `is missing, and was anchored${more}: the journal was cut short` }
      : { place, what: `is not the line that was anchored${more}: the journal was rewritten up to here` },
  ]
}

/** What the anchor once took and no longer has. */
function lost(answered: readonly { readonly head: Head }[], heads: readonly Head[]): readonly string[] {
  const known = new Set(heads.map(({ seq }) => seq))
  const gone = answered.filter(({ head }) => !known.has(head.seq)).map(({ head }) => head.seq)
  return gone.length === 0 ? [] : [`no longer has the head of line ${gone[0]}, which it took`]
}

function notes(
  lines: readonly Line[],
  upTo: KnownHead | undefined,
  heads: readonly KnownHead[],
  attempts: readonly Attempt[],
): readonly string[] {
  const told: string[] = []
  if (heads.length === 0) told.push('the anchor knows nothing of this case: there is nothing to compare with')
  const end = lines.length
  if (upTo !== undefined && upTo.seq < end) {
    const which = upTo.seq + 1 === end ? `line ${end}` : `lines ${upTo.seq + 1} to ${end}`
    told.push(`nothing vouches for ${which} yet: written after the last head that was anchored`)
  }
  const last = attempts.at(-1)
  if (last?.failed !== undefined)
    told.push(`the last try to anchor (${last.at}, line ${last.head.seq}) failed: ${last.failed}`)
  for (const { seq, at, seenAt } of heads) {
    if (seenAt === undefined || Math.abs(Date.parse(seenAt) - Date.parse(at)) <= toleranceMs) continue
    told.push(`line ${seq} says ${at}, and was anchored at ${seenAt} by the anchor's own clock`)
  }
  return told
}
