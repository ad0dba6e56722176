import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, readlink, realpath, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { parseEnv } from 'node:util'
import { IrError, systemCode } from '../errors.ts'
import type { Deployment } from '../registry/port.ts'

/**
 * Where a secret is read from on this machine. All of it may have been written by the suspect: no link is followed (it
 * could point to somebody else's secret), no pipe is waited for, nothing but one printable word is taken, and no place is
 * believed to be the only one. Secrets stay in memory.
 */
export interface FoundSecret {
  readonly secret: string
  /**
   * In plain words, for people: `/srv/crm/token`, `the environment of prod (LEDGER)`. Different for each place, the same in
   * every run, and made of nothing that the suspect chose but the plain name of a variable.
   */
  readonly where: string
}

/** All places where the secret of one credential may lie. */
export interface Places {
  /** The bare secret, or a dotenv file with `key`. */
  readonly file: string | undefined
  readonly key: string
  /** Where new secrets are delivered to, which the server reads from then on. That nothing is there yet is no matter. */
  readonly delivered: readonly { readonly path: string; readonly key: string | undefined }[]
  readonly deployments: readonly Deployment[]
}

const maxBytes = 64 * 1024
/** Bounds what a suspect's environment can make us read, and send to the issuer. */
const maxEnvironment = 4 * 1024 * 1024
const maxFilesNamed = 8
const maxSecrets = 16

/** Names a secret without telling it: the same within a case, meaningless outside of it. */
export function fingerprint(caseId: string, secret: string): string {
  return createHash('sha256').update(caseId).update(secret).digest('hex').slice(0, 12)
}

/**
 * Every secret that the server may hold, each once, under the first place where it was found: the registry's file, the
 * delivered files, then the environment of its processes on this machine and the files that it names.
 * @returns the secrets, and in plain words why there are none in the other places
 */
export async function heldSecrets({ file, key, delivered, deployments }: Places): Promise<{
  readonly found: readonly FoundSecret[]
  readonly missing: readonly string[]
  /** There were more than are looked at. */
  readonly cut: boolean
}> {
  const found = new Map<string, FoundSecret>()
  const missing: string[] = []
  let cut = false
  const add = (one: FoundSecret): void => {
    if (found.has(one.secret)) return
    if (found.size < maxSecrets) found.set(one.secret, one)
    else cut = true
  }
  if (file === undefined) missing.push('the registry names no tokenFile')
  else await taking(missing, async () => add({ secret: await secretFromFile(file, key), where: file }))
  for (const place of delivered) {
    if (place.path === file) continue
    await taking(missing, async () => {
      const text = await readBounded(place.path, { absent: '' })
      const secret = place.key === undefined ? withoutNewline(text) : parseEnv(text)[place.key]
      if (secret !== undefined && isOneWord(secret)) add({ secret, where: place.path })
    })
  }
  for (const deployment of deployments) {
    const held = await heldByProcess(deployment, key)
    for (const one of held.found) add(one)
    missing.push(...held.missing)
    cut ||= held.cut
  }
  return { found: [...found.values()], missing, cut }
}

async function taking(missing: string[], read: () => Promise<void>): Promise<void> {
  try {
    await read()
  } catch (error) {
    if (!(error instanceof IrError)) throw error
    missing.push(error.message)
  }
}

/** @throws IrError input when there is no readable secret in it; the message never holds its content */
export async function secretFromFile(path: string, key?: string): Promise<string> {
  const text = withoutNewline(await readBounded(path))
  if (isOneWord(text) && !(key !== undefined && text.startsWith(`${key}=`))) return text
  const named = key === undefined ? undefined : parseEnv(text)[key]
  if (named !== undefined && isOneWord(named)) return named
  throw new IrError('input', `${path} ${text === '' ? 'is empty' : 'does not hold one plain secret'}`)
}

function withoutNewline(text: string): string {
  return text.replace(/\r?\n$/, '')
}

/** Anything else could not have been sent in a header, and would show up in an error message of the HTTP client. */
export function isOneWord(text: string): boolean {
  return /^[\x21-\x7e]+$/.test(text)
}

interface Reading {
  /** What stands for a file that is not there. */
  readonly absent?: string
  /** Whose it must be. */
  readonly owner?: number
}

async function readBounded(path: string, { absent, owner }: Reading = {}): Promise<string> {
  let file: FileHandle
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    const code = systemCode(error) ?? 'unknown error'
    if (code === 'ENOENT' && absent !== undefined) return absent
    throw new IrError(
      'input',
      code === 'ENOENT'
        ? `${path} does not exist`
        : code === 'ELOOP'
          ? `${path} is a symbolic link, which is not followed`
          : `${path} cannot be read (${code})`,
    )
  }
  try {
    const info = await file.stat()
    if (!info.isFile()) throw new IrError('input', `${path} is not a regular file`)
    if (info.size > maxBytes) throw new IrError('input', `${path} is larger than ${maxBytes} bytes`)
    if (owner !== undefined && info.uid !== owner) throw new IrError('input', `${path} belongs to another user`)
    return await file.readFile('utf8')
  } finally {
    await file.close()
  }
}

interface HeldByProcess {
  readonly found: readonly FoundSecret[]
  readonly missing: readonly string[]
  readonly cut: boolean
}

/**
 * What the environment of the process that a pid file names holds under `key`, and what is in the token files that it names.
 * The process counts only if it runs in the registered folder, or in one that a redeploy made beside it: a pid file may by now
 * name somebody else's process.
 */
async function heldByProcess(deployment: Deployment, key: string): Promise<HeldByProcess> {
  const found: FoundSecret[] = []
  const missing: string[] = []
  let cut = false
  const none = (why?: string): HeldByProcess => ({ found, missing: why === undefined ? missing : [why], cut })
  if (deployment.kind !== 'local-process' || process.platform !== 'linux') return none()
  const { id, pidFile, cwd } = deployment
  try {
    const pid = deployment.pid ?? (pidFile === undefined ? undefined : Number(await readBounded(pidFile)))
    if (pid === undefined) return none()
    if (!Number.isSafeInteger(pid) || pid < 2) return none(`${pidFile} does not hold a process id`)
    if (pid === process.pid || pid === process.ppid) return none(`process ${pid} is the responder's own`)
    if (deployment.pid === undefined && cwd === undefined)
      return none(`process ${pid} cannot be told for sure without a registered cwd`)
    const folder = await readlink(`/proc/${pid}/cwd`)
    if (cwd !== undefined && !isPlaceOf(folder, cwd)) return none(`process ${pid} does not run in ${cwd}`)
    const { uid } = await stat(`/proc/${pid}`)
    const variables = await environmentOf(pid)
    const secret = variables.get(key)
    if (secret !== undefined && isOneWord(secret)) found.push({ secret, where: `the environment of ${id} (${key})` })
    const named = [...variables.keys()].filter((name) => namesTokenFile(name, key)).sort()
    cut = named.length > maxFilesNamed
    for (const name of named.slice(0, maxFilesNamed)) {
      const inFile = await secretNamedBy(resolve(folder, variables.get(name) ?? ''), key, uid)
      if (inFile === undefined) missing.push(`the file that ${name} of ${id} names holds no token that may be read`)
      else found.push({ secret: inFile, where: `the file that ${name} of ${id} names` })
    }
    if (found.length === 0 && missing.length === 0) missing.push(`process ${pid} has no ${key} in its environment`)
    return none()
  } catch (error) {
    if (error instanceof IrError) return none(error.message)
    return none(`its process cannot be read (${systemCode(error) ?? 'unknown error'})`)
  }
}

/** The registered folder, or one that a redeploy put beside it: `<cwd>-<version>-<12 hex>-<case id>`. */
function isPlaceOf(folder: string, cwd: string): boolean {
  if (folder === cwd) return true
  return folder.startsWith(`${cwd}-`) && /^[^/]+-[0-9a-f]{12}-[^/]+(\/.*)?$/.test(folder.slice(cwd.length + 1))
}

/** `TOKEN_FILE`, `CREDENTIALS_FILE`, `CRM_TOKEN_FILE`, and the credential's own key with `_FILE`. */
function namesTokenFile(name: string, key: string): boolean {
  return name === `${key}_FILE` || /^([A-Z0-9_]{1,48}_)?(TOKEN|CREDENTIALS?)_FILE$/.test(name)
}

/**
 * The secret in a file that the suspect chose: only a regular one of the process's own user, which it could read anyway, and none
 * that the kernel makes. Of a dotenv file only `key` is taken: its other values belong to others.
 */
async function secretNamedBy(path: string, key: string, owner: number): Promise<string | undefined> {
  if (path.includes('\0') || path.length > 4096) return undefined
  try {
    if (/^\/(proc|sys|dev(?!\/shm\/))(\/|$)/.test(await realpath(path))) return undefined
    const text = withoutNewline(await readBounded(path, { owner }))
    const secret = parseEnv(text)[key] ?? (/^\s*(export\s+)?[A-Za-z_]\w*\s*=[^=]/.test(text) ? undefined : text)
    return secret !== undefined && isOneWord(secret) ? secret : undefined
  } catch (error) {
    if (error instanceof IrError || systemCode(error) !== undefined) return undefined
    throw error
  }
}

/** As the process got it: the first value of each name. Only what has not been overwritten since can be seen. */
async function environmentOf(pid: number): Promise<ReadonlyMap<string, string>> {
  const file = await open(`/proc/${pid}/environ`, 'r')
  const variables = new Map<string, string>()
  try {
    const bytes = Buffer.alloc(maxEnvironment)
    let length = 0
    // /proc files have no size: read to the end, or to the bound.
    for (;;) {
      const { bytesRead } = await file.read(bytes, length, bytes.length - length)
      length += bytesRead
      if (bytesRead === 0) break
    }
    for (const line of bytes.toString('latin1', 0, length).split('\0')) {
      const end = line.indexOf('=')
      const name = line.slice(0, end)
      if (end > 0 && !variables.has(name)) variables.set(name, line.slice(end + 1))
    }
    return variables
  } finally {
    await file.close()
  }
}
