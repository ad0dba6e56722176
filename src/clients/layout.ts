import { Uneditable } from './tree.ts'

/** A stretch of a text: from the first character to the one after the last. */
export interface Range {
  readonly from: number
  readonly to: number
}

const isBlank = (character: string | undefined): boolean => character === ' ' || character === '\t'
const isBreak = (character: string | undefined): boolean => character === '\n' || character === '\r'

/** The text without the ranges, which do not overlap. */
export function without(text: string, ranges: readonly Range[]): string {
  let kept = ''
  let at = 0
  for (const { from, to } of ranges.toSorted((a, b) => a.from - b.from)) {
    kept += text.slice(at, from)
    at = to
  }
  return kept + text.slice(at)
}

/** The range with its whole lines, line break included, if nothing else stands on them. */
export function wholeLines(text: string, { from, to }: Range): Range | undefined {
  let start = from
  while (start > 0 && isBlank(text[start - 1])) start--
  let end = to
  while (end < text.length && isBlank(text[end])) end++
  if (start > 0 && !isBreak(text[start - 1])) return undefined
  if (end < text.length && !isBreak(text[end])) return undefined
  if (text[end] === '\r' && text[end + 1] === '\n') end++
  return { from: start, to: Math.min(end + 1, text.length) }
}

/**
 * What to take out so that one part of a list with commas between goes: the part, one comma, and the blanks that would be
 * left over. Comments stay.
 * @param parts where the parts stand, in order
 * @param skip the position of the next character that is neither blank nor comment
 */
export function commaCut(
  text: string,
  parts: readonly Range[],
  index: number,
  skip: (text: string, at: number) => number,
): readonly Range[] {
  const part = parts[index]
  if (part === undefined) throw new TypeError('no such part')
  const next = skip(text, part.to)
  if (text[next] === ',') {
    if (text.slice(part.to, next).trim() !== '') return [part, { from: next, to: next + 1 }]
    return [tidy(text, { from: part.from, to: next + 1 })]
  }
  const before = parts[index - 1]
  if (before === undefined) return [wholeLines(text, part) ?? tidyLeft(text, part)]
  const comma = skip(text, before.to)
  if (text[comma] !== ',') throw new Uneditable('a comma is not where it belongs')
  if (text.slice(comma + 1, part.from).trim() === '') {
    const both = { from: comma, to: part.to }
    return [wholeLines(text, both) ?? both]
  }
  return [{ from: comma, to: comma + 1 }, wholeLines(text, part) ?? tidyLeft(text, part)]
}

function tidy(text: string, range: Range): Range {
  const lines = wholeLines(text, range)
  if (lines !== undefined) return lines
  let { to } = range
  while (isBlank(text[to])) to++
  return isBreak(text[to]) || to === text.length ? tidyLeft(text, range) : { from: range.from, to }
}

function tidyLeft(text: string, { from, to }: Range): Range {
  let start = from
  while (start > 0 && isBlank(text[start - 1])) start--
  return { from: start, to }
}

/** Skips blanks and comments from `#` to the end of the line. */
export function skipHash(text: string, at: number): number {
  let next = at
  for (;;) {
    while (isBlank(text[next]) || isBreak(text[next])) next++
    if (text[next] !== '#') return next
    while (next < text.length && !isBreak(text[next])) next++
  }
}
