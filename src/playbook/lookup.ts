const whole = /^\$\{([A-Za-z][\w-]*(?:\.[\w-]+)*)\}$/
const inside = /\$\{([^}]*)\}/g

/** Whether a text is one look-up and nothing else. */
export function isLookup(text: string): boolean {
  return whole.test(text)
}

/** Every look-up in a value, with its place. */
export function lookupsIn(
  value: unknown,
  path: (string | number)[] = [],
): { path: (string | number)[]; lookup: string }[] {
  if (typeof value === 'string') return [...value.matchAll(inside)].map((match) => ({ path, lookup: match[1] ?? '' }))
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, part]) =>
    lookupsIn(part, [...path, Array.isArray(value) ? Number(key) : key]),
  )
}

/**
 * Replaces `${a.b.c}` by what stands there in `document`. A path look-up and nothing more: no calls, no operators, own
 * properties only. A text that is one look-up takes the value as it is; inside a longer text only plain values are taken.
 */
export function resolve(value: unknown, document: unknown): unknown {
  if (typeof value === 'string') {
    const only = whole.exec(value)
    if (only !== null) return lookup(only[1] ?? '', document)
    return value.replace(inside, (_, path: string) => {
      const found = lookup(path, document)
      return typeof found === 'string' || typeof found === 'number' || typeof found === 'boolean' ? String(found) : ''
    })
  }
  if (Array.isArray(value)) return value.map((part) => resolve(part, document))
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(
      Object.entries(value)
        .map(([key, part]) => [key, resolve(part, document)] as const)
        .filter(([, part]) => part !== undefined),
    )
  }
  return value
}

function lookup(path: string, document: unknown): unknown {
  let found = document
  for (const key of path.split('.')) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, key)) return undefined
    found = (found as Record<string, unknown>)[key]
  }
  return found
}

/** Empty, `[]`, 0, false and missing are false. */
export function isTrue(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : Boolean(value)
}
