import { createHash, randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Evidence, EvidenceRef } from '../change.ts'
import { IrError, StorageError, systemCode } from '../errors.ts'
import type { Journal } from './journal.ts'
import { evidenceOf } from './state.ts'

type Content = string | Uint8Array | AsyncIterable<string | Uint8Array>

/** The evidence of a case: files named by their SHA-256, written whole or not at all, journalled once they are on disk. */
export class EvidenceStore implements Evidence {
  readonly #folder: string
  readonly #journal: Journal
  /** How many entries the manifest had when it was last written. */
  #listed = 0
  /** By hash and name. */
  readonly #known = new Set<string>()
  #read = 0
  #syncing: Promise<void> | undefined

  constructor(caseFolder: string, journal: Journal) {
    this.#folder = join(caseFolder, 'evidence')
    this.#journal = journal
  }

  async put(name: string, mediaType: string, content: Content): Promise<EvidenceRef> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 })
    const temporary = join(this.#folder, `.${randomBytes(8).toString('hex')}`)
    let ref: EvidenceRef
    try {
      const file = await open(temporary, 'wx', 0o600)
      try {
        ref = { name, mediaType, ...(await digest(content, (chunk) => file.writeFile(chunk))) }
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(temporary, this.path(ref.sha256))
      await this.#syncFolder()
    } catch (error) {
      await rm(temporary, { force: true })
      if (systemCode(error) === undefined || error instanceof IrError) throw error
      throw new StorageError(`Evidence ${name} could not be written (${systemCode(error)}).`, { cause: error })
    }
    if (!this.#stored().has(keyOf(ref)))
      await this.#journal.commit('evidence.stored', { ...ref, path: `evidence/${ref.sha256}` })
    // Written once more for each put, it would be a square of them.
    if (this.#stored().size > this.#listed * 1.25) this.writeManifest()
    return ref
  }

  #stored(): ReadonlySet<string> {
    const { lines } = this.#journal
    for (; this.#read < lines.length; this.#read++) {
      const line = lines[this.#read]
      if (line?.kind === 'evidence.stored') this.#known.add(keyOf(line.data))
    }
    return this.#known
  }

  /** One sync serves all files that were renamed before it began. */
  async #syncFolder(): Promise<void> {
    await this.#syncing?.catch(() => undefined)
    this.#syncing ??= syncFolder(this.#folder).finally(() => {
      this.#syncing = undefined
    })
    await this.#syncing
  }

  get(sha256: string): Promise<Buffer> {
    return getEvidence(this.path(sha256))
  }

  path(sha256: string): string {
    if (!/^[0-9a-f]{64}$/.test(sha256)) throw new TypeError('evidence is named by its SHA-256 in hex')
    return join(this.#folder, sha256)
  }

  /**
   * `manifest.json` repeats what the journal says of the evidence, for whoever has only this folder. While more is stored it lags
   * behind by a quarter at most; it is whole once the case is closed.
   */
  writeManifest(): void {
    const entries = evidenceOf(this.#journal.lines)
    if (entries.length === this.#listed) return
    this.#listed = entries.length
    try {
      writeAtomically(join(this.#folder, 'manifest.json'), manifest(entries))
    } catch (error) {
      // It repeats the journal, and is made whole when the case is opened again.
      if (systemCode(error) === undefined) throw error
    }
  }
}

/** For `--dry-run`: hashes and keeps nothing. */
export class NoEvidence implements Evidence {
  readonly #stored: EvidenceStore | undefined

  /** @param stored what an existing case already has, readable */
  constructor(stored?: EvidenceStore) {
    this.#stored = stored
  }

  async put(name: string, mediaType: string, content: Content): Promise<EvidenceRef> {
    return { name, mediaType, ...(await digest(content, async () => {})) }
  }

  get(sha256: string): Promise<Uint8Array> {
    if (this.#stored === undefined) throw new IrError('input', 'A dry run keeps no evidence.')
    return this.#stored.get(sha256)
  }

  path(sha256: string): string {
    if (this.#stored === undefined) throw new IrError('input', 'A dry run keeps no evidence.')
    return this.#stored.path(sha256)
  }
}

export function manifest(entries: readonly EvidenceRef[]): string {
  return `${JSON.stringify(
    entries.map(({ sha256, bytes, name, mediaType }) => ({ sha256, bytes, name, mediaType })),
    undefined,
    2,
  )}\n`
}

/** Whole or not at all: temporary name, fsync, rename, fsync of the folder. Mode 0600. */
export function writeAtomically(path: string, content: string | Uint8Array): void {
  const temporary = `${path}.${randomBytes(8).toString('hex')}`
  try {
    const file = openSync(temporary, 'wx', 0o600)
    try {
      writeFileSync(file, content)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
}

/** A torn journal line, kept under its hash without a journal line of its own: the journal is what is being mended. */
export function setAside(caseFolder: string, bytes: Uint8Array): string {
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  writeAtomically(join(caseFolder, 'evidence', sha256), bytes)
  return sha256
}

async function getEvidence(path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (error) {
    throw new IrError('refused', `Evidence ${path} cannot be read (${systemCode(error) ?? 'unknown error'}).`, {
      hints: ['Run `mcp-ir case check` to see what of the case is damaged.'],
      cause: error,
    })
  }
}

async function digest(
  content: Content,
  write: (chunk: Uint8Array) => Promise<void>,
): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash('sha256')
  let bytes = 0
  const chunks = typeof content === 'string' || content instanceof Uint8Array ? [content] : content
  for await (const part of chunks) {
    const chunk = typeof part === 'string' ? Buffer.from(part) : part
    hash.update(chunk)
    bytes += chunk.length
    await write(chunk)
  }
  return { sha256: hash.digest('hex'), bytes }
}

function keyOf({ sha256, name }: Pick<EvidenceRef, 'sha256' | 'name'>): string {
  return `${sha256} ${name}`
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
