import { md } from '../escape.ts'
import { utc } from '../words.ts'

/** What is no time is outside text. */
export function time(at: string): string {
  return Number.isNaN(Date.parse(at)) ? md(at) : utc(at)
}

/** Cells are Markdown already. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], none = ''): string {
  if (rows.length === 0) return none
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => (cell === '' ? '–' : cell)).join(' | ')} |`
  return [`| ${head.join(' | ')} |`, `|${' --- |'.repeat(head.length)}`, ...rows.map(line)].join('\n')
}

export function items(lines: readonly string[], none = ''): string {
  return lines.length === 0 ? none : lines.map((line) => `- ${line}`).join('\n')
}
