import type { Config } from './config.ts'

export type Hours = NonNullable<Config['hours']>

const week = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']

/** Whether a moment lies outside of the working hours, in their own time zone. A day's hours may run over midnight. */
export function isOutside({ zone, days, from, to }: Hours, at: Date): boolean {
  const parts = new Intl.DateTimeFormat('en-GB', {
    timeZone: zone,
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  }).formatToParts(at)
  const part = (type: string): string => parts.find((one) => one.type === type)?.value ?? ''
  const time = `${part('hour')}:${part('minute')}`
  const today = week.indexOf(part('weekday').slice(0, 3).toLowerCase())
  const isDay = (day: number): boolean => workdays(days).has((day + 7) % 7)
  if (from < to) return !(isDay(today) && time >= from && time < to)
  // After midnight it is still the shift of the day before.
  return !((isDay(today) && time >= from) || (isDay(today - 1) && time < to))
}

/** `mon-fri` or `mon,wed,sat`, as numbers from Sunday on. */
export function workdays(days: string): ReadonlySet<number> {
  return new Set(
    days.split(',').flatMap((range) => {
      const [first, last = first] = range.split('-').map((day) => week.indexOf(day))
      const length = (((last ?? 0) - (first ?? 0) + 7) % 7) + 1
      return Array.from({ length }, (_, index) => ((first ?? 0) + index) % 7)
    }),
  )
}
