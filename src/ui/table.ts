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
    const [widest = 0, second = 0] = widths.toSorted((one, other) => other - one)
    if (excess <= 0 || widest <= narrowest) break
    // The widest gives way until it is as narrow as the next one, then both by turns.
    widths[widths.indexOf(widest)] = Math.max(narrowest, widest - excess, Math.min(second, widest - 1))
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
