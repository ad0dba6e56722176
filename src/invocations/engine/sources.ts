import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { type FileHandle, glob, open, stat, symlink } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { systemCode } from '../../errors.ts'
import { bytesOf, endsHalfWay, isJson, type Line, linesOf, repaired } from './lines.ts'

/** One log file as DuckDB gets to see it: under a name of ours in our folder, so that no name chosen by others is in a query. */
export interface Source {
  readonly index: number
  /** Where it really lies. */
  readonly file: string
  /** What to read instead: a link to it, or a copy that leaves out what cannot be read. */
  readonly path: string
  readonly gzip: boolean
  /** Its last line is half-written. */
  readonly halfLine: boolean
  /** It is packed, and the packing is damaged or breaks off. */
  readonly damaged: boolean
  /** What it was when it was looked at. Undefined where a copy of ours is read. */
  readonly print: Fingerprint | undefined
}

/** By these a file that grows stays the same, and one that was rotated, cut off or written anew does not. */
interface Fingerprint {
  readonly file: string
  readonly size: number
  /** When it was last changed, milliseconds since 1970. */
  readonly changed: number
  /** Of its beginning and its end, as long as it was when it was first looked at. */
  readonly sha256: string
}

const printed = 64 << 10

/** Every regular file that the configured path or pattern names, sorted. */
export async function findFiles(pattern: string): Promise<readonly string[]> {
  if (await isFile(pattern)) return [pattern]
  const found: string[] = []
  for await (const file of glob(pattern)) if (await isFile(file)) found.push(file)
  return found.sort()
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile()
  } catch (error) {
    if (systemCode(error) === undefined) throw error
    return false
  }
}

/**
 * Looks into a file: packed or not, whole or cut off, still being written. `folder` gets the link or the copy.
 * Throws Node's error when the file cannot be opened.
 */
export async function look(
  index: number,
  file: string,
  folder: string,
  longest: number,
  signal: AbortSignal,
): Promise<Source> {
  const handle = await open(file)
  let print: Fingerprint
  try {
    const { size } = await handle.stat()
    print = await fingerprint(handle, size)
    const head = Buffer.alloc(2)
    await handle.read(head, 0, 2, 0)
    if (head[0] !== 0x1f || head[1] !== 0x8b) {
      const path = join(folder, `${index}.ndjson`)
      await symlink(resolve(file), path)
      const halfLine = await endsHalfWay(handle, size, longest)
      return { index, file, path, gzip: false, halfLine, damaged: false, print }
    }
  } finally {
    await handle.close()
  }
  // DuckDB takes a packed file that breaks off for one that ends: only unpacking it shows.
  const whole = await unpack(file, longest, signal)
  const path = join(folder, `${index}.ndjson.gz`)
  await symlink(resolve(file), path)
  const damaged = whole === undefined
  const source = { index, file, path, gzip: true, halfLine: whole?.halfLine ?? false, damaged, print }
  if (whole !== undefined) return source
  const copied = join(folder, `${index}-copy.ndjson`)
  const { halfLine } = await copy(untilDamage(source, signal), Number.POSITIVE_INFINITY, copied)
  return { ...source, path: copied, gzip: false, halfLine, print: undefined }
}

/** Whether a file still holds, in the same places, what it held when it was looked at. */
export async function isAsItWas({ file, print }: Source): Promise<boolean> {
  if (print === undefined) return true
  try {
    const handle = await open(file)
    try {
      const now = await fingerprint(handle, print.size)
      const touched = now.size === print.size && now.changed !== print.changed
      return now.file === print.file && now.sha256 === print.sha256 && !touched
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (systemCode(error) === undefined) throw error
    return false
  }
}

async function fingerprint(handle: FileHandle, bytes: number): Promise<Fingerprint> {
  const { dev, ino, size, ctimeMs } = await handle.stat()
  const hash = createHash('sha256')
  for (const at of [0, Math.max(0, bytes - printed)]) {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(Math.min(printed, bytes)), 0, null, at)
    hash.update(`${bytesRead}:`).update(buffer.subarray(0, bytesRead))
  }
  return { file: `${dev}:${ino}`, size, changed: ctimeMs, sha256: hash.digest('hex') }
}

/** Unpacks to nowhere; undefined when the packing is damaged. */
async function unpack(file: string, longest: number, signal: AbortSignal): Promise<{ halfLine: boolean } | undefined> {
  let last: Line | undefined
  try {
    for await (const lines of linesOf(bytesOf(file, true, signal), longest)) last = lines.at(-1) ?? last
  } catch (error) {
    if (isDamage(error)) return undefined
    throw error
  }
  return { halfLine: isHalf(last) }
}

async function* untilDamage(source: Source, signal: AbortSignal): AsyncGenerator<Buffer> {
  try {
    yield* bytesOf(source.path, source.gzip, signal)
  } catch (error) {
    if (!isDamage(error)) throw error
  }
}

function isDamage(error: unknown): boolean {
  return (systemCode(error) ?? '').startsWith('Z_')
}

function isHalf(line: Line | undefined): boolean {
  return line !== undefined && !line.ended && line.bytes !== undefined && !isJson(line.bytes)
}

/** The parts of a file with lines that are too long for a query. */
export interface Split {
  /** All other lines, as a plain file. */
  readonly short: Source
  /** Where the long lines are, each again at its place. */
  readonly longPath: string
  /** Lines that are longer than can be read at all. */
  readonly tooLong: number
}

/** Parts a file by the length of its lines. `onLong` gets the long ones in order and says as what to keep them. */
export async function split(
  source: Source,
  folder: string,
  bounds: { readonly usual: number; readonly longest: number },
  onLong: (line: Buffer) => Uint8Array,
  signal: AbortSignal,
): Promise<Split> {
  const longPath = join(folder, `${source.index}-long.ndjson`)
  const long = await open(longPath, 'wx', 0o600)
  try {
    const path = join(folder, `${source.index}-short.ndjson`)
    const { tooLong, halfLine } = await copy(untilDamage(source, signal), bounds.longest, path, async (line) => {
      if (line.length <= bounds.usual) return false
      await long.writev([onLong(line), Buffer.from('\n')])
      return true
    })
    return { short: { ...source, path, gzip: false, halfLine, print: undefined }, longPath, tooLong }
  } finally {
    await long.close()
  }
}

async function copy(
  bytes: AsyncIterable<Buffer>,
  longest: number,
  to: string,
  takes: (line: Buffer) => Promise<boolean> = async () => false,
): Promise<{ tooLong: number; halfLine: boolean }> {
  let tooLong = 0
  let last: Line | undefined
  await pipeline(
    async function* () {
      for await (const lines of linesOf(bytes, longest)) {
        for (const line of lines) {
          last = line
          if (line.bytes === undefined) tooLong += 1
          else if (!(await takes(line.bytes))) yield Buffer.concat([line.bytes, Buffer.from('\n')])
        }
      }
    },
    createWriteStream(to, { flags: 'wx', mode: 0o600 }),
  )
  return { tooLong, halfLine: isHalf(last) }
}

/** Writes those lines of a file that can be repaired to a file of their own. Undefined when there are none. */
export async function repairs(
  source: Source,
  folder: string,
  longest: number,
  signal: AbortSignal,
): Promise<{ path: string; count: number } | undefined> {
  const path = join(folder, `${source.index}-repaired.ndjson`)
  let count = 0
  await pipeline(
    async function* () {
      for await (const lines of linesOf(bytesOf(source.path, source.gzip, signal), longest)) {
        for (const { bytes } of lines) {
          const line = bytes === undefined ? undefined : repaired(bytes)
          if (line === undefined) continue
          count += 1
          yield `${line}\n`
        }
      }
    },
    createWriteStream(path, { flags: 'wx', mode: 0o600 }),
  )
  return count === 0 ? undefined : { path, count }
}
