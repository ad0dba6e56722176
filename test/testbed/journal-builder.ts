import { createHash } from 'node:crypto'
import canonicalize from 'canonicalize'
import type { Events, Kind, Line } from '../../src/case/events.ts'
import type { CaseRecord } from '../../src/report/facts.ts'

/** Writes a valid journal for given events, and keeps evidence, without a case folder. */
export class JournalBuilder {
  readonly #lines: Line[] = []
  readonly #evidence = new Map<string, Uint8Array>()
  #at: number
  by: string

  constructor(at: string, by = 'alice@laptop') {
    this.#at = Date.parse(at)
    this.by = by
  }

  get lines(): readonly Line[] {
    return this.#lines
  }

  get record(): CaseRecord {
    return {
      lines: this.#lines,
      read: async (sha256) => {
        const found = this.#evidence.get(sha256)
        if (found === undefined) throw new Error(`no evidence ${sha256}`)
        return found
      },
    }
  }

  /** Moves the clock on. */
  after(ms: number): this {
    this.#at += ms
    return this
  }

  get now(): string {
    return new Date(this.#at).toISOString()
  }

  add<K extends Kind>(kind: K, data: Events[K], step?: string): this {
    const body = {
      seq: this.#lines.length + 1,
      at: this.now,
      by: this.by,
      kind,
      ...(step === undefined ? {} : { step }),
      data: JSON.parse(JSON.stringify(data)),
      prev: this.#lines.at(-1)?.hash ?? '0'.repeat(64),
    }
    const hash = createHash('sha256')
      .update(canonicalize(body) ?? '')
      .digest('hex')
    this.#lines.push({ ...body, hash } as Line)
    return this
  }

  /** Keeps evidence and journals it. Returns its SHA-256. */
  evidence(name: string, content: string | Uint8Array, mediaType = 'application/json', step?: string): string {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    this.#evidence.set(sha256, bytes)
    this.add('evidence.stored', { name, sha256, bytes: bytes.length, mediaType, path: `evidence/${sha256}` }, step)
    return sha256
  }

  /** Breaks what is kept under this hash. */
  damage(sha256: string): this {
    this.#evidence.set(sha256, Buffer.from('{}'))
    return this
  }

  /** The journal as it lies on disk. */
  get bytes(): Buffer {
    return Buffer.from(this.#lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  }

  get files(): ReadonlyMap<string, Uint8Array> {
    return this.#evidence
  }
}
