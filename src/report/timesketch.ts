import { jsonLine } from './escape.ts'
import type { Entry, Lane, Mark, Report } from './model.ts'
import { tlpLabel } from './tlp.ts'

const lanes: Readonly<Record<Lane, string>> = { attacker: 'Attacker', system: 'System', responder: 'Responder' }
const marks: Readonly<Record<Mark, string>> = {
  observed: 'observed',
  inferred: 'inferred',
  told: 'told by a person',
  done: 'done by a responder',
}

/**
 * The timeline as Timesketch imports it: JSON lines with `message`, `datetime` and `timestamp_desc`, and what tells entries
 * apart. What lasted has an entry for its end, too.
 * @see https://timesketch.org/guides/user/import-from-json-csv/
 */
export function renderTimesketch(report: Report): string {
  return report.timeline
    .flatMap((entry) => (entry.until === undefined ? [entry] : [entry, { ...entry, at: entry.until, ends: true }]))
    .map((entry) => line(report, entry))
    .join('')
}

function line(report: Report, entry: Entry & { readonly ends?: boolean }): string {
  return jsonLine({
    message: entry.ends === true ? `End of: ${entry.text}` : entry.text,
    datetime: entry.at,
    timestamp_desc: `${lanes[entry.lane]}, ${marks[entry.mark]}`,
    lane: entry.lane,
    mark: entry.mark,
    by: entry.by,
    step: entry.step,
    journal_line: entry.seq,
    tlp: tlpLabel(report.tlp),
    case: report.case.id,
    server: report.case.server.name,
  })
}
