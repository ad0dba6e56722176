/** Quantities as people read them; the same everywhere in the report, independent of locale and time zone. */

/** `2026-11-23 02:11:08 UTC`; what is no time is given back as it is. */
export function utc(at: string): string {
  const time = new Date(at)
  return Number.isNaN(time.getTime()) ? at : `${time.toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

/** `3 d 4 h`, `1 h 4 min`, `12 s`, `340 ms`: the two largest units. */
export function duration(ms: number): string {
  const whole = Math.abs(Math.round(ms))
  if (whole < 1000) return `${whole} ms`
  if (whole < 10_000) return `${(whole / 1000).toFixed(1).replace(/\.0$/, '')} s`
  const seconds = Math.round(whole / 1000)
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ] as const
  const first = parts.findIndex(([count]) => count > 0)
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(' ')
}

/** `1,234,567` */
export function count(value: number): string {
  return Math.trunc(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ',')
}

/** `1 call`, `2,000 calls` */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`
}

/** `512 B`, `1.2 kB`, `3.4 MB`: decimal units. */
export function bytes(value: number): string {
  const units = ['kB', 'MB', 'GB', 'TB', 'PB']
  if (value < 1000) return `${Math.trunc(value)} B`
  let scaled = value / 1000
  let unit = 0
  while (scaled >= 999.95 && unit < units.length - 1) {
    scaled /= 1000
    unit += 1
  }
  return `${scaled.toFixed(1)} ${units[unit]}`
}

/** `All 3 observations hold`, `2 of 3 observations hold`, `The one observation holds` */
export function holds(holding: number, all: number): string {
  if (all === 1) return holding === 1 ? 'The one observation holds' : 'The one observation does not hold'
  if (holding === all) return all === 2 ? 'Both observations hold' : `All ${count(all)} observations hold`
  return `${holding === 0 ? 'None' : count(holding)} of ${count(all)} observations ${holding === 1 ? 'holds' : 'hold'}`
}

/** How the state of a credential is known, in the words of a reader; what the adapters say in their own words stays. */
export function proven(proof: string): string {
  const words = new Map([
    ['probed', 'seen by trying it on the real system'],
    ['issuer says so', 'by the word of its issuer'],
  ])
  return words.get(proof) ?? proof
}

/** First letter up. */
export function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1)
}

/** Each once, in the order in which they come. */
export function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)]
}
