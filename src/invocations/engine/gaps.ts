import type { InvocationsConfig } from '../../config.ts'
import { number } from '../../ui/format.ts'
import { fields, type LogFormat } from '../formats/format.ts'
import type { Window } from '../port.ts'
import { type Facts, instant, inWindow, type Limits, parameters, whole } from './counts.ts'
import type { Database, Row } from './database.ts'
import type { Overview } from './overview.ts'

export interface Reading {
  readonly config: InvocationsConfig
  readonly format: LogFormat
  readonly window: Window
  readonly overview: Overview
}

/** What the log did not show, in plain words. */
export async function gapsOf(database: Database, facts: Facts, limits: Limits, reading: Reading): Promise<string[]> {
  const { config, format, window, overview } = reading
  const [all = {}] = await database.rows(
    `SELECT count_if(is_call AND mine AND t IS NULL) AS timeless,
       count_if(is_call AND mine AND t > $ahead) AS future,
       count_if(NOT is_call AND mine AND ${inWindow}) AS others
     FROM lines`,
    parameters(limits),
  )
  const [copies = {}] = await database.rows(
    `SELECT count(*) AS differing FROM (
       SELECT key FROM lines WHERE is_call AND mine AND ${inWindow} AND key IN (SELECT key FROM copies) GROUP BY key
       HAVING count(*) > 1 AND count(DISTINCT hash(t, tool, caller, failed, rows, bytes, sent)) > 1)`,
    parameters(limits),
  )
  const gaps: string[] = []
  const say = (value: Row[string] | undefined, text: (n: string) => string) => {
    if (whole(value) > 0) gaps.push(text(number(whole(value))))
  }
  const of = `of ${number(facts.records)} records`

  if (overview.linesInWindow === 0) {
    gaps.push(
      `The log holds no line at all between ${window.since} and ${window.until}: it shows nothing, which is not the same as that nothing happened.`,
    )
  } else {
    const first = instant(overview.first)
    if (first !== undefined && first > window.since)
      gaps.push(
        `The log begins at ${first}, after the start of the window (${window.since}): what came before was not seen.`,
      )
    gaps.push(...overview.silences)
    if (facts.records === 0)
      gaps.push(
        'The log holds lines of the window, but no call of this server: compare its name and aliases in the registry with those in the log.',
      )
  }
  if (format.ahead !== undefined)
    gaps.push(
      `The clock of this log is taken to be ${config.offset} ahead (offset in mcp-ir.yaml): all times were set back by that, but in the raw records.`,
    )
  if (config.writer === 'server')
    gaps.push('The log was written by the suspect server itself: it may have left out or made up anything.')
  if (format.fields.server === undefined)
    gaps.push('The log names no servers: every call in it was taken for one of this server.')
  say(all.timeless, (n) => `Not counted, for want of a time that can be read: ${n} calls of this server.`)
  say(all.future, (n) => `In the future, so that some clock is wrong: ${n} calls of this server.`)
  say(
    overview.nameless,
    (n) => `Not counted, because they do not say which server they went to: ${n} calls in the window.`,
  )
  say(
    all.others,
    (n) =>
      `Not counted, because they are no tool calls (resources, prompts, lists …): ${n} other lines of this server in the window.`,
  )
  say(facts.copies, (n) => `Counted once though they were there more than once: ${n} copies.`)
  say(
    copies.differing,
    (n) =>
      `Of copies with the same id that differ from each other the first was kept: ${n} ids. An id that is used twice can hide a call.`,
  )
  say(facts.bare, (n) => `Without parameters, so that it cannot be told what was sent to the server: ${n} ${of}.`)
  say(
    facts.sizeless,
    (n) => `Without a response or its size, so that it cannot be told how much they gave away: ${n} ${of}.`,
  )
  say(facts.undecided, (n) => `Without a word on whether the call succeeded: ${n} ${of}.`)
  say(facts.anonymous, (n) => `Without a word on who called: ${n} ${of}.`)
  const lacking = fields.filter(
    (field) =>
      format.fields[field] === undefined &&
      !derived.has(field) &&
      !(field === 'outcome' && format.failures !== undefined),
  )
  if (lacking.length > 0) gaps.push(`The format ${format.name} does not carry: ${lacking.join(', ')}.`)
  return [...gaps, ...(format.notes ?? [])]
}

/** Counted from the response where the log does not say them. */
const derived = new Set<string>(['rows', 'bytes', 'id', 'server'])
