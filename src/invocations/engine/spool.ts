import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { IrError } from '../../errors.ts'
import { whole } from './counts.ts'
import type { Database } from './database.ts'
import { bytesOf, linesOf, trimmed } from './lines.ts'
import type { Source } from './sources.ts'

const piece = 1 << 20

/**
 * The lines behind the rows of the table `kept`, ordered by time, from the files once more. They go to a file on the disk as
 * they come, then out again in order; DuckDB sorts the places, so that neither their number nor their size costs memory.
 */
export async function* rawLines(
  database: Database,
  sources: readonly Source[],
  longest: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const path = join(database.folder, 'lines.spool')
  const spool = await open(path, 'wx+', 0o600)
  try {
    // Nameless from here on: what it holds may be secret, and must not outlive a process that is killed.
    await unlink(path)
    await database.run('CREATE OR REPLACE TABLE spool (place BIGINT, start BIGINT, size BIGINT)')
    const missing = await fill(database, spool, sources, longest, signal)
    if (missing > 0) {
      throw new IrError(
        'partial',
        `The invocation log changed while it was read: ${missing} records could not be fetched again.`,
        {
          hints: ['Run the step again.'],
        },
      )
    }
    yield* inOrder(database, spool, signal)
  } finally {
    await spool.close()
  }
}

/** Copies the wanted lines behind each other. @returns how many were not where they had been */
async function fill(
  database: Database,
  spool: FileHandle,
  sources: readonly Source[],
  longest: number,
  signal: AbortSignal,
): Promise<number> {
  let end = 0
  let missing = 0
  await database.append('spool', async (add) => {
    for (const source of sources) {
      const wanted = wantedLines(database, source.index)
      let next = (await wanted.next()).value
      if (next === undefined) continue
      let n = 0
      for await (const lines of linesOf(bytesOf(source.path, source.gzip, signal), longest)) {
        const batch: Uint8Array[] = []
        for (const line of lines) {
          n += 1
          if (next === undefined || n !== next.n) continue
          const text = line.bytes === undefined ? '' : trimmed(line.bytes)
          if (text.length === next.size) {
            batch.push(Buffer.concat([text as Uint8Array, Buffer.from('\n')]))
            add([BigInt(next.place), BigInt(end), BigInt(text.length + 1)])
            end += text.length + 1
          } else missing += 1
          next = (await wanted.next()).value
        }
        if (batch.length > 0) await spool.writev(batch)
        if (next === undefined) break
      }
      while (next !== undefined) {
        missing += 1
        next = (await wanted.next()).value
      }
    }
  })
  return missing
}

interface Wanted {
  /** Of the row. */
  readonly place: number
  /** Number of the line in its file, from 1. */
  readonly n: number
  readonly size: number
}

async function* wantedLines(database: Database, file: number): AsyncGenerator<Wanted, undefined> {
  const [first] = await database.rows(`SELECT min(rowid) AS place FROM lines WHERE file = ${file}`)
  const before = whole(first?.place) - 1
  const wanted = `SELECT place, size FROM kept WHERE file = ${file} ORDER BY place`
  for await (const [place = [], size = []] of database.pieces(wanted)) {
    for (let row = 0; row < place.length; row += 1)
      yield { place: Number(place[row]), n: Number(place[row]) - before, size: Number(size[row]) }
  }
  return undefined
}

async function* inOrder(database: Database, spool: FileHandle, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const places = 'SELECT start, spool.size FROM spool JOIN kept USING (place) ORDER BY t, id, key'
  let from = 0
  let to = 0
  for await (const [start = [], size = []] of database.pieces(places)) {
    for (let row = 0; row < start.length; row += 1) {
      // Lines that lie behind each other, which is nearly all of them, are read together.
      if (Number(start[row]) !== to) {
        yield* bytesBetween(spool, from, to, signal)
        from = Number(start[row])
        to = from
      }
      to += Number(size[row])
    }
  }
  yield* bytesBetween(spool, from, to, signal)
}

async function* bytesBetween(
  spool: FileHandle,
  from: number,
  to: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  for (let at = from; at < to; ) {
    signal.throwIfAborted()
    const { bytesRead, buffer } = await spool.read(Buffer.alloc(Math.min(piece, to - at)), 0, null, at)
    if (bytesRead === 0) throw new IrError('partial', 'A temporary file of ours was cut off by somebody else.')
    yield buffer.subarray(0, bytesRead)
    at += bytesRead
  }
}
