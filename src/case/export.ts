import { createHash, randomBytes } from 'node:crypto'
import { createReadStream, createWriteStream, existsSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { pack } from 'tar-stream'
import { IrError, systemCode } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import { checkFiles } from './check.ts'
import type { Line } from './events.ts'
import { manifest } from './evidence.ts'
import { caseFiles, journalName, manifestName, openCaseFile, redactedName, sumsName } from './files.ts'
import { readJournal } from './journal.ts'
import { evidenceOf, fold } from './state.ts'
import { type LeftOut, redactedText, sumsText } from './sums.ts'

export interface Export {
  readonly file: string
  /** Of the archive, hex: what the receiver is told by another way. */
  readonly sha256: string
  readonly bytes: number
  readonly files: number
  readonly leftOut: readonly LeftOut[]
}

/** A file of the archive: its content where it is made here, else it is streamed from the case folder. */
interface Entry {
  readonly sha256: string
  readonly bytes: number
  readonly content?: Buffer
}

/**
 * One archive (tar, gzip) of a case with `SHA256SUMS`: the journal as it is now and all that it names. The same case gives
 * the same bytes. Takes no lock: what the journal says by now never changes any more.
 * @param redact leaves out raw records of others (logs, console output) and the full reports
 * @throws IrError refused when the case is damaged; input when the file exists or cannot be written
 */
export async function exportCase(folder: string, to: string, redact: boolean): Promise<Export> {
  if (existsSync(to)) throw new IrError('input', `${safe(to)} exists.`, { hints: ['Name another file.'] })
  const { id, last, entries, leftOut } = await contents(folder, redact)
  const temporary = join(dirname(to), `.${basename(to)}.${randomBytes(8).toString('hex')}`)
  try {
    await writeArchive(temporary, folder, `${id}/`, new Date(last.at), entries)
    await sync(temporary)
    const { sha256, bytes } = await measured(temporary)
    await rename(temporary, to)
    return { file: to, sha256, bytes, files: entries.size, leftOut }
  } catch (error) {
    await rm(temporary, { force: true })
    if (error instanceof IrError || systemCode(error) === undefined) throw error
    throw new IrError('input', `${safe(to)} cannot be written (${systemCode(error)}).`, { cause: error })
  }
}

async function contents(folder: string, redact: boolean) {
  const files = await caseFiles(folder)
  const { damage } = await checkFiles(files)
  if (damage.length > 0)
    throw new IrError(
      'refused',
      ['The case is damaged, and is not exported so:', ...damage.map(({ place, what }) => `- ${place} ${what}`)].join(
        '\n',
      ),
      { hints: ['Keep the folder as it is, and copy it as it is (cp -a) for whoever is to look at it.'] },
    )
  const journal = (await files.read(journalName)) ?? Buffer.alloc(0)
  const { lines } = readJournal(journal)
  const last = lines.at(-1)
  if (last === undefined) throw new IrError('refused', 'The journal has no line.')
  const { id } = fold(lines)
  // It becomes the name of a folder where the archive is unpacked.
  if (!/^[0-9]{8}-[a-z0-9-]{1,60}$/.test(id)) throw new IrError('refused', `${safe(id)} is no case id.`)

  const leftOut = redact ? toLeaveOut(lines, files.paths) : []
  const absent = new Set(leftOut.map(({ path }) => path))
  const made = new Map<string, Buffer>([
    [journalName, journal],
    // It may lack the last entries after a crash; the export has all that its journal names.
    ...(evidenceOf(lines).length === 0 ? [] : [[manifestName, Buffer.from(manifest(evidenceOf(lines)))] as const]),
    ...(redact ? [[redactedName, Buffer.from(redactedText(leftOut))] as const] : []),
  ])
  const named = new Set(namedIn(lines))
  const entries = new Map<string, Entry>()
  for (const path of [...new Set([...files.paths, ...made.keys()])].toSorted()) {
    if (absent.has(path) || (/^evidence\/[0-9a-f]/.test(path) && !named.has(path))) continue
    const content = made.get(path) ?? (path.startsWith('evidence/') ? undefined : await files.read(path))
    const found = content === undefined ? await files.fingerprint(path) : entryOf(content)
    if (found !== undefined) entries.set(path, found)
  }
  const sums = sumsText(new Map([...entries].map(([path, { sha256 }]) => [path, sha256])))
  return { id, last, leftOut, entries: new Map([[sumsName, entryOf(Buffer.from(sums))], ...entries]) }
}

function entryOf(content: Buffer): Entry {
  return { sha256: createHash('sha256').update(content).digest('hex'), bytes: content.length, content }
}

function namedIn(lines: readonly Line[]): string[] {
  return lines.flatMap((line) => {
    if (line.kind === 'evidence.stored') return `evidence/${line.data.sha256}`
    return line.kind === 'journal.torn' ? `evidence/${line.data.evidence}` : []
  })
}

/** What others wrote, word for word, and the reports that quote it. JSON among the evidence is what we noted of it. */
function toLeaveOut(lines: readonly Line[], paths: readonly string[]): readonly LeftOut[] {
  const raw = evidenceOf(lines).filter(({ mediaType }) => mediaType !== 'application/json')
  return [
    ...new Map(raw.map(({ sha256, name }) => [sha256, { path: `evidence/${sha256}`, name }])).values(),
    ...paths.filter((path) => path.startsWith('report/')).map((path) => ({ path, name: path })),
  ]
}

async function writeArchive(
  file: string,
  folder: string,
  top: string,
  mtime: Date,
  entries: ReadonlyMap<string, Entry>,
): Promise<void> {
  const archive = pack()
  // The level is fixed, and gzip's own header holds no time: the same case is the same bytes.
  const written = pipeline(
    archive as unknown as NodeJS.ReadableStream,
    createGzip({ level: 6 }),
    createWriteStream(file, { flags: 'wx', mode: 0o600 }),
  )
  written.catch(() => undefined)
  try {
    const folders = new Set([...entries.keys()].flatMap((path) => (path.includes('/') ? `${dirname(path)}/` : [])))
    for (const name of ['', ...folders]) archive.entry({ name: `${top}${name}`, type: 'directory', mode: 0o700, mtime })
    for (const [path, { bytes, sha256, content }] of entries) {
      const entry = archive.entry({ name: `${top}${path}`, size: bytes, mode: 0o600, mtime })
      await pipeline(content === undefined ? again(join(folder, path), sha256) : Readable.from([content]), entry)
    }
    archive.finalize()
  } catch (error) {
    archive.destroy()
    await written.catch(() => undefined)
    throw error
  }
  await written
}

/** The bytes of a piece of evidence, which must still be those that were checked. */
async function* again(path: string, sha256: string): AsyncGenerator<Uint8Array> {
  const changed = () => new IrError('refused', `${safe(path)} changed while it was exported.`)
  const file = await openCaseFile(path)
  if (file === undefined) throw changed()
  const hash = createHash('sha256')
  try {
    for await (const chunk of file.createReadStream({ autoClose: false })) {
      hash.update(chunk)
      yield chunk
    }
  } finally {
    await file.close()
  }
  if (hash.digest('hex') !== sha256) throw changed()
}

async function sync(file: string): Promise<void> {
  const handle = await open(file, 'r+')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function measured(file: string): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of createReadStream(file)) {
    hash.update(chunk)
    bytes += chunk.length
  }
  return { sha256: hash.digest('hex'), bytes }
}
