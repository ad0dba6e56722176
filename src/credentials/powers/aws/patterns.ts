/**
 * Which resources to ask the evaluator about. It judges one request at a time, so that a policy's pattern is stood for by one
 * resource that lies in it and, where that can be, in no narrower one.
 */

/** Stands for anything that no policy names. */
const filler = 'anything'

/**
 * A text that all patterns match (`*`: any, also none; `?`: one); undefined when there is none. Each `*` stands for something
 * where it can: what lies directly at a pattern's edge is not typical of it.
 */
export function sampleOf(patterns: readonly string[]): string | undefined {
  const key = JSON.stringify(patterns)
  if (!samples.has(key)) samples.set(key, findSample(patterns))
  return samples.get(key)
}

/** Thousands of actions have the same kind of resource. */
const samples = new Map<string, string | undefined>()

function findSample(patterns: readonly string[]): string | undefined {
  return (
    search(patterns.map((pattern) => tokens(pattern, true))) ??
    search(patterns.map((pattern) => tokens(pattern, false)))
  )
}

/** Whether all that `narrow` matches is matched by `wide`. */
export function covers(wide: string, narrow: string): boolean {
  if (wide === '*' || wide === narrow) return true
  return globOf(wide).test(narrow)
}

const globs = new Map<string, RegExp>()

/** A star of the narrower pattern is an ordinary character here, which only a star of the wider one matches. */
function globOf(pattern: string): RegExp {
  const known = globs.get(pattern)
  if (known !== undefined) return known
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*+/g, '[\\s\\S]*')
    .replaceAll('?', '[^*]')
  const made = new RegExp(`^${source}$`, 'i')
  globs.set(pattern, made)
  return made
}

/** One character, any one, or any number of them. */
type Token = string | 'any' | 'one'

function tokens(pattern: string, filled: boolean): readonly Token[] {
  const found: Token[] = []
  for (const character of pattern) {
    if (character === '?') found.push('one')
    else if (character === '*') found.push(...(filled ? (['one', 'any'] as const) : (['any'] as const)))
    else found.push(character)
  }
  return found
}

/** Breadth first over the places in all patterns at once. */
function search(patterns: readonly (readonly Token[])[]): string | undefined {
  const start = patterns.map(() => 0)
  const seen = new Set([start.join()])
  let front: { at: readonly number[]; text: string }[] = [{ at: start, text: '' }]
  while (front.length > 0) {
    const next: typeof front = []
    for (const { at, text } of front) {
      const open = at.map((place, index) => settled(patterns[index] ?? [], place))
      if (open.every((places, index) => places.includes((patterns[index] ?? []).length))) return text
      for (const character of candidates(patterns, open, text)) {
        for (const places of steps(patterns, open, character)) {
          const key = places.join()
          if (seen.has(key)) continue
          seen.add(key)
          next.push({ at: places, text: text + character })
        }
      }
    }
    front = next
  }
  return undefined
}

/** A star may stand for nothing: the places that can be reached without a character. */
function settled(pattern: readonly Token[], place: number): readonly number[] {
  const places = [place]
  for (let at = place; pattern[at] === 'any'; at += 1) places.push(at + 1)
  return places
}

/** What some pattern names literally, else a letter that says nothing. */
function candidates(
  patterns: readonly (readonly Token[])[],
  open: readonly (readonly number[])[],
  text: string,
): readonly string[] {
  const literal = new Set<string>()
  open.forEach((places, index) => {
    for (const place of places) {
      const token = patterns[index]?.[place]
      if (token !== undefined && token !== 'any' && token !== 'one') literal.add(token)
    }
  })
  // The letter first, and one of a word, so that a sample is hard to name by chance.
  return [filler[text.length % filler.length] ?? 'x', ...literal]
}

/** Where each pattern can stand once it has taken the character: all combinations, few as patterns are short of stars. */
function steps(
  patterns: readonly (readonly Token[])[],
  open: readonly (readonly number[])[],
  character: string,
): readonly (readonly number[])[] {
  let found: number[][] = [[]]
  open.forEach((places, index) => {
    const pattern = patterns[index] ?? []
    const after = new Set<number>()
    for (const place of places) {
      const token = pattern[place]
      if (token === 'any') after.add(place)
      else if (token === 'one' || token?.toLowerCase() === character.toLowerCase()) after.add(place + 1)
    }
    found = found.flatMap((one) => [...after].map((place) => [...one, place]))
  })
  return found
}
