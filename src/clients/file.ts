import { hash } from 'node:crypto'
import { constants } from 'node:fs'
import { chmod, type FileHandle, mkdir, open, readdir, readFile, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { IrError, StorageError, systemCode } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'

/** A client's configuration file as it lies there. */
export type Looked =
  | { readonly state: 'absent' }
  /** Left as it is: not a file of its own. */
  | { readonly state: 'strange'; readonly why: string }
  | ({ readonly state: 'file'; readonly bytes: Uint8Array; readonly sha256: string } & Owned)

/** Who a file belongs to, and its permission bits. */
export interface Owned {
  readonly mode: number
  readonly uid: number
  readonly gid: number
}

const maxBytes = 64 * 1024 ** 2

export const sha256 = (bytes: Uint8Array): string => hash('sha256', bytes, 'hex')

/** Reads a file, never through a link. @throws IrError denied when it may not be read */
export async function lookAt(file: string): Promise<Looked> {
  let handle: FileHandle
  try {
    handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return { state: 'absent' }
    if (code === 'ELOOP') return { state: 'strange', why: 'it is a symbolic link' }
    if (code === 'ENXIO') return { state: 'strange', why: 'it is no regular file' }
    throw failed(`${safe(file)} cannot be read`, error)
  }
  try {
    const stats = await handle.stat()
    if (!stats.isFile()) return { state: 'strange', why: 'it is no regular file' }
    if (stats.nlink > 1) return { state: 'strange', why: 'it has a second name (a hard link), which would be cut' }
    if (stats.size > maxBytes) return { state: 'strange', why: `it is larger than ${maxBytes / 1024 ** 2} MiB` }
    const bytes = await handle.readFile()
    const { mode, uid, gid } = stats
    return { state: 'file', bytes, sha256: sha256(bytes), mode: mode & 0o7777, uid, gid }
  } catch (error) {
    throw failed(`${safe(file)} cannot be read`, error)
  } finally {
    await handle.close()
  }
}

/**
 * Puts a file in the place of another in one move: written beside it, synced, renamed. Keeps mode and owner.
 * @param expected SHA-256 of what is replaced; undefined when there is nothing
 * @param id makes the name of the file beside it, so that one that a crash left is found again
 * @throws IrError refused when something else lies there; denied
 */
export async function replace(
  file: string,
  bytes: Uint8Array,
  owned: Owned,
  expected: string | undefined,
  id: string,
): Promise<void> {
  const beside = join(dirname(file), `.${basename(file).slice(0, 100)}.mcp-ir-${id}`)
  try {
    await remove(beside)
    const handle = await open(beside, 'wx', 0o600)
    try {
      await handle.writeFile(bytes)
      const made = await handle.stat()
      if (made.uid !== owned.uid || made.gid !== owned.gid) await handle.chown(owned.uid, owned.gid)
      await handle.chmod(owned.mode)
      await handle.sync()
    } finally {
      await handle.close()
    }
    const now = await lookAt(file)
    if ((now.state === 'file' ? now.sha256 : now.state === 'absent' ? undefined : now.why) !== expected) {
      throw new IrError('refused', `${safe(file)} changed meanwhile: it was left as it is.`, {
        hints: ['Run the same command again: it looks at the file anew.'],
      })
    }
    await rename(beside, file)
  } catch (error) {
    await remove(beside).catch(() => undefined)
    throw failed(`${safe(file)} cannot be written with its owner and mode`, error)
  }
  await sync(dirname(file))
}

const folderOf = (privateFolder: string): string => join(privateFolder, 'clients')

/** Keeps bytes in the case's private folder, under their SHA-256; on disk when it returns. @throws StorageError */
export async function keep(privateFolder: string, file: string, bytes: Uint8Array): Promise<void> {
  const folder = folderOf(privateFolder)
  const name = sha256(bytes)
  try {
    await mkdir(join(folder, 'files'), { recursive: true, mode: 0o700 })
    await chmod(folder, 0o700)
    const id = sha256(Buffer.from(file))
    await put(join(folder, 'files', id), Buffer.from(file), id)
    if ((await kept(privateFolder, name)) === undefined) await put(join(folder, name), bytes, id)
  } catch (error) {
    throw new StorageError(`The original bytes cannot be kept in the case (${systemCode(error) ?? 'unknown error'}).`, {
      cause: error,
    })
  }
}

/** Bytes that were kept, if they are there and whole. */
export async function kept(privateFolder: string, name: string): Promise<Uint8Array | undefined> {
  if (!/^[0-9a-f]{64}$/.test(name)) return undefined
  try {
    const bytes = await readFile(join(folderOf(privateFolder), name))
    return sha256(bytes) === name ? bytes : undefined
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined
    throw failed('The original bytes in the case cannot be read', error)
  }
}

/** The files whose original bytes the case keeps: what release may have to put back. */
export async function keptFiles(privateFolder: string): Promise<readonly string[]> {
  const folder = join(folderOf(privateFolder), 'files')
  try {
    const names = (await readdir(folder)).filter((name) => /^[0-9a-f]{64}$/.test(name)).sort()
    const files = await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')))
    return files.filter((file, at) => sha256(Buffer.from(file)) === names[at])
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return []
    throw failed('What the case keeps of client configurations cannot be read', error)
  }
}

/** @param id of the client's file: two with the same bytes are kept at the same time, under one name */
async function put(path: string, bytes: Uint8Array, id: string): Promise<void> {
  const beside = `${path}.${id.slice(0, 16)}.new`
  await remove(beside)
  const handle = await open(beside, 'wx', 0o600)
  try {
    await handle.writeFile(bytes)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(beside, path)
  await sync(dirname(path))
}

async function remove(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
}

async function sync(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function failed(what: string, error: unknown): Error {
  if (error instanceof IrError) return error
  const code = systemCode(error)
  if (code === undefined) return error instanceof Error ? error : new TypeError('not an error')
  const denied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS'
  return new IrError(denied ? 'denied' : 'unreachable', `${what} (${code}).`, {
    hints: denied ? ['Run the same with sudo, or as the user whom the file belongs to.'] : [],
    cause: error,
  })
}
