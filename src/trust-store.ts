import { randomBytes } from 'node:crypto'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { IrError, systemCode } from './errors.ts'
import { readOwned } from './owned-file.ts'
import { safe } from './ui/safe-text.ts'
import { configFolder, type Env } from './xdg.ts'

/**
 * Configurations found by walking up that the user has accepted. A file is known by its path and its content: the same
 * bytes in another folder name another registry, as relative paths are relative to the file.
 */
interface Store {
  readonly version: 1
  readonly files: readonly { readonly file: string; readonly sha256: string; readonly at: string }[]
}

export interface TrustPlace {
  readonly env: Env
  readonly home: string
  readonly uid: number | undefined
}

const maxStoreBytes = 4 * 1024 ** 2

/** Whether exactly this content of this file was accepted. @throws IrError refused when others can write the store */
export async function isTrusted(config: { file: string; hash: string }, place: TrustPlace): Promise<boolean> {
  const { files } = await readStore(storeFile(place), place.uid)
  return files.some((entry) => entry.file === config.file && entry.sha256 === config.hash)
}

/** Accepts a file with the content that was shown; what was accepted for it before no longer is. */
export async function storeTrust(config: { file: string; hash: string }, at: Date, place: TrustPlace): Promise<void> {
  const file = storeFile(place)
  const { files } = await readStore(file, place.uid)
  const others = files.filter((entry) => entry.file !== config.file)
  const store: Store = {
    version: 1,
    files: [...others, { file: config.file, sha256: config.hash, at: at.toISOString() }],
  }
  await writePrivately(file, `${JSON.stringify(store, null, 2)}\n`)
  // Would it hold? Not in a folder that everybody may write to, which reading refuses.
  await readStore(file, place.uid)
}

const storeFile = (place: TrustPlace) => join(configFolder(place.env, place.home), 'trusted.json')

async function readStore(file: string, uid: number | undefined): Promise<Store> {
  let bytes: Uint8Array
  try {
    bytes = (await readOwned(file, maxStoreBytes, uid)).bytes
  } catch (error) {
    if (error instanceof IrError && systemCode(error.cause) === 'ENOENT') return { version: 1, files: [] }
    throw error
  }
  const store = parse(bytes)
  if (store === undefined)
    throw new IrError('input', `${safe(file)} is damaged`, {
      hints: ['remove it and run mcp-ir trust again for the files you trust'],
    })
  return store
}

function parse(bytes: Uint8Array): Store | undefined {
  let data: unknown
  try {
    data = JSON.parse(new TextDecoder().decode(bytes))
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
  if (typeof data !== 'object' || data === null || !('version' in data) || data.version !== 1) return undefined
  if (!('files' in data) || !Array.isArray(data.files)) return undefined
  const whole = data.files.every(
    (entry) => typeof entry?.file === 'string' && typeof entry.sha256 === 'string' && typeof entry.at === 'string',
  )
  return whole ? (data as Store) : undefined
}

/** All of it or nothing, in a folder and a file that nobody else can read. */
async function writePrivately(file: string, text: string): Promise<void> {
  const temporary = `${file}.${randomBytes(6).toString('hex')}`
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 })
    await writeFile(temporary, text, { flag: 'wx', mode: 0o600, flush: true })
    await rename(temporary, file)
  } catch (error) {
    await rm(temporary, { force: true })
    const code = systemCode(error)
    if (code === undefined) throw error
    throw new IrError('input', `${safe(file)} cannot be written (${code})`, { cause: error })
  }
}
