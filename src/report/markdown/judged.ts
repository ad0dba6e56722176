import { code, md } from '../escape.ts'
import type { Report } from '../model.ts'
import { range } from '../notice-content.ts'
import { items, table, time } from './parts.ts'

export function duties({ duties: laws }: Report): string[] {
  if (laws.length === 0) return ['## Duties to notify', 'No law is named whose clocks are to be shown.']
  return [
    '## Duties to notify',
    'Counted by the hour; weekends and holidays are not taken into account. Whether a duty applies is for people to say.',
    ...laws.flatMap(({ label, applies, notices }) => [
      `### ${label}`,
      applies,
      table(
        ['Notice', 'Due', 'Counted from', 'State'],
        notices.map((notice) => [
          `${notice.label}: ${notice.rule}`,
          notice.due === undefined
            ? 'nothing to count from'
            : `${time(notice.due)}${notice.assumed ? ' (assumed)' : ''}`,
          md(notice.counted),
          notice.sent === undefined
            ? 'not recorded as sent'
            : `**${notice.state}** ${time(notice.sent.at)} by ${md(notice.sent.by)}: ${md(notice.sent.text)}`,
        ]),
      ),
      ...notices
        .filter(({ content }) => content.length > 0)
        .flatMap((notice) => [
          `#### ${notice.label}: what it has to say`,
          table(
            ['Part', 'Article', 'Known so far'],
            notice.content.map(({ label: part, article, ifAny, known, record }) => [
              `${part}${ifAny ? ' (if any)' : ''}`,
              article,
              known.length > 0
                ? known.map(md).join('; ')
                : `**${ifAny ? 'nothing known' : 'missing'}**${record === undefined ? '' : `, say it with ${code(record)}`}`,
            ]),
          ),
        ]),
    ]),
  ]
}

const states = { bad: '**stands open**', partly: 'to finish', unknown: 'to settle' } as const

export function risks({ risks: rows }: Report): string[] {
  return [
    '## What remains',
    table(
      ['What remains', 'State', 'Next step'],
      rows.map(({ state, what, next, command }) => [
        md(what),
        states[state],
        `${next}${command === undefined ? '' : ` ${code(command)}`}`,
      ]),
      'Nothing is known to remain.',
    ),
  ]
}

export function rootCause({ rootCause: { text, by, at, observed } }: Report): string[] {
  const who = [by === undefined ? '' : md(by), at === undefined ? '' : time(at)].filter((part) => part !== '')
  return [
    '## Root cause',
    text === undefined
      ? `Not established. To record it: ${code('mcp-ir case note TEXT --about root-cause')}`
      : `${md(text)} (told by a person${who.length === 0 ? '' : `: ${who.join(', ')}`})`,
    observed.length === 0 ? '' : '### What was seen that bears on it',
    items(observed.map(md)),
  ]
}

export function concerned({ concerned: { classes, told, method } }: Report): string[] {
  return [
    '## Data concerned',
    items(told.map(md)),
    table(
      ['Data', 'Held by', 'Records', 'People', 'Remark'],
      classes.map(({ data, systems, records, people, note }) => [
        md(data),
        systems.map(md).join(', '),
        range(records),
        range(people),
        note === undefined ? '' : md(note),
      ]),
      'No class of data is known to be concerned.',
    ),
    '### How this was counted',
    items([...method]),
  ]
}

export function mappings({ mappings: rows }: Report): string[] {
  return [
    '## In the terms of others',
    table(
      ['Framework', 'Category', 'Name', 'In this case'],
      rows.map(({ framework, id, name, shown }) => [
        framework,
        id,
        name,
        shown.length === 0 ? 'no mapping' : shown.map(md).join('; '),
      ]),
    ),
  ]
}
