const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** Milliseconds by which the clock of a log is ahead, from `offset` in the configuration: `90s`, `-2m`. */
export function aheadBy(offset: string | undefined): number {
  const [, amount = '0', unit = 'ms'] = /^([+-]?\d+)(ms|s|m|h)$/.exec(offset ?? '') ?? []
  return Number(amount) * (units[unit] ?? 1)
}

/** What a log is called where it must not be taken for the same one read by another clock. */
export function withOffset(name: string, offset: string | undefined): string {
  return aheadBy(offset) === 0 ? name : `${name} (offset ${offset})`
}
