import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { IrError, systemCode } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'

export const journalName = 'journal.ndjson'
export const manifestName = 'evidence/manifest.json'
/** What an anchor answered. */
export const receiptsName = 'anchors.ndjson'
export const sealName = 'seal.json'
/** In an export: the SHA-256 of every other file in it, as `sha256sum -c` reads it. */
export const sumsName = 'SHA256SUMS'
/** In a redacted export: what was left out. */
export const redactedName = 'REDACTED.json'

const plain = [journalName, receiptsName, sealName, sumsName, redactedName]
const listed = [/^evidence\/(?:[0-9a-f]{64}|manifest\.json)$/, /^report\/report\.(?:html|md|json)$/]

/** Whether a file of this path, relative to the case folder, is for others: `private/` and the lock never are. */
export function isOfCase(path: string): boolean {
  return plain.includes(path) || listed.some((pattern) => pattern.test(path))
}

export interface Fingerprint {
  /** Hex. */
  readonly sha256: string
  readonly bytes: number
}

/** The files of a case for others, in its folder or in an export of it. Paths are relative to the case folder, with `/`. */
export interface CaseFiles {
  /** Those that are there, in order. */
  readonly paths: readonly string[]
  /** Whole, so not for evidence. Undefined when it is not there. */
  read(path: string): Promise<Buffer | undefined>
  fingerprint(path: string): Promise<Fingerprint | undefined>
}

/** @throws IrError refused when one of them is no regular file */
export async function caseFiles(folder: string): Promise<CaseFiles> {
  const names = [folder, 'evidence', 'report'].map(async (part, index) =>
    index === 0 ? await namesIn(folder) : (await namesIn(join(folder, part))).map((name) => `${part}/${name}`),
  )
  // Evidence is large: each is read once, however often it is asked for.
  const fingerprints = new Map<string, Promise<Fingerprint | undefined>>()
  return {
    paths: (await Promise.all(names)).flat().filter(isOfCase).toSorted(),
    read: (path) => withFile(join(folder, path), async (file) => await file.readFile()),
    fingerprint: (path) => {
      const known = fingerprints.get(path) ?? withFile(join(folder, path), fingerprintOf)
      fingerprints.set(path, known)
      return known
    },
  }
}

async function fingerprintOf(file: FileHandle): Promise<Fingerprint> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of file.createReadStream({ autoClose: false })) {
    hash.update(chunk)
    bytes += chunk.length
  }
  return { sha256: hash.digest('hex'), bytes }
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return []
    throw error
  }
}

/** A link or a pipe in a case folder is nobody's evidence: it leads elsewhere, or never ends. */
export async function openCaseFile(path: string): Promise<FileHandle | undefined> {
  let file: FileHandle
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw notPlain(path, error)
  }
  if ((await file.stat()).isFile()) return file
  await file.close()
  throw notPlain(path, undefined)
}

async function withFile<T>(path: string, work: (file: FileHandle) => Promise<T>): Promise<T | undefined> {
  const file = await openCaseFile(path)
  try {
    return file === undefined ? undefined : await work(file)
  } finally {
    await file?.close()
  }
}

function notPlain(path: string, cause: unknown): IrError {
  const why = systemCode(cause) === 'EACCES' ? 'may not be read' : 'is no regular file'
  return new IrError('refused', `${safe(path)} ${why}.`, { cause })
}
