import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { IrError } from '../../errors.ts'
import { safe } from '../../ui/safe-text.ts'
import { whole } from './counts.ts'
import type { Database } from './database.ts'
import { bytesOf, linesOf, trimmed } from './lines.ts'
import { isAsItWas, type Source } from './sources.ts'

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
    await fill(database, spool, sources, longest, signal)
    yield* inOrder(database, spool, signal)
  } finally {
    await spool.close()
  }
}

/** Copies the wanted lines behind each other. @throws IrError partial when they are not where they were */
async function fill(
  database: Database,
  spool: FileHandle,
  sources: readonly Source[],
  longest: number,
  signal: AbortSignal,
): Promise<void> {
  let end = 0
  await database.append('spool', async (add) => {
    for (const source of sources) {
      const wanted = wantedLines(database, source.index)
      let next = (await wanted.next()).value
      if (next === undefined) continue
      if (!(await isAsItWas(source))) throw changed(source)
      let n = 0
      for await (const lines of linesOf(bytesOf(source.path, source.gzip, signal), longest)) {
        const batch: Uint8Array[] = []
        for (const line of lines) {
          n += 1
          if (next === undefined || n !== next.n) continue
          if (line.bytes === undefined) throw changed(source)
          const text = trimmed(line.bytes)
          batch.push(Buffer.concat([text as Uint8Array, Buffer.from('\n')]))
          add([BigInt(next.place), BigInt(end), BigInt(text.length + 1)])
          end += text.length + 1
          next = (await wanted.next()).value
        }
        if (batch.length > 0) await spool.writev(batch)
        if (next === undefined) break
      }
      if (next !== undefined || !(await isAsItWas(source))) throw changed(source)
    }
  })
}

function changed({ file }: Source): IrError {
  return new IrError(
    'partial',
    `The invocation log ${safe(file)} changed while it was read: it was rotated, cut off or written anew.`,
    {
      hints: ['Run the step again.'],
    },
  )
}

interface Wanted {
  /** Of the row. */
  readonly place: number
  /** Number of the line in its file, from 1. */
  readonly n: number
}

async function* wantedLines(database: Database, file: number): AsyncGenerator<Wanted, undefined> {
  const [first] = await database.rows(`SELECT min(place) AS place FROM lines WHERE file = ${file}`)
  const before = whole(first?.place) - 1
  const wanted = `SELECT place FROM kept WHERE file = ${file} ORDER BY place`
  for await (const [place = []] of database.pieces(wanted)) {
    for (let row = 0; row < place.length; row += 1) yield { place: Number(place[row]), n: Number(place[row]) - before }
  }
  return undefined
}

async function* inOrder(database: Database, spool: FileHandle, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const places = 'SELECT start, size FROM spool JOIN kept USING (place) ORDER BY t, id, key'
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
