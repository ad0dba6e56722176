import { safe } from '../ui/safe-text.ts'

/**
 * The only way from text to markup. Everything that goes into `html` is escaped unless it came out of `html` or `trusted`;
 * everything that goes into Markdown goes through `md`.
 */

/** Longest text shown in one place; `report.json` has all of it. */
const limit = 2000

/** Markup that was made here. Cannot be made by accident: not a string. */
export class Html {
  readonly markup: string
  constructor(markup: string) {
    this.markup = markup
  }
}

type Part = Html | string | number | undefined | false | readonly Part[]

/** Template tag: literal parts are markup, values are text (in attributes too, which must be quoted). */
export function html(literals: TemplateStringsArray, ...values: readonly Part[]): Html {
  return new Html(literals.reduce((markup, literal, index) => `${markup}${render(values[index - 1])}${literal}`))
}

/** For markup that no outside text can have shaped: the style sheet, and charts that escape their labels themselves. */
export function trusted(markup: string): Html {
  return new Html(markup)
}

function render(part: Part): string {
  if (part === undefined || part === false) return ''
  if (part instanceof Html) return part.markup
  if (Array.isArray(part)) return part.map(render).join('')
  return escapeHtml(String(part))
}

/** Line breaks of text that people wrote are kept; every other control character becomes visible. */
function escapeHtml(text: string): string {
  return lines(text)
    .join('\n')
    .replace(/[&<>"'`]/g, (character) => `&#${character.charCodeAt(0)};`)
}

/**
 * What some renderer somewhere makes a link of although nobody marked it as one: schemes and emoji (a colon within a word),
 * www, mail addresses and mentions, bare domains and addresses.
 */
const linkLike = /:\S|www|@|[\p{L}\p{N}]\.\p{L}|\d\.\d+\.\d+\.\d/iu
const timeOfDay = /^\d\d:\d\d:\d\d$/
/** Marks that mean something anywhere in a line; parentheses and commas are left readable, since they mean nothing alone. */
const inline = /[\\`*_{}[\]<>#!|~$^=&]/g
/** At the start of a line more do: lists, headings, definitions. */
const anywhere = /[!-/:-@[-`{-~]/g
const wrapped = /^(["'(“]*)(.*?)([)"'”.,;:?]*)$/u

/**
 * Text as inert Markdown for one table cell, list item or paragraph: words keep their look with their marks escaped, and
 * whatever a renderer could take for a link goes into a code span, since escapes do not stop auto-linking.
 */
export function md(text: string): string {
  return lines(text)
    .join(' ⏎ ')
    .trim()
    .split(/\s+/u)
    .filter((word) => word !== '')
    .map((word, index) => {
      if (timeOfDay.test(word)) return word
      if (!linkLike.test(word)) return word.replace(index === 0 ? anywhere : inline, '\\$&')
      const [, before = '', core = '', after = ''] = wrapped.exec(word) ?? []
      return core === '' ? code(word) : `${before}${code(core)}${after}`
    })
    .join(' ')
}

/** A code span that its content cannot leave, in a table cell neither. */
export function code(text: string): string {
  const content = lines(text).join('\\u{a}').replaceAll('|', '\\u{7c}')
  if (content.trim() === '') return '–'
  const longest = Math.max(0, ...[...content.matchAll(/`+/g)].map((run) => run[0].length))
  const fence = '`'.repeat(longest + 1)
  const pad = /^[`\s]|[`\s]$/u.test(content) ? ' ' : ''
  return `${fence}${pad}${content}${pad}${fence}`
}

/** JSON whose strings hold no control, format or bidirectional character as such: it may be looked at on a terminal. */
export function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2).replace(unseen, escapeUnits)}\n`
}

/** The same in one line. */
export function jsonLine(value: unknown): string {
  return `${JSON.stringify(value).replace(unseen, escapeUnits)}\n`
}

const unseen = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu

function escapeUnits(character: string): string {
  if (character === '\n') return character // between the values; within strings it is escaped already
  return Array.from(
    { length: character.length },
    (_, index) => `\\u${character.charCodeAt(index).toString(16).padStart(4, '0')}`,
  ).join('')
}

function lines(text: string): string[] {
  const cut =
    text.length > limit ? `${text.slice(0, limit)}… (${text.length} characters, all of it in report.json)` : text
  return cut.split(/\r?\n/).map((line) => safe(line, Number.POSITIVE_INFINITY))
}
