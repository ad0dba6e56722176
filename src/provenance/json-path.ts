/**
 * Looks into JSON that somebody else wrote: what is not there, or is something else, is undefined. Signed documents are
 * few and small, and a schema library takes a tenth of the time of a whole verification to load.
 */
export function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  return path.reduce((here, key) => {
    return typeof here === 'object' && here !== null && Object.hasOwn(here, key)
      ? (here as Record<string | number, unknown>)[key]
      : undefined
  }, value)
}

export function textAt(value: unknown, ...path: readonly (string | number)[]): string | undefined {
  const found = at(value, ...path)
  return typeof found === 'string' ? found : undefined
}

export function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : []
}
