import { constants, type FileHandle, open } from 'node:fs/promises'
import { IrError, systemCode } from '../errors.ts'
import { readRegular } from '../owned-file.ts'
import { safe } from '../ui/safe-text.ts'
import { readHead } from './head.ts'
import type { Anchor, Head } from './port.ts'

/** Of a hundred thousand heads; a larger one is not ours. */
const maxBytes = 64 * 1024 ** 2

/** A file on a share that only takes additions (WORM, an append-only NFS export): one head a line. */
export function fileAnchor({ path }: { readonly path: string }): Anchor {
  return {
    name: `file ${safe(path)}`,
    async put(head, signal) {
      signal.throwIfAborted()
      const { file, made } = await openToAppend(path)
      try {
        await file.appendFile(`${JSON.stringify(head)}\n`)
        await file.sync()
      } catch (error) {
        throw unreachable(path, error)
      } finally {
        await file.close()
      }
      // What was to be a mount may be an empty folder of this host.
      return made ? { made: true } : {}
    },
    async known(caseId) {
      const heads: Head[] = []
      for (const text of (await textOf(path)).split('\n')) {
        const head = readHead(parsed(text), caseId)
        if (head !== undefined) heads.push(head)
      }
      return { heads, wrong: [] }
    },
  }
}

async function openToAppend(path: string): Promise<{ file: FileHandle; made: boolean }> {
  const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW | constants.O_NONBLOCK
  try {
    return { file: await open(path, flags), made: false }
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw unreachable(path, error)
  }
  try {
    return { file: await open(path, flags | constants.O_CREAT | constants.O_EXCL, 0o600), made: true }
  } catch (error) {
    throw unreachable(path, error)
  }
}

async function textOf(path: string): Promise<string> {
  try {
    return Buffer.from((await readRegular(path, maxBytes)).bytes).toString('utf8')
  } catch (error) {
    if (!(error instanceof IrError)) throw error
    throw new IrError('unreachable', `The anchor cannot be read: ${error.message}`, {
      hints: error.hints,
      cause: error,
    })
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // somebody else's line, or one that was cut short: no head
  }
}

function unreachable(path: string, error: unknown): IrError {
  const code = systemCode(error)
  if (code === undefined) throw error
  const denied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS'
  return new IrError(denied ? 'denied' : 'unreachable', `${safe(path)} cannot be written (${code})`, { cause: error })
}
