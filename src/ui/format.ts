/** 850 ms → `0.9 s`; 75 s → `1 min 15 s`; 2 h 4 min → `2 h 4 min`. */
export function duration(milliseconds: number): string {
  if (milliseconds < 10_000) return `${(milliseconds / 1000).toFixed(1)} s`
  const seconds = Math.round(milliseconds / 1000)
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return seconds % 60 === 0 ? `${minutes} min` : `${minutes} min ${seconds % 60} s`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`
  return hours % 24 === 0 ? `${Math.floor(hours / 24)} days` : `${Math.floor(hours / 24)} days ${hours % 24} h`
}

let english: Intl.NumberFormat | undefined

/**
 * `1,234,567`. One formatter for all: `toLocaleString` makes a new one for each number, and a plan has thousands. The first one takes
 * 17 ms, so it is made when there is a number.
 */
export function number(n: number): string {
  english ??= new Intl.NumberFormat('en')
  return english.format(n)
}

/** `1 change`, `3 changes`. */
export function count(n: number, one: string, many = `${one}s`): string {
  return `${number(n)} ${n === 1 ? one : many}`
}

/** `2026-11-23 02:11:08 UTC` */
export function moment(instant: string | Date): string {
  return `${new Date(instant).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}
