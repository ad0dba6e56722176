/** Kinds of things that a redacted report names by a number. */
type Kind =
  | 'person'
  | 'team'
  | 'host'
  | 'address'
  | 'path'
  | 'system'
  | 'server'
  | 'deployment'
  | 'credential'
  | 'caller'
  | 'context'
  | 'record'
  | 'resource'
  | 'target'
  | 'argument'
  | 'id'

type Pattern = readonly [Kind, RegExp]

/** What looks like an identifier, whoever wrote it and wherever it stands. Of several words, so that names may be in it: */
const spans: readonly Pattern[] = [
  ['argument', /(?<=\s)--?[A-Za-z][\w-]*=[^\s)]+/g],
  ['address', /[A-Za-z][A-Za-z0-9+.-]*:\/\/[^\s"'<>()]+/g],
  ['address', /[^\s@"'<>()]+@[^\s@"'<>(),;:]+/g],
  ['id', /\barn:[^\s"'<>(),;]+/g],
  ['path', /(?<![\w.])~?\/[^\s"'<>(),;:]+/g],
  ['path', /\b[A-Za-z]:\\[^\s"'<>(),;]+/g],
]

/** … and of one. */
const looks: readonly Pattern[] = [
  ['address', /(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?(?![\w.])/g],
  ['address', /(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:.])/gi],
  ['id', /\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/gi],
  ['id', /\b[a-z]{1,6}-[0-9a-f]{8,17}\b/g],
  ['id', /\bA[A-Z]{3}[A-Z0-9]{12,}\b/g],
  ['id', /\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b/gi],
  ['id', /\b\d{6,}\b/g],
  ['host', /(?<![\w./@-])[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}(?![\w-])/g],
]

/** Files of a build, which others look for by name. */
const fileName = /\.(?:[cm]?[jt]sx?|json|py|map|md|txt|ya?ml|lock|node|wasm|ndjson)$/i

const word = /[\p{L}\p{N}]+/gu
const wordCharacter = /[\p{L}\p{N}]/u

/** A piece of a text; nothing is looked for any more in what is settled. */
interface Part {
  readonly text: string
  readonly settled: boolean
}

const free = (text: string): Part => ({ text, settled: false })

interface Known {
  readonly name: string
  readonly instead: string
  /** Characters before its first word. */
  readonly lead: number
}

/** The same pseudonym for the same name, all over one report. Numbered as they come, so nothing can be computed back. */
export class Pseudonyms {
  readonly #names = new Map<string, string>()
  readonly #counts = new Map<Kind, number>()
  /** By first word, the longest name first: there may be as many names as records. */
  readonly #byWord = new Map<string, Known[]>()
  readonly #kept: ReadonlySet<string>
  readonly #digests: readonly string[]

  /** @param kept what is told as it is: digests, the server's own name, its package */
  constructor(kept: Iterable<string>) {
    this.#kept = new Set(kept)
    for (const name of this.#kept) this.#add(name, name)
    this.#digests = [...this.#kept].filter((name) => /^[0-9a-f]{64,}$/.test(name))
  }

  of(kind: Kind, name: string): string {
    if (name === '' || this.#kept.has(name)) return name
    const found = this.#names.get(name)
    if (found !== undefined) return found
    const number = (this.#counts.get(kind) ?? 0) + 1
    const pseudonym = `${kind}-${number}`
    this.#counts.set(kind, number)
    this.#add(name, pseudonym)
    return pseudonym
  }

  /** A second name of the same. */
  alias(name: string, pseudonym: string): void {
    if (name !== '' && !this.#kept.has(name) && !this.#names.has(name)) this.#add(name, pseudonym)
  }

  /** What people wrote: it is taken out wherever it was carried on to. */
  leaveOut(text: string): void {
    if (!this.#names.has(text)) this.#add(text, leftOut)
  }

  /** Text of ours with names of others in it. */
  scrub(text: string): string {
    let parts: Part[] = [{ text, settled: false }]
    for (const pattern of spans) parts = this.#replace(parts, pattern)
    parts = parts.flatMap((part) => (part.settled ? [part] : this.#withoutNames(part.text)))
    for (const pattern of looks) parts = this.#replace(parts, pattern)
    return parts.map((part) => part.text).join('')
  }

  #replace(parts: readonly Part[], [kind, pattern]: Pattern): Part[] {
    return parts.flatMap((part) => {
      if (part.settled) return [part]
      const result: Part[] = []
      let done = 0
      for (const { 0: found, index } of part.text.matchAll(pattern)) {
        const name = found.replace(/[.,;:]+$/, '')
        if (this.#mayStay(kind, name)) continue
        result.push(free(part.text.slice(done, index)), { text: this.of(kind, name), settled: true })
        done = index + name.length
      }
      return [...result, free(part.text.slice(done))]
    })
  }

  #add(name: string, instead: string): void {
    this.#names.set(name, instead)
    const [first] = name.matchAll(word)
    if (first === undefined) return
    const list = this.#byWord.get(first[0]) ?? []
    list.push({ name, instead, lead: first.index })
    list.sort((a, b) => b.name.length - a.name.length)
    this.#byWord.set(first[0], list)
  }

  /** Known names, none inside a longer word. */
  #withoutNames(text: string): Part[] {
    const parts: Part[] = []
    let done = 0
    for (const { 0: first, index } of text.matchAll(word)) {
      const known = this.#byWord.get(first)?.find(({ name, lead }) => {
        const start = index - lead
        return start >= done && text.startsWith(name, start) && !wordCharacter.test(text.charAt(start + name.length))
      })
      if (known === undefined) continue
      const start = index - known.lead
      parts.push(free(text.slice(done, start)), { text: known.instead, settled: true })
      done = start + known.name.length
    }
    return [...parts, free(text.slice(done))]
  }

  #mayStay(kind: Kind, name: string): boolean {
    if (this.#kept.has(name)) return true
    if (kind === 'host') return fileName.test(name)
    if (kind === 'address' && /^\d\d:\d\d:\d\d$/.test(name)) return true
    // A digest is often told by its first digits.
    return kind === 'id' && /^[0-9a-f]{8,}$/.test(name) && this.#digests.some((digest) => digest.startsWith(name))
  }
}

/** Stands where something was. */
export const leftOut = '(left out)'
