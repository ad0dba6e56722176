import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { lstat, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { readTarball } from '../archive/npm-tarball.ts'
import { systemCode } from '../errors.ts'

/** How a folder differs from a build. Paths below the folder, sorted; written by others: hostile. */
export interface Difference {
  /** Files of the build that have other content, or are no plain file (any more). */
  readonly changed: readonly string[]
  /** Files of the build that are not there. */
  readonly removed: readonly string[]
  /** What the build does not have: files, links, and whole folders (with `/` at the end). */
  readonly added: readonly string[]
  /** Files of the build that are there unchanged. */
  readonly same: number
  /** Whether a list was cut, or a folder not read to its end. */
  readonly cut: boolean
}

/** Names in one list. */
const maxListed = 200
/** Names read in one folder tree. */
const maxNames = 100_000

/** What is in a tarball: path to SHA-256 (hex) and size, of its files. */
export type Manifest = ReadonlyMap<string, { readonly sha256: string; readonly size: number }>

/** @throws IrError `refused` when it is not the tarball with this SHA-256 or not a safe one */
export async function manifestOf(tarball: string, sha256: string, signal: AbortSignal): Promise<Manifest> {
  const manifest = new Map<string, { sha256: string; size: number }>()
  for await (const entry of readTarball(tarball, { sha256, signal })) {
    if (entry.kind !== 'file') continue
    const hash = createHash('sha256')
    for await (const chunk of entry.content) hash.update(chunk)
    manifest.set(entry.path, { sha256: hash.digest('hex'), size: entry.size })
  }
  return manifest
}

/** Holds a folder against a build. Reads only, follows no link, and hashes only files that have the right size. */
export async function compareFolder(manifest: Manifest, folder: string, signal: AbortSignal): Promise<Difference> {
  const folders = new Set(['', ...[...manifest.keys()].flatMap(parentsOf)])
  const changed: string[] = []
  const added: string[] = []
  const seen = new Set<string>()
  let names = 0
  let cut = false

  const visit = async (path: string): Promise<void> => {
    for (const name of await readdir(join(folder, path)).catch(unreadable)) {
      signal.throwIfAborted()
      names += 1
      if (names > maxNames) {
        cut = true
        return
      }
      const below = path === '' ? name : `${path}/${name}`
      const stat = await lstat(join(folder, below)).catch(unreadable)
      const expected = manifest.get(below)
      if (expected !== undefined) {
        seen.add(below)
        const plain = 'isFile' in stat && stat.isFile() && stat.size === expected.size
        if (!plain || (await hashOf(join(folder, below), expected.size)) !== expected.sha256) changed.push(below)
      } else if ('isDirectory' in stat && stat.isDirectory()) {
        if (folders.has(below)) await visit(below)
        else added.push(`${below}/`)
      } else added.push(below)
    }
  }
  await visit('')

  const removed = [...manifest.keys()].filter((path) => !seen.has(path))
  const same = manifest.size - changed.length - removed.length
  const list = (paths: string[]): string[] => {
    if (paths.length > maxListed) cut = true
    return paths.sort().slice(0, maxListed)
  }
  return { changed: list(changed), removed: list(removed), added: list(added), same, cut }
}

function parentsOf(path: string): string[] {
  const parts = path.split('/').slice(0, -1)
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'))
}

/** Of at most one byte more than `size`. Undefined when it cannot be read as the plain file that it was a moment ago. */
async function hashOf(path: string, size: number): Promise<string | undefined> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    () => undefined,
  )
  if (handle === undefined) return undefined
  try {
    if (!(await handle.stat()).isFile()) return undefined
    const hash = createHash('sha256')
    for await (const chunk of handle.createReadStream({ autoClose: false, end: size })) hash.update(chunk)
    return hash.digest('hex')
  } finally {
    await handle.close()
  }
}

/** What is gone or may not be read counts as not there; everything else is an error. */
function unreadable(error: unknown): [] {
  if (['ENOENT', 'EACCES', 'EPERM', 'ENOTDIR', 'ELOOP'].includes(systemCode(error) ?? '')) return []
  throw error
}
