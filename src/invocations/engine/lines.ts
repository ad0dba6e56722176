import { isUtf8 } from 'node:buffer'
import { createReadStream } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { createGunzip } from 'node:zlib'

const newline = 0x0a

/** The bytes of a log file, unpacked. Throws what zlib throws when the packing is damaged. */
export async function* bytesOf(path: string, gzip: boolean, signal: AbortSignal): AsyncGenerator<Buffer> {
  const file = createReadStream(path, { highWaterMark: 1 << 20 })
  const stream = gzip ? file.pipe(createGunzip({ chunkSize: 1 << 18 })) : file
  // An error of the file does not travel through the pipe by itself.
  if (gzip) file.once('error', (error) => stream.destroy(error))
  try {
    for await (const chunk of stream) {
      signal.throwIfAborted()
      yield chunk as Buffer
    }
  } finally {
    file.destroy()
    stream.destroy()
  }
}

export interface Line {
  /** Without its end of line. Undefined when it is longer than the bound. */
  readonly bytes: Buffer | undefined
  /** Whether an end of line follows. */
  readonly ended: boolean
}

/** Cuts bytes into lines, a batch for each piece read; no more than `longest` bytes and a piece are held. Blank lines are left out. */
export async function* linesOf(pieces: AsyncIterable<Buffer>, longest: number): AsyncGenerator<readonly Line[]> {
  let held: Buffer[] = []
  let size = 0
  const finish = (last: Buffer, ended: boolean): Line[] => {
    const whole = size + last.length
    const bytes = whole > longest ? undefined : held.length === 0 ? last : Buffer.concat([...held, last])
    held = []
    size = 0
    return bytes !== undefined && isBlank(bytes) ? [] : [{ bytes, ended }]
  }
  for await (const piece of pieces) {
    const lines: Line[] = []
    let start = 0
    for (let end = piece.indexOf(newline); end !== -1; end = piece.indexOf(newline, start)) {
      lines.push(...finish(piece.subarray(start, end), true))
      start = end + 1
    }
    if (start < piece.length) {
      size += piece.length - start
      if (size <= longest) held.push(piece.subarray(start))
      else held = []
    }
    if (lines.length > 0) yield lines
  }
  if (size > 0) {
    const bytes = size > longest ? undefined : Buffer.concat(held)
    if (bytes === undefined || !isBlank(bytes)) yield [{ bytes, ended: false }]
  }
}

function isBlank(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d))
}

/**
 * A line that holds characters which are not Unicode (broken UTF-8, halves of surrogate pairs), with those replaced by U+FFFD;
 * undefined when nothing of the kind is in it or when it is no JSON even so. The suspect chooses what is logged, and must not
 * be able to keep its records out of a review with one odd character.
 */
export function repaired(line: Buffer): string | undefined {
  // Nearly every line needs no second look.
  if (isUtf8(line) && line[0] !== 0xef && !line.includes('\\ud') && !line.includes('\\uD')) return undefined
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(line)
  const fixed = text
    .replace(/^\uFEFF/, '')
    .replace(escapes, (sequence) => (loneSurrogate.test(sequence) ? '\\ufffd' : sequence))
  if (Buffer.from(fixed).equals(line)) return undefined
  try {
    JSON.parse(fixed)
    return fixed
  } catch {
    return undefined
  }
}

/** Escapes of JSON strings, with both halves of a pair as one. */
const escapes = /\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)/g
const loneSurrogate = /^\\u[dD][89a-fA-F][0-9a-fA-F]{2}$/

/** Whether the file ends in a line that is not finished yet and no JSON: somebody is writing to it. Looks back `longest` bytes. */
export async function endsHalfWay(file: FileHandle, size: number, longest: number): Promise<boolean> {
  if (size === 0) return false
  const pieces: Buffer[] = []
  let at = size
  while (at > 0 && size - at < longest) {
    const piece = Buffer.alloc(Math.min(1 << 16, at))
    const { bytesRead } = await file.read(piece, 0, piece.length, at - piece.length)
    if (bytesRead < piece.length) return false
    if (at === size && piece.at(-1) === newline) return false
    at -= piece.length
    const end = piece.lastIndexOf(newline)
    pieces.unshift(end === -1 ? piece : piece.subarray(end + 1))
    if (end !== -1) break
  }
  const last = Buffer.concat(pieces)
  return !isBlank(last) && !isJson(last)
}

export function isJson(bytes: Buffer): boolean {
  try {
    JSON.parse(bytes.toString('utf8'))
    return true
  } catch {
    return false
  }
}

/** DuckDB gives a line without the white space around it. */
export function trimmed(bytes: Buffer): Buffer {
  const isSpace = (byte: number | undefined) => byte === 0x20 || (byte !== undefined && byte >= 0x09 && byte <= 0x0d)
  let start = 0
  let end = bytes.length
  while (start < end && isSpace(bytes[start])) start += 1
  while (end > start && isSpace(bytes[end - 1])) end -= 1
  return bytes.subarray(start, end)
}
