import Table from 'cli-table3'
import { safe } from './safe-text.ts'

/** Empty borders: columns that line up are enough, and copy well. */
const plain = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
}

/**
 * An aligned table; every cell is made inert. When it would be wider than `width`, its widest column wraps.
 * @param rows cells of text, as many as there are heads; without any head there is no head line
 */
export function table(heads: readonly string[], rows: readonly (readonly string[])[], width = 100): string {
  const cells = rows.map((row) => row.map((cell) => safe(cell)))
  const widths = heads.map((head, column) => Math.max(head.length, ...cells.map((row) => row[column]?.length ?? 0)))
  const gaps = 2 * (heads.length - 1)
  for (;;) {
    const excess = widths.reduce((sum, each) => sum + each, gaps) - width
    const widest = Math.max(...widths)
    if (excess <= 0 || widest <= narrowest) break
    const next = Math.max(narrowest, ...widths.filter((each) => each < widest))
    widths[widths.indexOf(widest)] = Math.max(widest - excess, Math.min(next, widest - 1))
  }
  const drawn = new Table({
    chars: plain,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0, compact: true },
    colWidths: widths,
    wordWrap: true,
    wrapOnWordBoundary: true,
    ...(heads.some((head) => head !== '') ? { head: [...heads] } : {}),
  })
  for (const row of cells) drawn.push(row)
  return drawn
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
}

/** No column is made narrower than this. */
const narrowest = 12

/** Breaks text, which must be inert already, between words; lines after the first are indented by `indent`. */
export function wrap(text: string, width: number, indent: string): string {
  const lines: string[] = []
  const lead = /^ */.exec(text)?.[0] ?? ''
  const [first = '', ...words] = text.slice(lead.length).split(' ')
  let line = lead + first
  for (const word of words) {
    if (line.length + 1 + word.length > width) {
      lines.push(line)
      line = indent + word
    } else line += ` ${word}`
  }
  return [...lines, line].join('\n')
}
