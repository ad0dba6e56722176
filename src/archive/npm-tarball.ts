import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { extract, type Header } from 'tar-stream'
import { IrError } from '../errors.ts'
import { openRegularFile } from '../regular-file.ts'
import { safe } from '../ui/safe-text.ts'

/** One file or folder of an npm tarball, already found harmless: nothing of it can point or write outside. */
export interface TarballEntry {
  /** Below the tarball's top folder, `/` between the parts, never empty, never `.` or `..`. */
  readonly path: string
  readonly kind: 'file' | 'directory'
  /** Bytes; 0 for a folder. */
  readonly size: number
  readonly executable: boolean
  /** To be read before the next entry is asked for; what is left unread is skipped. */
  readonly content: AsyncIterable<Uint8Array>
}

export interface TarballLimits {
  /** Files and folders together. */
  readonly entries: number
  /** Bytes of one file. */
  readonly fileBytes: number
  /** Bytes of the whole archive, unpacked. */
  readonly totalBytes: number
  /** Unpacked bytes for each packed one, once more than `ratioFrom` bytes came out. */
  readonly ratio: number
  readonly ratioFrom: number
  readonly depth: number
}

const defaultLimits: TarballLimits = {
  entries: 50_000,
  fileBytes: 256 * 1024 ** 2,
  totalBytes: 1024 ** 3,
  ratio: 200,
  ratioFrom: 16 * 1024 ** 2,
  depth: 40,
}

export interface ReadTarballOptions {
  readonly signal: AbortSignal
  /** SHA-256 (hex) that the file must still have: it was verified earlier and could have been exchanged since. */
  readonly sha256?: string
  readonly limits?: Partial<TarballLimits>
}

/**
 * Walks an npm tarball (gzip, one top folder whatever its name) as a stream and refuses whatever no honest one contains:
 * links, devices, absolute or parent paths, control characters, names that collide, bombs.
 * The consumer must walk to the end: only there is the digest known to be right.
 * @throws IrError `refused` when something is wrong with it, `input` when it cannot be read
 */
export async function* readTarball(file: string, options: ReadTarballOptions): AsyncGenerator<TarballEntry> {
  const limits = { ...defaultLimits, ...options.limits }
  const names = new Names(limits.depth)
  const handle = await openRegularFile(file)
  const packed = new HashedFile(handle)
  const archive = extract()
  const pumped = pipeline(
    Readable.from(packed.read()),
    createGunzip(),
    meter(packed, limits),
    archive as unknown as NodeJS.WritableStream,
    { signal: options.signal },
  )
  // Its failure also ends the iteration below; awaited at the end, it must not count as unhandled before.
  pumped.catch(() => undefined)
  let entries = 0
  try {
    for await (const entry of archive) {
      entries += 1
      if (entries > limits.entries) throw refuse(`holds more than ${limits.entries} files`)
      const { path, kind } = names.accept(entry.header)
      const size = kind === 'file' ? (entry.header.size ?? 0) : 0
      if (size > limits.fileBytes) throw refuse(`holds a file of ${size} bytes`, entry.header.name)
      const executable = ((entry.header.mode ?? 0) & 0o100) !== 0
      if (path !== '')
        yield { path, kind, size, executable, content: contentOf(entry as AsyncIterable<Uint8Array>, options.signal) }
      // Whatever the consumer left; without it the archive would wait for ever.
      entry.resume()
    }
    await pumped
    if (entries === 0) throw refuse('is empty')
    if (options.sha256 !== undefined && packed.digest() !== options.sha256) {
      throw refuse('is not the file that was verified: it changed since')
    }
  } catch (error) {
    throw damaged(error, options.signal)
  } finally {
    archive.destroy()
    await pumped.catch(() => undefined)
    await handle.close()
  }
}

/** The bytes of one entry; what breaks while the consumer reads them is said as what breaks between two entries. */
async function* contentOf(entry: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  try {
    yield* entry
  } catch (error) {
    throw damaged(error, signal)
  }
}

function damaged(error: unknown, signal: AbortSignal): IrError {
  if (error instanceof IrError) return error
  if (signal.aborted) return new IrError('interrupted', 'Reading the archive was interrupted', { cause: error })
  const why = safe(error instanceof Error ? error.message : 'unreadable', 120)
  return new IrError('refused', `The archive is damaged: ${why}`, { cause: error })
}

/** The packed bytes, hashed as they are read, so that what is unpacked is what was hashed. */
class HashedFile {
  bytes = 0
  readonly #handle: FileHandle
  readonly #hash = createHash('sha256')

  constructor(handle: FileHandle) {
    this.#handle = handle
  }

  async *read(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const { bytesRead, buffer } = await this.#handle.read(Buffer.alloc(64 * 1024), 0, 64 * 1024, this.bytes)
      if (bytesRead === 0) return
      const chunk = buffer.subarray(0, bytesRead)
      this.bytes += bytesRead
      this.#hash.update(chunk)
      yield chunk
    }
  }

  digest(): string {
    return this.#hash.digest('hex')
  }
}

/** Stops the stream as soon as more comes out than an honest package holds. */
function meter(packed: HashedFile, limits: TarballLimits): Transform {
  let bytes = 0
  return new Transform({
    transform(chunk: Uint8Array, _encoding, done) {
      bytes += chunk.byteLength
      if (bytes > limits.totalBytes) done(refuse(`unpacks to more than ${limits.totalBytes} bytes`))
      else if (bytes > limits.ratioFrom && bytes > limits.ratio * packed.bytes) {
        done(refuse(`unpacks to more than ${limits.ratio} times its size`))
      } else done(null, chunk)
    },
  })
}

/** Accepts each name once, in one spelling, under one top folder. */
class Names {
  #top: string | undefined
  /** Folded name to how it was spelt and what it was; folders also by being a parent. */
  readonly #seen = new Map<string, { readonly path: string; readonly kind: 'file' | 'directory'; listed: boolean }>()
  readonly #depth: number

  constructor(depth: number) {
    this.#depth = depth
  }

  accept(header: Header): { path: string; kind: 'file' | 'directory' } {
    const name = header.name
    const kind = header.type
    if (kind !== 'file' && kind !== 'directory') {
      throw refuse(`holds a ${safe(String(kind ?? 'entry of unknown type'), 40)}`, name)
    }
    if (kind === 'directory' && (header.size ?? 0) > 0) throw refuse('holds a folder with content', name)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
    if (/[\u0000-\u001f\u007f-\u009f\\\ufffd]/u.test(name)) throw refuse('holds a name with forbidden characters', name)
    if (Buffer.byteLength(name) > 1024) throw refuse('holds a name that is too long', name)
    const parts = (kind === 'directory' && name.endsWith('/') ? name.slice(0, -1) : name).split('/')
    if (parts.some((part) => part === '' || part === '.' || part === '..' || Buffer.byteLength(part) > 255)) {
      throw refuse('holds a path that is absolute, has empty or dot parts, or is too long', name)
    }
    if (parts.length > this.#depth) throw refuse(`holds folders more than ${this.#depth} deep`, name)
    const [top = '', ...rest] = parts
    if (rest.length === 0 && kind !== 'directory') throw refuse('holds a file outside of its top folder', name)
    this.#top ??= top
    if (top !== this.#top) throw refuse('holds more than one top folder', name)
    for (let length = 1; length < rest.length; length += 1) {
      this.#take(rest.slice(0, length).join('/'), 'directory', false)
    }
    const path = rest.join('/')
    this.#take(path, kind, true)
    return { path, kind }
  }

  #take(path: string, kind: 'file' | 'directory', listed: boolean): void {
    const folded = path.normalize('NFKC').toLowerCase()
    const before = this.#seen.get(folded)
    if (before === undefined) {
      this.#seen.set(folded, { path, kind, listed })
      return
    }
    if (before.path !== path) throw refuse('holds names that differ only in case or normalisation', path)
    if (before.kind !== kind) throw refuse('holds a name as both file and folder', path)
    if (!listed) return
    if (before.listed) throw refuse('holds a name twice', path)
    before.listed = true
  }
}

function refuse(what: string, name?: string): IrError {
  return new IrError('refused', `The archive ${what}${name === undefined ? '' : `: ${safe(name, 120)}`}`)
}
