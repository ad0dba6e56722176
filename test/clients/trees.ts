import fc from 'fast-check'

/** A client's servers as plain data, and the one that is to go. */
export interface Servers {
  readonly servers: readonly (readonly [string, Readonly<Record<string, unknown>>])[]
  readonly index: number
}

const name = fc.oneof(
  fc.stringMatching(/^[a-z][a-z0-9_-]{0,8}$/),
  fc.constantFrom('a b', 'ü.x', 'quo"te', '#no', 'a/b', '1', 'yes', '{', '\u202e'),
)
const text = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.constantFrom('', '#', '// no', '/* no */', '}', ',', 'a: b', "it's", '[x]', '\\', '"', 'ünï', '- x'),
)

const server = fc.record(
  {
    command: text,
    args: fc.array(text, { maxLength: 3 }),
    env: fc.dictionary(name, text, { maxKeys: 3, noNullPrototype: true }),
    disabled: fc.boolean(),
    timeout: fc.integer({ min: 0, max: 100000 }),
  },
  { requiredKeys: ['command'], noNullPrototype: true },
)

export const servers: fc.Arbitrary<Servers> = fc
  .uniqueArray(fc.tuple(name, server), { minLength: 1, maxLength: 5, selector: ([key]) => key })
  .chain((all) => fc.nat({ max: all.length - 1 }).map((index) => ({ servers: all, index })))

/** Picks anew at each call, so that a document's layout varies from token to token. */
export const picker = fc.infiniteStream(fc.nat({ max: 999 })).map((stream) => {
  const numbers = stream[Symbol.iterator]()
  return <T>(...options: readonly T[]): T => options[(numbers.next().value as number) % options.length] as T
})
export type Pick = <T>(...options: readonly T[]) => T
