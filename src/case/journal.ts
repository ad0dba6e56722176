import { createHash } from 'node:crypto'
import { closeSync, fstatSync, fsync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs'
import canonicalize from 'canonicalize'
import { IrError, StorageError, systemCode } from '../errors.ts'
import type { Events, Kind, Line } from './events.ts'

/** `prev` of the first line. */
const origin = '0'.repeat(64)

/** Bounds memory against a journal that somebody else made; our own lines stay far below. */
const maximumLineBytes = 64 * 1024 * 1024

/** What a case is told, in order. Appending is the only way to change it. */
export interface Journal {
  readonly lines: readonly Line[]
  /**
   * Returns once the line is on disk (fsync).
   * @throws IrError partial when it cannot be written; the journal then is as it was before
   */
  append<K extends Kind>(kind: K, data: Events[K], step?: string): Line
  /**
   * As `append`, where much goes on at once: lines that come while the disk is at work share its next fsync. The lines stand
   * in the order of the calls; each promise resolves only once its line, with all before it, is on disk.
   */
  commit<K extends Kind>(kind: K, data: Events[K], step?: string): Promise<Line>
}

/** Something is wrong with a journal: `line` is the first damaged one, counted from 1. */
export interface Damage {
  readonly line: number
  readonly what: string
}

/** What a journal file holds: its good lines, then perhaps a torn end or damage. */
export interface Reading {
  readonly lines: readonly Line[]
  /** A last line without its newline that is no whole line: a write that a crash cut short. */
  readonly torn?: Buffer
  /** A last line that is whole but for its newline. */
  readonly unterminated?: boolean
  readonly damage?: Damage
}

/** SHA-256 (hex) over the RFC 8785 form of the line without its own hash. */
function hashLine(line: Omit<Line, 'hash'>): string {
  const { hash: _, ...rest } = line as Line
  const canonical = canonicalize(rest)
  if (canonical === undefined) throw new TypeError('a journal line must be JSON')
  return createHash('sha256').update(canonical).digest('hex')
}

/** Reads and checks every line: form, sequence, chain and hash. */
export function readJournal(bytes: Buffer): Reading {
  const lines: Line[] = []
  let prev = origin
  let start = 0
  while (start < bytes.length) {
    const newline = bytes.indexOf(0x0a, start)
    const last = newline === -1
    const raw = bytes.subarray(start, last ? bytes.length : newline)
    const parsed = checkLine(raw, lines.length + 1, prev)
    if (typeof parsed === 'string') {
      if (last) return { lines, torn: Buffer.from(raw) }
      return { lines, damage: { line: lines.length + 1, what: parsed } }
    }
    lines.push(parsed)
    prev = parsed.hash
    if (last) return { lines, unterminated: true }
    start = newline + 1
  }
  return { lines }
}

/** The line, or what is wrong with it. */
function checkLine(raw: Buffer, seq: number, prev: string): Line | string {
  if (raw.length > maximumLineBytes) return 'is too long'
  const text = raw.toString('utf8')
  let line: Line
  try {
    line = JSON.parse(text)
  } catch {
    return 'is not JSON'
  }
  if (typeof line !== 'object' || line === null || typeof line.hash !== 'string') return 'is not a journal line'
  if (line.seq !== seq) return `has sequence number ${String(line.seq)} where ${seq} belongs`
  if (line.prev !== prev) return 'does not follow the line before it'
  if (hashLine(line) !== line.hash) return 'does not match its hash'
  // Another spelling of the same value (an upper-case escape, a space) is a changed byte too.
  if (!Buffer.from(JSON.stringify(line)).equals(raw)) return 'is spelled differently from how it was written'
  return line
}

export interface Clock {
  readonly by: string
  readonly now: () => Date
}

/** A journal that is never written: for `--dry-run`, and for plans that nobody consented to. */
export class MemoryJournal implements Journal {
  readonly #lines: Line[]
  readonly #clock: Clock

  constructor(clock: Clock, lines: readonly Line[] = []) {
    this.#clock = clock
    this.#lines = [...lines]
  }

  get lines(): readonly Line[] {
    return this.#lines
  }

  append<K extends Kind>(kind: K, data: Events[K], step?: string): Line {
    const line = nextLine(this.#lines, this.#clock, kind, data, step)
    this.#lines.push(line)
    return line
  }

  async commit<K extends Kind>(kind: K, data: Events[K], step?: string): Promise<Line> {
    return this.append(kind, data, step)
  }
}

export class FileJournal implements Journal {
  readonly #lines: Line[]
  readonly #clock: Clock
  readonly #file: number
  #size: number
  /** What is on disk for sure. */
  #synced: { readonly size: number; readonly lines: number }
  #syncing: Promise<void> = Promise.resolve()
  /** The sync that begins after the one under way. */
  #next: Promise<void> | undefined
  /** After a failed sync nobody knows what is on disk: nothing more is written. */
  #broken: StorageError | undefined

  private constructor(file: number, size: number, lines: readonly Line[], clock: Clock) {
    this.#file = file
    this.#size = size
    this.#lines = [...lines]
    this.#clock = clock
    this.#synced = { size, lines: lines.length }
  }

  /** @throws IrError input when the file exists */
  static create(path: string, clock: Clock): FileJournal {
    return new FileJournal(openSync(path, 'ax', 0o600), 0, [], clock)
  }

  /**
   * Opens for appending. A torn last line is cut off and handed to `setAside` first, so that it is kept.
   * @param on `may` throws when nothing may be appended to these lines; then nothing was touched
   * @throws IrError refused naming the first damaged line
   */
  static open(
    path: string,
    clock: Clock,
    on: { readonly may: (lines: readonly Line[]) => void; readonly setAside: (torn: Buffer) => void },
  ): FileJournal {
    const bytes = readFileSync(path)
    const reading = readJournal(bytes)
    if (reading.damage !== undefined) throw damaged(path, reading.damage)
    on.may(reading.lines)
    if (reading.torn !== undefined) on.setAside(reading.torn)
    const file = openJournal(path)
    if (reading.torn !== undefined) {
      ftruncateSync(file, bytes.length - reading.torn.length)
      fsyncSync(file)
    } else if (reading.unterminated) {
      writeSync(file, '\n')
      fsyncSync(file)
    }
    return new FileJournal(file, fstatSync(file).size, reading.lines, clock)
  }

  get lines(): readonly Line[] {
    return this.#lines
  }

  append<K extends Kind>(kind: K, data: Events[K], step?: string): Line {
    const line = this.#write(kind, data, step)
    try {
      fsyncSync(this.#file)
    } catch (error) {
      throw this.#fail(error)
    }
    this.#synced = { size: this.#size, lines: this.#lines.length }
    return line
  }

  async commit<K extends Kind>(kind: K, data: Events[K], step?: string): Promise<Line> {
    const line = this.#write(kind, data, step)
    // One under way may have begun before this line was written: it is the one after it that counts.
    this.#next ??= this.#syncing.then(() => {
      this.#next = undefined
      this.#syncing = this.#sync()
      return this.#syncing
    })
    await this.#next
    return line
  }

  async #sync(): Promise<void> {
    if (this.#broken !== undefined) throw this.#broken
    const reached = { size: this.#size, lines: this.#lines.length }
    try {
      await new Promise<void>((resolve, reject) => {
        fsync(this.#file, (error) => (error === null ? resolve() : reject(error)))
      })
    } catch (error) {
      throw this.#fail(error)
    }
    if (reached.size > this.#synced.size) this.#synced = reached
  }

  #write<K extends Kind>(kind: K, data: Events[K], step: string | undefined): Line {
    if (this.#broken !== undefined) throw this.#broken
    const line = nextLine(this.#lines, this.#clock, kind, data, step)
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`)
    try {
      let written = 0
      while (written < bytes.length) written += writeSync(this.#file, bytes, written)
    } catch (error) {
      this.#cutBack(this.#size)
      throw unwritten(error)
    }
    this.#size += bytes.length
    this.#lines.push(line)
    return line
  }

  /** All that the failed sync was to see through is taken back. */
  #fail(error: unknown): StorageError {
    if (this.#broken === undefined) {
      this.#broken = unwritten(error)
      this.#lines.length = this.#synced.lines
      this.#cutBack(this.#synced.size)
    }
    return this.#broken
  }

  /** No half line stays, if that can be helped; what stays is set aside at the next open. */
  #cutBack(size: number): void {
    try {
      ftruncateSync(this.#file, size)
      fsyncSync(this.#file)
    } catch {
      // The torn end is recognised when the journal is opened again.
    }
  }

  close(): void {
    closeSync(this.#file)
  }
}

function unwritten(error: unknown): StorageError {
  return new StorageError(`The journal could not be written (${systemCode(error) ?? 'unknown error'}).`, {
    hints: [
      'Nothing that is not in the journal counts as done. Make room on the disk of the cases folder and run the same command again: it goes on from here.',
    ],
    cause: error,
  })
}

function openJournal(path: string): number {
  try {
    return openSync(path, 'a', 0o600)
  } catch (error) {
    throw new StorageError(`${path} cannot be written (${systemCode(error) ?? 'unknown error'}).`, {
      hints: ['Make it writable; nothing was changed.'],
      cause: error,
    })
  }
}

function nextLine<K extends Kind>(
  lines: readonly Line[],
  clock: Clock,
  kind: K,
  data: Events[K],
  step: string | undefined,
): Line {
  const last = lines.at(-1)
  const body = {
    seq: lines.length + 1,
    at: clock.now().toISOString(),
    by: clock.by,
    kind,
    ...(step === undefined ? {} : { step }),
    // What is kept in memory is what a reader of the file gets: no undefined, no prototypes.
    data: JSON.parse(JSON.stringify(data, integersOnly)),
    prev: last?.hash ?? origin,
  } as Omit<Line, 'hash'>
  return { ...body, hash: hashLine(body) } as Line
}

/** Floats have no one spelling across languages, so they would make the hashes depend on who computes them. */
function integersOnly(key: string, value: unknown): unknown {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    throw new TypeError(`journal data must hold integers only: ${key} is ${value}`)
  }
  return value
}

export function damaged(path: string, damage: Damage): IrError {
  return new IrError('refused', `${path}: line ${damage.line} ${damage.what}.`, {
    hints: [
      'The journal was changed after it was written, or the disk is failing. Keep the folder as it is and work on a copy.',
    ],
  })
}
