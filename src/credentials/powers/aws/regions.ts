import type { Judged, Told } from './judge.ts'
import { covers, sampleOf } from './patterns.ts'

/** What is allowed, by what it depends on. */
export interface Territory {
  readonly resources: readonly string[]
  readonly except: readonly string[]
  /** In words; undefined: whatever the circumstances. */
  readonly condition: string | undefined
}

/** What was judged of one action, by patterns of resources. */
export class Regions {
  readonly #judged = new Map<string, Told>()
  readonly unjudged = new Set<string>()
  readonly #forms: readonly (readonly string[])[]
  readonly #known: Readonly<Record<string, string>>
  readonly #judge: (resource: string) => Promise<Judged>

  constructor(
    forms: readonly (readonly string[])[],
    known: Readonly<Record<string, string>>,
    judge: (resource: string) => Promise<Judged>,
  ) {
    this.#forms = forms
    this.#known = known
    this.#judge = judge
  }

  /** Asks about what lies in all of these patterns; kept under the given name. */
  async look(name: string, patterns: readonly string[] = [name]): Promise<void> {
    const within = patterns.map((pattern) => resolved(pattern, this.#known))
    let found: Told | undefined
    let why: string | undefined
    for (const forms of this.#forms) {
      const sample = first(forms, (form) => sampleOf([...within, form]))
      if (sample === undefined) continue
      const judged = await this.#judge(sample)
      if (judged.kind === 'unjudged') why = judged.why
      else found = judged
      // Allowed on one kind of resource is allowed.
      if (found?.kind === 'allowed') break
    }
    if (found !== undefined) this.#judged.set(name, found)
    else if (why !== undefined) this.unjudged.add(why)
  }

  /** Where two patterns share something and neither holds the other, what they share is another matter than either. */
  async lookBetween(patterns: readonly string[]): Promise<void> {
    for (const [index, one] of patterns.entries()) {
      for (const other of patterns.slice(index + 1)) {
        if (!(one + other).includes('*') || covers(one, other) || covers(other, one)) continue
        await this.look(both(one, other), [one, other])
      }
    }
  }

  isEmpty(): boolean {
    return this.#judged.size === 0
  }

  /** Where the evaluator takes no sample of ours for a resource of this action: it is given the pattern itself. */
  async lookAtWhole(pattern: string): Promise<void> {
    const found = await this.#judge(pattern)
    if (found.kind !== 'unjudged') this.#judged.set(pattern, found)
    else this.unjudged.add(found.why)
  }

  /** Grouped by what they depend on; what another one holds, on the same terms, is not told again. */
  allowed(): readonly Territory[] {
    const open = [...this.#judged].flatMap(([pattern, found]) =>
      found.kind === 'allowed' ? [{ pattern, condition: found.condition }] : [],
    )
    const told = open.filter(
      (one) =>
        !open.some(
          (other) =>
            other !== one &&
            holds(other.pattern, one.pattern) &&
            (other.condition === undefined || other.condition === one.condition),
        ),
    )
    const groups = new Map<string, { resources: string[]; except: readonly string[]; condition: string | undefined }>()
    for (const { pattern, condition } of told) {
      const except = this.#exceptions(pattern)
      const key = JSON.stringify([condition ?? null, except])
      const group = groups.get(key) ?? { resources: [], except, condition }
      group.resources.push(pattern)
      groups.set(key, group)
    }
    return [...groups.values()]
  }

  #exceptions(pattern: string): readonly string[] {
    const denied = [...this.#judged].filter(([, { kind }]) => kind === 'denied').map(([name]) => name)
    const within = denied.filter((name) => name !== pattern && holds(pattern, name))
    return within.filter((name) => !within.some((other) => other !== name && holds(other, name))).sort()
  }
}

const and = ' and also '

function both(one: string, other: string): string {
  return `${one}${and}${other}`
}

/** A name may be of two patterns, of which either must be held, or hold. */
function holds(wide: string, narrow: string): boolean {
  const parts = narrow.split(and)
  return wide.split(and).every((one) => parts.some((part) => covers(one, part)))
}

function first<T, R>(items: readonly T[], find: (item: T) => R | undefined): R | undefined {
  for (const item of items) {
    const found = find(item)
    if (found !== undefined) return found
  }
  return undefined
}

/** Policy variables become their values. */
function resolved(pattern: string, known: Readonly<Record<string, string>>): string {
  const values = new Map(Object.entries(known).map(([key, value]) => [key.toLowerCase(), value]))
  return pattern.replace(/\$\{([^}]+)\}/g, (_, name: string) => {
    if (/^[*?$]$/.test(name)) return name
    return values.get(name.split(',')[0]?.trim().toLowerCase() ?? '') ?? '*'
  })
}
