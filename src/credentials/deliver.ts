import { constants } from 'node:fs'
import { type FileHandle, open, realpath, rename, stat, unlink } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path'
import { parseEnv } from 'node:util'
import type { Problem } from '../change.ts'
import { IrError, systemCode } from '../errors.ts'

/**
 * Where a new secret goes on this machine: a dotenv file that several credentials share, or a file with the bare secret.
 * It gets there in two moves, so that a crash between them loses nothing: `stage` puts it into a file of its own beside
 * the destination (0600, fsynced), `finish` renames that over the destination.
 */
export interface Destination {
  readonly path: string
  /** Key in the dotenv file; undefined for a file that holds the bare secret and a newline. */
  readonly key: string | undefined
  /** Makes the staged file's name: the id of the change that delivers. */
  readonly changeId: string
}

const maxSecret = 64 * 1024
const maxFile = 1024 * 1024

/** The key of a credential in a dotenv file: `api-key` becomes `API_KEY`. */
export function keyOf(credentialId: string): string {
  const key = credentialId.toUpperCase().replace(/[^A-Z0-9]/g, '_')
  // No reader of dotenv files takes a name that starts with a digit.
  return /^\d/.test(key) ? `_${key}` : key
}

/**
 * What a dotenv line cannot carry to every reader alike, in plain words; undefined when it can. Node, npm's dotenv and a shell
 * differ in what a backslash, a quote or a dollar means between double quotes, so that none of them is written.
 */
export function cannotCarry(secret: string): string | undefined {
  if (secret === '') return 'it is empty'
  if (Buffer.byteLength(secret) > maxSecret) return `it is longer than ${maxSecret} bytes`
  if (!secret.isWellFormed()) return 'it is not valid Unicode'
  if (/[\r\n\u2028\u2029\u0085]/.test(secret)) return 'it has a line break'
  if (secret.includes('\0')) return 'it has a NUL character'
  if (/\p{Cc}/u.test(secret)) return 'it has a control character'
  if (secret.includes('"')) return 'it has a double quote'
  if (secret.includes('\\')) return 'it has a backslash'
  if (/[$`]/.test(secret)) return 'it has a dollar sign or a backtick, which a shell would run'
  return undefined
}

/**
 * The text of a dotenv file with `key` set: its line replaced where it stands, every other line kept as it is.
 * @throws IrError input when the secret or the file cannot be carried; the message holds neither
 */
export function mergeDotenv(text: string, key: string, secret: string): string {
  const why = cannotCarry(secret)
  if (why !== undefined)
    throw new IrError('input', `The new secret cannot be written as ${key} to a dotenv file: ${why}`)
  const line = `${key}="${secret}"`
  const assigns = new RegExp(`^[ \\t]*(?:export[ \\t]+)?${key}[ \\t]*=`)
  const kept: string[] = []
  let written = false
  for (const old of text === '' ? [] : text.replace(/\n$/, '').split('\n')) {
    if (!assigns.test(old)) kept.push(old)
    else if (!written) {
      kept.push(line)
      written = true
    }
  }
  if (!written) kept.push(line)
  const merged = `${kept.join('\n')}\n`
  // A value over several lines may have a line that looks like ours: rather than guess, compare what a reader sees.
  const before = Object.entries(parseEnv(text)).filter(([name]) => name !== key)
  const after = parseEnv(merged)
  if (after[key] !== secret || before.some(([name, value]) => after[name] !== value))
    throw new IrError('input', `${key} cannot be set in the dotenv file without altering its other values`, {
      hints: ['The file has a value over several lines or an open quote: name another file to deliver to'],
    })
  return merged
}

/**
 * Whether a secret may be delivered there. Reads only.
 * @param avoid folders that the suspect reads (its working folders), and the file that it has its old secret from
 */
export async function checkDestination(
  destination: Destination,
  avoid: { readonly folders: readonly string[]; readonly file: string | undefined },
): Promise<readonly Problem[]> {
  const { path } = destination
  const hint = 'Name another file with deliverTo: {kind: file, path: …} in the registry'
  const folder = dirname(path)
  const info = await stat(folder).catch(absent)
  if (info === undefined || !info.isDirectory())
    return [
      { kind: 'input', message: `The folder to deliver to does not exist: ${folder}`, hint: `mkdir -m 700 ${folder}` },
    ]
  const problems: Problem[] = []
  if (avoid.file !== undefined && (await real(avoid.file)) === (await real(path)))
    problems.push({
      kind: 'refused',
      message: `The new secret would go into ${path}, where the compromised server reads its old one from`,
      hint,
    })
  else {
    for (const suspect of avoid.folders) {
      if (!(await isInside(path, suspect))) continue
      problems.push({
        kind: 'refused',
        message: `The new secret would go into ${path}, inside the compromised server's own folder ${suspect}: it could read it`,
        hint,
      })
      break
    }
  }
  if ((info.mode & 0o002) !== 0 && (info.mode & 0o1000) === 0)
    problems.push({
      kind: 'refused',
      message: `Anybody may replace files in ${folder}, where the new secret would go`,
      hint,
    })
  try {
    const text = await readDestination(destination)
    // A harmless value shows now, before anything is issued, whether the file can take one.
    if (destination.key !== undefined) mergeDotenv(text, destination.key, 'x')
  } catch (error) {
    if (!(error instanceof IrError)) throw error
    problems.push({ kind: error.code === 'refused' ? 'refused' : 'input', message: error.message, hint })
  }
  return problems
}

/**
 * The secret that stands at the destination; undefined when there is none.
 * @throws IrError when the destination cannot be read or is not a plain file
 */
export async function delivered(destination: Destination): Promise<string | undefined> {
  return secretIn(destination, await readDestination(destination))
}

/**
 * The secret that an interrupted delivery left staged. One that was not written to its end counts as none.
 */
export async function staged(destination: Destination): Promise<string | undefined> {
  const text = await readPlain(stagedPath(destination)).catch((error: unknown) => {
    if (error instanceof IrError) return undefined
    throw error
  })
  return text?.endsWith('\n') === true ? secretIn(destination, text) : undefined
}

/**
 * Whether a secret could be staged at all: makes the staged file, empty. Called before a secret is issued, as one that cannot
 * be put anywhere would be lost.
 * @throws IrError input when it cannot be written
 */
export async function prepare(destination: Destination): Promise<void> {
  await discard(destination)
  await writeNew(stagedPath(destination), '')
}

/** Puts the secret on disk beside its destination, fsynced. @throws IrError */
export async function stage(destination: Destination, secret: string): Promise<void> {
  const text = destination.key === undefined ? bare(secret) : mergeDotenv('', destination.key, secret)
  await discard(destination)
  await writeNew(stagedPath(destination), text)
}

/** Moves the staged secret to its destination. Other deliveries into the same file wait. @throws IrError */
export async function finish(destination: Destination): Promise<void> {
  await exclusively(destination.path, async () => {
    const next = stagedPath(destination)
    const { key } = destination
    if (key !== undefined) {
      const secret = await staged(destination)
      if (secret === undefined) throw new IrError('partial', `${next} is gone: the new secret cannot be delivered`)
      // Merged only now, so that what others delivered meanwhile stays.
      const merging = `${next}.merge`
      await remove(merging)
      await writeNew(merging, mergeDotenv(await readDestination(destination), key, secret))
      await move(merging, next)
    } else await readDestination(destination) // refuses a link that was put there since
    await move(next, destination.path)
  })
}

/** Removes what an interrupted delivery left. */
export async function discard(destination: Destination): Promise<void> {
  await remove(stagedPath(destination))
  await remove(`${stagedPath(destination)}.merge`)
}

function stagedPath({ path, changeId }: Destination): string {
  return join(dirname(path), `.${basename(path)}.${changeId}`)
}

function secretIn(destination: Destination, text: string): string | undefined {
  const secret = destination.key === undefined ? text.replace(/\r?\n$/, '') : parseEnv(text)[destination.key]
  return secret === '' ? undefined : secret
}

function bare(secret: string): string {
  if (secret === '' || /[\r\n\0]/.test(secret) || Buffer.byteLength(secret) > maxSecret)
    throw new IrError('input', 'The new secret cannot be written to a file: it is empty, too long or has a line break')
  return `${secret}\n`
}

async function readDestination({ path }: Destination): Promise<string> {
  return (await readPlain(path)) ?? ''
}

/** Text of a regular file, never through a link; undefined when there is none. */
async function readPlain(path: string): Promise<string | undefined> {
  let file: FileHandle
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOENT') return undefined
    if (code === 'ELOOP') throw new IrError('refused', `${path} is a symbolic link: nothing is delivered through it`)
    throw new IrError('input', `${path} cannot be read (${code ?? 'unknown error'})`)
  }
  try {
    const info = await file.stat()
    if (!info.isFile()) throw new IrError('refused', `${path} is not a regular file: nothing is delivered there`)
    if (info.size > maxFile) throw new IrError('input', `${path} is larger than ${maxFile} bytes`)
    const bytes = await file.readFile()
    const text = bytes.toString('utf8')
    if (!Buffer.from(text).equals(bytes)) throw new IrError('input', `${path} is not a text file in UTF-8`)
    return text
  } finally {
    await file.close()
  }
}

async function writeNew(path: string, text: string): Promise<void> {
  try {
    const file = await open(path, 'wx', 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await syncFolder(dirname(path))
  } catch (error) {
    throw new IrError('input', `${path} cannot be written (${systemCode(error) ?? 'unknown error'})`)
  }
}

async function move(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
    await syncFolder(dirname(to))
  } catch (error) {
    throw new IrError('input', `${to} cannot be written (${systemCode(error) ?? 'unknown error'})`)
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

async function remove(path: string): Promise<void> {
  await unlink(path).catch(absent)
}

/** Whether a path lies in a folder, links in both resolved. */
export async function isInside(path: string, folder: string): Promise<boolean> {
  const inner = relative(await real(folder), await real(path))
  return inner === '' || (inner !== '..' && !inner.startsWith(`..${sep}`) && !isAbsolute(inner))
}

/** The path with links resolved, as far as it exists. */
async function real(path: string): Promise<string> {
  const found = await realpath(path).catch(absent)
  if (found !== undefined) return found
  const folder = dirname(path)
  return folder === path ? path : join(await real(folder), basename(path))
}

function absent(error: unknown): undefined {
  if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined
  throw error
}

const busy = new Map<string, Promise<unknown>>()

/** One at a time per place: credentials are rotated in parallel and share it. */
export async function exclusively<T>(path: string, work: () => Promise<T>): Promise<T> {
  const turn = (busy.get(path) ?? Promise.resolve()).then(work, work)
  const settled = turn.catch(() => undefined)
  busy.set(path, settled)
  try {
    return await turn
  } finally {
    if (busy.get(path) === settled) busy.delete(path)
  }
}
