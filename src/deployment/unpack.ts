import { constants } from 'node:fs'
import { lstat, mkdir, mkdtemp, open, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { readTarball, type TarballLimits } from '../archive/npm-tarball.ts'
import { IrError, systemCode } from '../errors.ts'

export interface Unpacked {
  readonly files: number
  readonly bytes: number
}

export interface UnpackOptions {
  readonly signal: AbortSignal
  /** SHA-256 (hex) of the tarball that was verified; what is unpacked is refused when it is another one. */
  readonly sha256: string
  readonly limits?: Partial<TarballLimits>
}

/**
 * Unpacks an npm tarball into `folder/package/`, all of it or nothing: it is written beside `folder` under a temporary
 * name, fsynced, and renamed only once the last byte was read and the digest is right.
 * @param folder must not exist; its parent must
 * @throws IrError `refused` when the tarball or the place is not right; nothing is left behind then
 */
export async function unpackTarball(file: string, folder: string, options: UnpackOptions): Promise<Unpacked> {
  if ((await lstat(folder).catch(absent)) !== undefined) throw new IrError('refused', `${folder} exists already`)
  await removeLeftovers(folder)
  const partial = await mkdtemp(`${leftover(folder)}`)
  try {
    const unpacked = await write(file, join(partial, 'package'), options)
    await syncFolder(partial)
    await rename(partial, folder)
    await syncFolder(dirname(folder))
    return unpacked
  } catch (error) {
    await rm(partial, { recursive: true, force: true })
    throw error
  }
}

/** Removes what a killed attempt to unpack into this very folder left. */
async function removeLeftovers(folder: string): Promise<void> {
  const prefix = basename(leftover(folder))
  for (const name of await readdir(dirname(folder))) {
    if (name.startsWith(prefix)) await rm(join(dirname(folder), name), { recursive: true, force: true })
  }
}

function leftover(folder: string): string {
  return join(dirname(folder), `.${basename(folder)}.partial-`)
}

async function write(file: string, root: string, options: UnpackOptions): Promise<Unpacked> {
  const folders = new Set([''])
  await mkdir(root, { mode: 0o755 })
  let files = 0
  let bytes = 0
  /** Makes a folder and those above it, each by itself: nothing that exists is ever followed, all of it is ours. */
  const makeFolder = async (path: string): Promise<void> => {
    if (folders.has(path)) return
    await makeFolder(parentOf(path))
    await mkdir(join(root, path), { mode: 0o755 })
    folders.add(path)
  }
  for await (const entry of readTarball(file, options)) {
    if (entry.kind === 'directory') {
      await makeFolder(entry.path)
      continue
    }
    await makeFolder(parentOf(entry.path))
    const mode = entry.executable ? 0o755 : 0o644
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants
    const handle = await open(join(root, entry.path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode)
    try {
      for await (const chunk of entry.content) {
        await handle.writeFile(chunk)
        bytes += chunk.length
      }
      // Whatever the umask is, and never setuid, setgid or writable for others.
      await handle.chmod(mode)
      await handle.sync()
    } finally {
      await handle.close()
    }
    files += 1
  }
  for (const path of folders) await syncFolder(join(root, path))
  return { files, bytes }
}

function parentOf(path: string): string {
  const parent = dirname(path)
  return parent === '.' ? '' : parent
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function absent(error: unknown): undefined {
  if (systemCode(error) === 'ENOENT') return undefined
  throw error
}
