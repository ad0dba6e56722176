import { createHash, type Hash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, link, mkdir, open, readFile, rename, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { IrError, systemCode } from '../errors.ts'
import { number } from '../ui/format.ts'
import { safe } from '../ui/safe-text.ts'
import type { ExportPiece, Window } from './port.ts'

/** Bytes after which what was written is made safe and noted. */
const safeEvery = 4 << 20

/** What an export is about: another one is not gone on with. */
export interface ExportQuestion {
  readonly file: string
  readonly source: string
  readonly names: readonly string[]
  readonly window: Window
}

export interface Exported {
  readonly file: string
  readonly window: Window
  readonly records: number
  readonly bytes: number
  readonly sha256: string
}

/** How far an export has come; kept in the case. */
interface Progress extends Exported {
  readonly source: string
  readonly names: readonly string[]
  readonly mark: string | undefined
  readonly complete: boolean
}

/**
 * Writes an export to a file, so that it can be killed at any instant and gone on with: beside it lies what is written so far, in
 * the case how much of that is safe. The file appears when it is whole.
 *
 * @param notes folder in the case
 * @param pieces the source, from behind a mark on
 * @throws IrError input when something else lies there; refused when what was begun was changed; partial when the source broke off
 */
export async function exportTo(
  question: ExportQuestion,
  notes: string,
  pieces: (window: Window, after: string | undefined) => AsyncIterable<ExportPiece>,
): Promise<Exported> {
  const note = join(notes, `export-${createHash('sha256').update(question.file).digest('hex').slice(0, 16)}.json`)
  const before = await progressIn(note, question)
  if (before?.complete === true) {
    await name(before, note)
    return exportedOf(before)
  }
  if (await isThere(question.file)) throw taken(question.file)
  const part = `${question.file}.part`
  const handle = await openPart(part, before !== undefined)
  let written: Written | undefined
  /** The last note: what it speaks of is made safe while the next pieces come in. */
  let noting = Promise.resolve()
  try {
    written = before === undefined ? nothingYet() : await goOn(handle, part, before)
    const window = before?.window ?? question.window
    const state = (at: Written, complete: boolean): Progress => ({
      ...{ file: question.file, source: question.source, names: question.names, window, complete },
      ...{ records: at.records, bytes: at.bytes, mark: at.mark, sha256: at.hash.copy().digest('hex') },
    })
    await mkdir(notes, { recursive: true, mode: 0o700 })
    await keep(note, state(written, false))
    let noted = written.bytes
    for await (const piece of pieces(window, before?.mark)) {
      if (piece.anew === true) {
        await noting
        Object.assign(written, nothingYet())
        // Noted before it is cut off: a note that speaks of more than the file holds would look like somebody's change.
        await keep(note, state(written, false))
        await handle.truncate(0)
        noted = 0
        continue
      }
      const writing = writeAll(handle, piece.bytes, written.bytes)
      written.hash.update(piece.bytes)
      await writing
      written.bytes += piece.bytes.length
      written.records += piece.records
      if (piece.mark === undefined) continue
      written.mark = piece.mark
      if (written.bytes - noted < safeEvery) continue
      await noting
      const reached = state(written, false)
      noting = handle.datasync().then(() => keep(note, reached))
      // It is awaited in its turn; until then a failure of it is nobody's.
      noting.catch(() => undefined)
      noted = written.bytes
    }
    await noting
    await handle.sync()
    const done = state(written, true)
    await keep(note, done)
    await name(done, note)
    return exportedOf(done)
  } catch (error) {
    if (!(error instanceof IrError) || error.code !== 'unreachable' || written === undefined || written.bytes === 0)
      throw error
    throw new IrError('partial', `${error.message} ${number(written.records)} records were exported so far.`, {
      hints: ['The same command goes on from there.', ...error.hints],
      cause: error,
    })
  } finally {
    await noting.catch(() => undefined)
    await handle.close()
  }
}

/** A disk that fills up takes a part and says no only to the rest. */
async function writeAll(handle: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let put = 0; put < bytes.length; )
    put += (await handle.write(bytes, put, bytes.length - put, at + put)).bytesWritten
}

interface Written {
  bytes: number
  records: number
  mark: string | undefined
  hash: Hash
}

function nothingYet(): Written {
  return { bytes: 0, records: 0, mark: undefined, hash: createHash('sha256') }
}

async function progressIn(note: string, question: ExportQuestion): Promise<Progress | undefined> {
  let progress: Progress
  try {
    progress = JSON.parse(await readFile(note, 'utf8')) as Progress
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
  const same = (key: 'source' | 'names') => JSON.stringify(progress[key]) === JSON.stringify(question[key])
  // An export whose end was not named ended when it began, and goes on to there.
  const reaches = progress.window.since === question.window.since && progress.window.until <= question.window.until
  if (progress.file === question.file && same('source') && same('names') && reaches) return progress
  if (progress.complete && !(await isThere(question.file))) return undefined
  throw new IrError('input', `${safe(question.file)} was begun by this case for another window or another log.`, {
    hints: ['Name another file.'],
  })
}

function taken(file: string): IrError {
  return new IrError(
    'input',
    `${safe(file)} is there already, and is no export of this case: nothing is written over.`,
    {
      hints: ['Name another file.'],
    },
  )
}

/** Never through a link, never over anything that was there. */
async function openPart(part: string, goesOn: boolean): Promise<FileHandle> {
  const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW = 0 } = constants
  try {
    return await open(part, O_RDWR | O_NOFOLLOW | (goesOn ? 0 : O_CREAT | O_EXCL), 0o600)
  } catch (error) {
    const code = systemCode(error)
    if (code === 'EEXIST') throw taken(part)
    if (code === 'ELOOP')
      throw new IrError('refused', `${safe(part)} is a symbolic link: nothing is written through it.`)
    if (code === 'ENOENT' && goesOn)
      throw new IrError('refused', `${safe(part)}, which this case had begun, is gone.`, {
        hints: ['Name another file.'],
      })
    throw new IrError('input', `${safe(part)} cannot be written (${code ?? 'unknown error'}).`, { cause: error })
  }
}

/** What is safe stays; what came after it, and may be torn, is cut off. @throws IrError refused when somebody changed it */
async function goOn(handle: FileHandle, part: string, before: Progress): Promise<Written> {
  const hash = createHash('sha256')
  const { nlink } = await handle.stat()
  for await (const chunk of handle.createReadStream({
    start: 0,
    end: Math.max(0, before.bytes - 1),
    autoClose: false,
  })) {
    if (before.bytes > 0) hash.update(chunk as Buffer)
  }
  if (nlink !== 1 || hash.copy().digest('hex') !== before.sha256) {
    throw new IrError('refused', `${safe(part)} is not what this case had written of it.`, {
      hints: ['Name another file.'],
    })
  }
  await handle.truncate(before.bytes)
  return { bytes: before.bytes, records: before.records, mark: before.mark, hash }
}

function exportedOf({ file, window, records, bytes, sha256 }: Progress): Exported {
  return { file, window, records, bytes, sha256 }
}

/** Gives the whole file its name, unless that has happened. @throws IrError refused when what has that name is something else */
async function name({ file, sha256 }: Progress, note: string): Promise<void> {
  const part = `${file}.part`
  const isNamed = await link(part, file).then(
    () => true,
    (error: unknown) => {
      if (!['EEXIST', 'ENOENT'].includes(systemCode(error) ?? '')) throw error
      return false
    },
  )
  if (!isNamed && (await hashOf(file)) !== sha256)
    throw new IrError('refused', `${safe(file)} is not what this case had exported (${safe(note)}).`, {
      hints: ['Name another file.'],
    })
  if (await isThere(part)) await unlink(part)
  const folder = await open(dirname(file), 'r')
  await folder.sync()
  await folder.close()
}

async function hashOf(file: string): Promise<string | undefined> {
  const { O_RDONLY, O_NOFOLLOW = 0 } = constants
  const hash = createHash('sha256')
  let handle: FileHandle | undefined
  try {
    handle = await open(file, O_RDONLY | O_NOFOLLOW)
    for await (const chunk of handle.createReadStream()) hash.update(chunk as Buffer)
  } catch (error) {
    if (systemCode(error) === undefined) throw error
    return undefined
  } finally {
    await handle?.close()
  }
  return hash.digest('hex')
}

async function isThere(path: string): Promise<boolean> {
  try {
    await (await open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0))).close()
    return true
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false
    if (systemCode(error) === undefined) throw error
    return true
  }
}

async function keep(note: string, progress: Progress): Promise<void> {
  const handle = await open(`${note}.new`, 'w', 0o600)
  try {
    await handle.writeFile(JSON.stringify(progress))
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(`${note}.new`, note)
}
