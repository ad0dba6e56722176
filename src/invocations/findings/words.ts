import { number } from '../../ui/format.ts'
import { safe } from '../../ui/safe-text.ts'
import type { Names, Selected } from './port.ts'
import type { Span } from './suspicion.ts'

export function shown(name: string): string {
  return safe(name, 80)
}

/** `10 are usual`, `none is usual`. */
export function usualWords(n: number): string {
  return n === 0 ? 'none is usual' : `${number(n)} ${n === 1 ? 'is' : 'are'} usual`
}

/** `2026-11-20 14:02 UTC`; of microseconds. */
export function minute(time: number): string {
  return `${new Date(Math.floor(time / 1000)).toISOString().slice(0, 16).replace('T', ' ')} UTC`
}

/** `from 2026-11-20 14:02 to 15:40 UTC`. */
export function between({ first, last }: Span): string {
  const [from, to] = [minute(first), minute(last)]
  if (from === to) return `at ${from}`
  return from.slice(0, 10) === to.slice(0, 10)
    ? `from ${from.slice(0, 16)} to ${to.slice(11)}`
    : `from ${from} to ${to}`
}

/** Of the slots of a calendar: `between 14:00 and 15:00 on working days`. */
export function slotWords(slot: number, zone: string): string {
  const at = (hour: number) => `${String(hour % 24).padStart(2, '0')}:00`
  return `between ${at(slot)} and ${at((slot % 24) + 1)} (${zone}) on ${slot < 24 ? 'working days' : 'days off'}`
}

/** `, by mallory (new) and 2 others, from 203.0.113.9 (new)`; empty where the log does not say. */
export function whoAndWhence({ callers, addresses }: Selected): string {
  return `${part(', by ', callers)}${part(', from ', addresses)}`
}

function part(lead: string, { list, others }: Names): string {
  if (list.length === 0) return ''
  const names = list.map(({ name, isNew }) => `${shown(name)}${isNew ? ' (new)' : ''}`)
  return `${lead}${listed(names, others)}`
}

/** `a, b and c`, `a, b and 3 more`. */
export function listed(names: readonly string[], more = 0): string {
  const all = more > 0 ? [...names, `${number(more)} more`] : names
  return all.length < 2 ? all.join('') : `${all.slice(0, -1).join(', ')} and ${all.at(-1)}`
}
