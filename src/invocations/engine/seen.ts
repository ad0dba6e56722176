import { number } from '../../ui/format.ts'
import { whole } from './counts.ts'
import type { Job } from './ingest.ts'

/** What is wrong with the few lines of a log that were looked at; empty when they are calls of the format. */
export async function seenIn({ database, format }: Job): Promise<readonly string[]> {
  const [seen] = await database.rows(
    'SELECT count(*) AS lines, count_if(readable) AS readable, count_if(is_call) AS calls, count_if(is_call AND t IS NULL) AS timeless FROM lines',
  )
  const lines = whole(seen?.lines)
  const none = `None of the first ${number(lines)} lines of the invocation log`
  if (lines === 0) return []
  if (whole(seen?.readable) === 0) return [`${none} is JSON.`]
  if (whole(seen?.calls) === 0) return [`${none} is a tool call in the format ${format.name}.`]
  if (whole(seen?.timeless) === whole(seen?.calls))
    return [`${none} has a time where the format ${format.name} has it.`]
  return []
}
