import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { extract } from 'tar-stream'
import { IrError, systemCode } from '../../errors.ts'
import { openRegularFile } from '../../regular-file.ts'
import { safe } from '../../ui/safe-text.ts'
import { textAt } from '../json-path.ts'
import {
  type Descriptor,
  digestForm,
  digestOf,
  type ImageSource,
  type Manifest,
  maxManifestBytes,
  maxReferrers,
  parseManifest,
} from './descriptor.ts'

/** An OCI image layout on disk (image specification 1.1): a folder, or a tar of one. */
export interface Layout {
  readonly source: ImageSource
  /** The images in it, without what is about one. */
  readonly images: readonly Descriptor[]
  /** Reads everything that an image consists of. */
  readonly contents: (digest: string, signal: AbortSignal) => Promise<Contents>
}

export interface Contents {
  readonly blobs: number
  /** Whose bytes are not those that the manifest names. */
  readonly wrong: readonly string[]
  readonly missing: readonly string[]
}

interface LayoutFiles {
  read(path: string, limit: number): Promise<Buffer | undefined>
  /** `sha256:` and hex of a blob. */
  digest(path: string, signal: AbortSignal): Promise<string | undefined>
}

const markName = 'oci-layout'
const refName = 'org.opencontainers.image.ref.name'
const maxEntries = 100_000
/** Of a tar, kept in memory: manifests and attestations. */
const maxKept = 128 * 1024 ** 2

/** Undefined: it is no layout. @throws IrError refused when it holds more than one can */
export async function openLayout(path: string, folder: boolean, signal: AbortSignal): Promise<Layout | undefined> {
  const files = folder ? folderFiles(path) : await tarFiles(path, signal)
  if (files === undefined) return undefined
  const mark = await files.read(markName, maxManifestBytes)
  const index = await files.read('index.json', maxManifestBytes)
  if (mark === undefined || index === undefined) return undefined
  const { manifests = [] } = parseManifest(index) ?? {}
  if (manifests.length > maxReferrers)
    throw new IrError('refused', `${safe(path)} is a layout of more than ${maxReferrers} images.`)
  return await layoutOf(safe(path), files, manifests)
}

async function layoutOf(name: string, files: LayoutFiles, tops: readonly Descriptor[]): Promise<Layout> {
  const blob = async (digest: string, limit: number): Promise<Buffer | undefined> => {
    const bytes = await files.read(pathOf(digest), limit)
    if (bytes === undefined || digestOf(bytes) === digest) return bytes
    throw new IrError('refused', `${name} holds something else than ${digest} under that name.`)
  }
  const parsed = async (digest: string): Promise<Manifest | undefined> => {
    const bytes = await blob(digest, maxManifestBytes)
    return bytes === undefined ? undefined : parseManifest(bytes)
  }
  const manifests = new Map<string, Manifest | undefined>()
  for (const { digest } of tops) manifests.set(digest, await parsed(digest))
  const tagged = (tag: string) => tops.find(({ annotations }) => textAt(annotations, refName) === tag)
  const isAbout = (one: Descriptor) =>
    manifests.get(one.digest)?.subject !== undefined ||
    /^sha256-[0-9a-f]{64}/.test(textAt(one.annotations, refName) ?? '')
  const source: ImageSource = {
    name,
    async manifest(reference) {
      const digest = digestForm.test(reference) ? reference : tagged(reference)?.digest
      return digest === undefined ? undefined : await blob(digest, maxManifestBytes)
    },
    blob,
    async referrers(digest) {
      const direct = tops.filter((one) => manifests.get(one.digest)?.subject?.digest === digest)
      const index = tagged(digest.replace(':', '-'))
      return [...direct, ...(index === undefined ? [] : ((await parsed(index.digest))?.manifests ?? []))]
    },
  }
  const contents = async (digest: string, signal: AbortSignal): Promise<Contents> => {
    const wrong: string[] = []
    const missing: string[] = []
    const seen = new Set([digest])
    const walk = async (of: string, depth: number): Promise<void> => {
      const manifest = await parsed(of)
      for (const part of [...(manifest?.layers ?? []), ...(manifest?.config === undefined ? [] : [manifest.config])]) {
        if (seen.has(part.digest)) continue
        seen.add(part.digest)
        const actual = await files.digest(pathOf(part.digest), signal)
        if (actual === undefined) missing.push(part.digest)
        else if (actual !== part.digest) wrong.push(part.digest)
      }
      for (const part of manifest?.manifests ?? []) {
        if (seen.has(part.digest) || depth === 3) continue
        seen.add(part.digest)
        // An index may name images of other platforms that were not copied.
        if ((await files.digest(pathOf(part.digest), signal)) === undefined) missing.push(part.digest)
        else await walk(part.digest, depth + 1)
      }
    }
    await walk(digest, 0)
    return { blobs: seen.size - missing.length, wrong, missing }
  }
  return { source, images: tops.filter((one) => !isAbout(one)), contents }
}

function pathOf(digest: string): string {
  return `blobs/${digest.replace(':', '/')}`
}

function folderFiles(folder: string): LayoutFiles {
  const opened = async (path: string) => {
    try {
      return await openRegularFile(join(folder, path))
    } catch (error) {
      if (error instanceof IrError && systemCode(error.cause) === 'ENOENT') return undefined
      throw error
    }
  }
  return {
    async read(path, limit) {
      const file = await opened(path)
      if (file === undefined) return undefined
      try {
        if ((await file.stat()).size > limit)
          throw new IrError('refused', `${safe(path)} is larger than ${limit} bytes.`)
        return await file.readFile()
      } finally {
        await file.close()
      }
    },
    async digest(path, signal) {
      const file = await opened(path)
      if (file === undefined) return undefined
      const hash = createHash('sha256')
      try {
        for await (const chunk of file.createReadStream({ autoClose: false, signal })) hash.update(chunk)
      } finally {
        await file.close()
      }
      return `sha256:${hash.digest('hex')}`
    },
  }
}

/** Read once from end to end: blobs are hashed, small ones kept. Undefined: it is damaged. */
async function tarFiles(file: string, signal: AbortSignal): Promise<LayoutFiles | undefined> {
  const kept = new Map<string, Buffer>()
  const digests = new Map<string, string>()
  const archive = extract()
  const input = createReadStream(file, { signal })
  input.on('error', (error) => archive.destroy(error))
  input.pipe(archive as unknown as NodeJS.WritableStream)
  let room = maxKept
  let entries = 0
  try {
    for await (const entry of archive) {
      entries += 1
      if (entries > maxEntries) throw new IrError('refused', `${safe(file)} holds more than ${maxEntries} files.`)
      const path = entry.header.name.replace(/^\.\//, '')
      const wanted = entry.header.type === 'file' && (/^blobs\/sha256\/[0-9a-f]{64}$/.test(path) || namesIndex(path))
      if (!wanted) {
        entry.resume()
        continue
      }
      if (digests.has(path)) throw new IrError('refused', `${safe(file)} holds ${path} twice.`)
      const keep = (entry.header.size ?? 0) <= maxManifestBytes
      const hash = createHash('sha256')
      const chunks: Buffer[] = []
      for await (const chunk of entry as AsyncIterable<Buffer>) {
        hash.update(chunk)
        if (!keep) continue
        room -= chunk.length
        if (room < 0) throw new IrError('refused', `${safe(file)} holds more small files than fit into memory.`)
        chunks.push(chunk)
      }
      if (keep) kept.set(path, Buffer.concat(chunks))
      digests.set(path, `sha256:${hash.digest('hex')}`)
    }
  } catch (error) {
    if (error instanceof IrError) throw error
    if (signal.aborted) throw new IrError('interrupted', 'Reading the file was interrupted')
    // A tar that is damaged is no layout; as a file it can still be held against a digest.
    return undefined
  } finally {
    input.destroy()
    archive.destroy()
  }
  return { read: async (path) => kept.get(path), digest: async (path) => digests.get(path) }
}

function namesIndex(path: string): boolean {
  return path === markName || path === 'index.json'
}
