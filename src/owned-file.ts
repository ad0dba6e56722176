import { hash } from 'node:crypto'
import type { Stats } from 'node:fs'
import { constants, lstat, open, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { IrError, systemCode } from './errors.ts'
import { safe } from './ui/safe-text.ts'

const groupOrOthers = 0o077
const groupOrOthersWrite = 0o022
const othersWrite = 0o002
const sticky = 0o1000

export interface FileBytes {
  readonly bytes: Uint8Array
  /** SHA-256, hex. */
  readonly hash: string
}

/**
 * Reads a regular file. Never blocks on a pipe or a device that somebody put there.
 * @param limit bytes
 * @throws IrError input when it is missing, unreadable, no regular file or larger than the limit
 */
export async function readRegular(file: string, limit: number): Promise<FileBytes> {
  return (await read(file, limit, constants.O_RDONLY | constants.O_NONBLOCK)).content
}

/**
 * Reads a file that nobody but the user (or root) can have written: owner, mode and folder are checked on the very file
 * that is read. A symbolic link in its last part is refused.
 * @param uid of the user; undefined where the system has none (Windows), which skips the check
 * @throws IrError refused, with the command that mends it; input as `readRegular`
 */
export async function readOwned(file: string, limit: number, uid: number | undefined): Promise<FileBytes> {
  return (await readChecked(file, limit, uid)).content
}

async function readChecked(
  file: string,
  limit: number,
  uid: number | undefined,
): Promise<{ content: FileBytes; stats: Stats }> {
  const found = await read(file, limit, constants.O_RDONLY | constants.O_NONBLOCK | (constants.O_NOFOLLOW ?? 0))
  const folder = dirname(file)
  const problem = openToOthers(file, found.stats, uid) ?? folderOpenToOthers(folder, await stat(folder), uid)
  if (problem !== undefined) throw new IrError('refused', problem.message, { hints: [problem.hint] })
  return found
}

/**
 * Reads a secret: as `readOwned`, and nobody but the user (or root) can read it either.
 * @throws IrError as `readOwned`
 */
export async function readPrivate(file: string, limit: number, uid: number | undefined): Promise<FileBytes> {
  const { content, stats } = await readChecked(file, limit, uid)
  if (uid !== undefined && (stats.mode & groupOrOthers) !== 0)
    throw new IrError('refused', `${safe(file)} can be read by others (mode ${mode(stats)})`, {
      hints: [`Make a new one if somebody may have, else: chmod 600 ${quoted(file)}`],
    })
  return content
}

/** Whether somebody else could have written this file, and what mends it. Follows links. Undefined: no, or no such file. */
export async function writableByOthers(
  file: string,
  uid: number | undefined,
): Promise<{ message: string; hint: string } | undefined> {
  try {
    const folder = dirname(file)
    return openToOthers(file, await stat(file), uid) ?? folderOpenToOthers(folder, await stat(folder), uid)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw unreadable(file, error)
  }
}

function openToOthers(file: string, stats: Stats, uid: number | undefined) {
  if (uid === undefined) return undefined
  if (stats.uid !== uid && stats.uid !== 0)
    return {
      message: `${safe(file)} belongs to another user (uid ${stats.uid}): it must belong to you or to root`,
      hint: `read it first, then take it over: sudo chown ${uid} ${quoted(file)}`,
    }
  if ((stats.mode & groupOrOthersWrite) !== 0)
    return {
      message: `${safe(file)} is writable by others (mode ${mode(stats)})`,
      hint: `read it first, as somebody else may have changed it, then: chmod go-w ${quoted(file)}`,
    }
  return undefined
}

// In a folder that all may write to, anybody can put another file of the same name, or what the file points to, in its
// place; the sticky bit (/tmp) forbids that. A folder's group may write: what it puts there does not belong to the user.
function folderOpenToOthers(folder: string, stats: Stats, uid: number | undefined) {
  if (uid === undefined || (stats.mode & othersWrite) === 0 || (stats.mode & sticky) !== 0) return undefined
  return {
    message: `${safe(folder)} is writable by everybody (mode ${mode(stats)}), so its files can be replaced`,
    hint: `chmod o-w ${quoted(folder)}`,
  }
}

async function read(file: string, limit: number, flags: number): Promise<{ content: FileBytes; stats: Stats }> {
  try {
    const handle = await open(file, flags)
    try {
      const stats = await handle.stat()
      if (!stats.isFile()) throw new IrError('input', `${safe(file)} is not a regular file`)
      if (stats.size > limit)
        throw new IrError('input', `${safe(file)} is larger than ${limit / 1024 ** 2} MiB, which cannot be right`)
      const bytes = await handle.readFile()
      return { content: { bytes, hash: hash('sha256', bytes, 'hex') }, stats }
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (error instanceof IrError) throw error
    if (systemCode(error) === 'ELOOP' && (await isLink(file)))
      throw new IrError('refused', `${safe(file)} is a symbolic link: where it leads can be changed without a trace`, {
        hints: ['name the file itself, for a configuration with --config FILE'],
      })
    throw unreadable(file, error)
  }
}

async function isLink(file: string): Promise<boolean> {
  try {
    return (await lstat(file)).isSymbolicLink()
  } catch (error) {
    throw unreadable(file, error)
  }
}

function unreadable(file: string, error: unknown): IrError {
  const code = systemCode(error)
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return new IrError('input', `${safe(file)} does not exist`, { cause: error })
  if (code === undefined) throw error
  return new IrError('input', `${safe(file)} cannot be read (${code})`, { cause: error })
}

const mode = (stats: Stats) => (stats.mode & 0o7777).toString(8).padStart(4, '0')

/** For a command that the responder copies: in single quotes unless it is plain. */
function quoted(file: string): string {
  return /^[\w./@+-]+$/.test(file) ? file : `'${safe(file, 4096).replaceAll("'", `'\\''`)}'`
}
