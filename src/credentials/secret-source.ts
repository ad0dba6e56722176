import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, readlink } from 'node:fs/promises'
import { parseEnv } from 'node:util'
import { IrError, systemCode } from '../errors.ts'
import type { Deployment } from '../registry/port.ts'

/**
 * Where a secret is read from on this machine. All of it may have been written by the suspect: no link is followed (it
 * could point to somebody else's secret), no pipe is waited for, nothing but one printable word is taken. Secrets stay in memory.
 */
export interface FoundSecret {
  readonly secret: string
  /** In plain words, for people: `/srv/crm/token`. */
  readonly where: string
}

const maxBytes = 64 * 1024

/** Names a secret without telling it: the same within a case, meaningless outside of it. */
export function fingerprint(caseId: string, secret: string): string {
  return createHash('sha256').update(caseId).update(secret).digest('hex').slice(0, 12)
}

/**
 * The secret that the server holds: from its file (the bare secret, or a dotenv file with `key`), else from the environment
 * of its processes on this machine under the name `key`.
 * @returns the secret, or in plain words why it cannot be had
 */
export async function heldSecret(
  file: string | undefined,
  key: string,
  deployments: readonly Deployment[],
): Promise<FoundSecret | { readonly missing: string }> {
  const why: string[] = []
  if (file !== undefined) {
    try {
      return { secret: await secretFromFile(file, key), where: file }
    } catch (error) {
      if (!(error instanceof IrError)) throw error
      why.push(error.message)
    }
  } else why.push('the registry names no tokenFile')
  for (const deployment of deployments) {
    const found = await environmentOf(deployment, key)
    if (found === undefined) continue
    if ('secret' in found) return found
    why.push(found.missing)
  }
  return { missing: why.join('; ') }
}

/** @throws IrError input when there is no readable secret in it; the message never holds its content */
export async function secretFromFile(path: string, key?: string): Promise<string> {
  const text = (await readBounded(path)).replace(/\r?\n$/, '')
  if (isOneWord(text) && !(key !== undefined && text.startsWith(`${key}=`))) return text
  const named = key === undefined ? undefined : parseEnv(text)[key]
  if (named !== undefined && isOneWord(named)) return named
  throw new IrError('input', `${path} ${text === '' ? 'is empty' : 'does not hold one plain secret'}`)
}

/** Anything else could not have been sent in a header, and would show up in an error message of the HTTP client. */
function isOneWord(text: string): boolean {
  return /^[\x21-\x7e]+$/.test(text)
}

async function readBounded(path: string): Promise<string> {
  let file: FileHandle
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    const code = systemCode(error) ?? 'unknown error'
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
    return await file.readFile('utf8')
  } finally {
    await file.close()
  }
}

/**
 * A variable of a process that a pid file names. The process counts only if it runs in the registered folder: a pid file may
 * by now name somebody else's process.
 */
async function environmentOf(
  deployment: Deployment,
  key: string,
): Promise<FoundSecret | { readonly missing: string } | undefined> {
  if (deployment.kind !== 'local-process' || process.platform !== 'linux') return undefined
  try {
    const pid =
      deployment.pid ?? (deployment.pidFile === undefined ? undefined : Number(await readBounded(deployment.pidFile)))
    if (pid === undefined) return undefined
    if (!Number.isSafeInteger(pid) || pid < 2) return { missing: `${deployment.pidFile} does not hold a process id` }
    if (pid === process.pid || pid === process.ppid) return { missing: `process ${pid} is the responder's own` }
    if (deployment.pid === undefined && deployment.cwd === undefined)
      return { missing: `process ${pid} cannot be told for sure without a registered cwd` }
    if (deployment.cwd !== undefined && (await readlink(`/proc/${pid}/cwd`)) !== deployment.cwd)
      return { missing: `process ${pid} does not run in ${deployment.cwd}` }
    const prefix = `${key}=`
    const variable = (await readFileWhole(`/proc/${pid}/environ`)).split('\0').find((line) => line.startsWith(prefix))
    const secret = variable?.slice(prefix.length)
    if (secret === undefined || !isOneWord(secret))
      return { missing: `process ${pid} has no ${key} in its environment` }
    return { secret, where: `environment of process ${pid}` }
  } catch (error) {
    if (error instanceof IrError) return { missing: error.message }
    return { missing: `its process cannot be read (${systemCode(error) ?? 'unknown error'})` }
  }
}

/** /proc files have no size; the kernel bounds this one at the size of the process's stack. */
async function readFileWhole(path: string): Promise<string> {
  const file = await open(path, 'r')
  try {
    return await file.readFile('latin1')
  } finally {
    await file.close()
  }
}
