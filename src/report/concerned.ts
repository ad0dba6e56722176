import type { BlastRadius } from '../blast-radius/port.ts'
import type { Line } from '../case/events.ts'
import type { Concerned, ConcernedClass } from './model.ts'
import { utc } from './words.ts'

/**
 * How many records and people, for each class of data that was or could be reached. A log counts rows, not people, so what
 * comes of it is a range that says how it was made.
 */
export function buildConcerned(lines: readonly Line[], blastRadius: BlastRadius | undefined): Concerned {
  const told = lines
    .flatMap((line) =>
      line.kind === 'note' && line.data.about === 'data-subjects'
        ? [`${line.data.text} (told by ${line.by}, ${utc(line.data.at)})`]
        : [],
    )
    .reverse()
  if (blastRadius === undefined) {
    return { classes: [], told, method: ['The blast radius was not computed in this case, so nothing was counted.'] }
  }
  const { couldReach, didReach, dataClasses } = blastRadius
  const names = [...new Set([...dataClasses, ...didReach.flatMap(({ data }) => data)])]
  return { classes: names.map((data) => concernedClass(data, couldReach, didReach)), told, method }
}

const method: readonly string[] = [
  'Records, at most: all rows that the logged calls gave out of the systems that hold the class, added up. Rows that were given out twice count twice.',
  'Records, at least: what one answer holds counts once. Among the calls on a system at least one gave the average or more, rounded up; answers of different calls may have been the same.',
  'People: at most one for each record, at least one where any record was given out. Where a record is about several people, the true number may be higher.',
  'A system that holds several classes counts in full for each. Calls of which the log does not say how many rows they gave are not in it; “What could not be seen” names them.',
]

function concernedClass(
  data: string,
  couldReach: BlastRadius['couldReach'],
  didReach: BlastRadius['didReach'],
): ConcernedClass {
  const systems = [
    ...new Set([
      ...couldReach.filter((reach) => reach.data.includes(data)).map(({ system }) => system),
      ...didReach.filter((reach) => reach.data.includes(data)).map(({ system }) => system),
    ]),
  ]
  const seen = systems.flatMap((system) => didReach.filter((reach) => reach.system === system))
  const accessed = seen.filter(({ coverage }) => coverage === 'accessed')
  const blind = systems.filter(
    (system) => !seen.some((reach) => reach.system === system && reach.coverage !== 'no-visibility'),
  )
  const atLeast = Math.max(0, ...accessed.map(({ rows, calls }) => (calls > 0 ? Math.ceil(rows / calls) : 0)))
  const sum = accessed.reduce((total, { rows }) => total + rows, 0)
  const atMost = systems.length === 0 || blind.length > 0 ? undefined : sum
  return {
    data,
    systems,
    records: { atLeast, atMost },
    people: { atLeast: Math.min(1, atLeast), atMost },
    note:
      systems.length === 0
        ? 'The registry names no system that holds it; agents had read it elsewhere before they called.'
        : blind.length > 0
          ? `No upper bound: no log covers ${blind.join(', ')}.`
          : undefined,
  }
}
