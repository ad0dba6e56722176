import { stripVTControlCharacters } from 'node:util'

/**
 * Breaks text, which must be inert already, between words; lines after the first are indented by `indent`. Colours do not
 * count.
 */
export function wrap(text: string, width: number, indent: string): string {
  const lines: string[] = []
  const lead = /^ */.exec(text)?.[0] ?? ''
  const [first = '', ...words] = text.slice(lead.length).split(' ')
  let line = lead + first
  let length = visible(line)
  for (const word of words) {
    if (length + 1 + visible(word) > width) {
      lines.push(line)
      line = indent + word
    } else line += ` ${word}`
    length = visible(line)
  }
  return [...lines, line].join('\n')
}

function visible(text: string): number {
  return stripVTControlCharacters(text).length
}
