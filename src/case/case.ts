import { existsSync, mkdirSync, readFileSync, rmdirSync, statSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Evidence } from '../change.ts'
import { IrError, systemCode } from '../errors.ts'
import type { Events, Line } from './events.ts'
import { EvidenceStore, hashFile, manifest, NoEvidence, setAside } from './evidence.ts'
import { type Clock, damaged, FileJournal, type Journal, MemoryJournal, readJournal } from './journal.ts'
import { acquireLock, type Lock } from './lock.ts'
import { type CaseState, evidenceOf, fold } from './state.ts'

/** An incident on one server: a folder with a journal, evidence, undo bytes and reports. */
export interface Case {
  readonly id: string
  readonly folder: string
  readonly journal: Journal
  /** All that the journal holds by now. */
  readonly lines: readonly Line[]
  readonly evidence: Evidence
  /** Whether anything is kept: false for a dry run. */
  readonly kept: boolean
  readonly state: () => CaseState
  readonly close: () => void
}

/** A case as it lies on disk, read without a lock. */
export interface StoredCase {
  readonly id: string
  readonly folder: string
  readonly lines: readonly Line[]
  readonly state: CaseState
}

interface OpenOptions extends Clock {
  readonly takeOver: boolean
}

const journalName = 'journal.ndjson'

/** `20261123-io-acme-crm-4f2a`. */
export function caseId(server: string, now: Date, random: Uint8Array): string {
  const slug = server
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 40)
  const day = now.toISOString().slice(0, 10).replaceAll('-', '')
  return `${day}-${slug === '' ? 'server' : slug}-${Buffer.from(random.subarray(0, 2)).toString('hex')}`
}

/** Makes the folder and its first line. @throws IrError when the cases folder cannot be written */
export function createCase(cases: string, opened: Events['case.opened'], options: OpenOptions): Case {
  const folder = join(cases, opened.case)
  for (const name of ['evidence', 'private', 'report']) makeFolder(join(folder, name))
  const lock = acquireLock(folder, options.by, options.now(), options.takeOver)
  try {
    const journal = FileJournal.create(join(folder, journalName), options)
    journal.append('case.opened', opened)
    return handle(folder, journal, lock)
  } catch (error) {
    lock.release()
    throw error
  }
}

/** Only for its owner, with whatever is above it. @throws IrError input when that cannot be */
export function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new IrError('input', `The folder ${folder} cannot be made (${systemCode(error) ?? 'unknown error'}).`, {
      hints: ['Name another place with `cases:` in mcp-ir.yaml or MCP_IR_CASES.'],
      cause: error,
    })
  }
}

/** When nothing is in it, and nobody else was quicker. */
export function removeFolder(folder: string): void {
  try {
    rmdirSync(folder)
  } catch (error) {
    if (!['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes(systemCode(error) ?? '')) throw error
  }
}

/** Opens for writing: takes the lock, sets a torn line aside, journals both. */
export function openCase(folder: string, options: OpenOptions): Case {
  const lock = acquireLock(folder, options.by, options.now(), options.takeOver)
  try {
    let torn: { bytes: number; evidence: string } | undefined
    const journal = FileJournal.open(join(folder, journalName), options, (bytes) => {
      torn = { bytes: bytes.length, evidence: setAside(folder, bytes) }
    })
    if (lock.takenOver !== undefined) {
      const { host, pid, by } = lock.takenOver.holder
      journal.append('lock.taken-over', { from: { host, pid, by }, why: lock.takenOver.why })
    }
    if (torn !== undefined) journal.append('journal.torn', torn)
    return handle(folder, journal, lock)
  } catch (error) {
    lock.release()
    throw error
  }
}

/** A case that nothing is kept of: a new one, or an existing one as it stands now. */
export function pretendCase(cases: string, from: Events['case.opened'] | StoredCase, clock: Clock): Case {
  const existing = 'lines' in from ? from : undefined
  const journal = new MemoryJournal(clock, existing?.lines)
  if (!('lines' in from)) journal.append('case.opened', from)
  const { id } = fold(journal.lines)
  const folder = existing?.folder ?? join(cases, id)
  return {
    id,
    folder,
    journal,
    get lines() {
      return journal.lines
    },
    evidence: new NoEvidence(existing === undefined ? undefined : new EvidenceStore(folder, journal)),
    kept: false,
    state: () => fold(journal.lines),
    close: () => {},
  }
}

function handle(folder: string, journal: FileJournal, lock: Lock): Case {
  const evidence = new EvidenceStore(folder, journal)
  evidence.writeManifest()
  return {
    id: fold(journal.lines).id,
    folder,
    journal,
    get lines() {
      return journal.lines
    },
    evidence,
    kept: true,
    state: () => fold(journal.lines),
    close: () => {
      evidence.writeManifest()
      journal.close()
      lock.release()
    },
  }
}

/** Reads one case without locking it. @throws IrError refused when its journal is damaged, or has no whole line */
export async function readCase(folder: string): Promise<StoredCase> {
  const path = join(folder, journalName)
  const { damage, lines } = readJournal(await readFile(path))
  if (damage !== undefined) throw damaged(path, damage)
  if (lines.length === 0) throw damaged(path, { line: 1, what: 'is missing' })
  const state = fold(lines)
  return { id: state.id, folder, lines, state }
}

export interface DamagedCase {
  readonly folder: string
  readonly error: IrError
  /** The server that it is about, where the journal is whole that far. */
  readonly server: string | undefined
}

/**
 * Every case in the folder, newest first, with those that cannot be read. A missing folder has none.
 * @throws IrError input when the folder itself cannot be read
 */
export async function listCases(
  cases: string,
): Promise<{ readonly cases: readonly StoredCase[]; readonly damaged: readonly DamagedCase[] }> {
  const found: StoredCase[] = []
  const broken: DamagedCase[] = []
  for (const folder of await caseFolders(cases)) {
    const path = join(folder, journalName)
    const reading = readJournal(await readFile(path))
    // A case whose first line was never finished was never opened.
    const state = reading.lines.length === 0 ? undefined : fold(reading.lines)
    if (reading.damage !== undefined) {
      broken.push({ folder, error: damaged(path, reading.damage), server: state?.server.name })
    } else if (state !== undefined) found.push({ id: state.id, folder, lines: reading.lines, state })
  }
  found.sort((a, b) => (a.state.openedAt < b.state.openedAt ? 1 : -1))
  return { cases: found, damaged: broken }
}

async function caseFolders(cases: string): Promise<string[]> {
  try {
    const entries = await readdir(cases, { withFileTypes: true })
    return entries
      .filter((entry) => entry.isDirectory() && existsSync(join(cases, entry.name, journalName)))
      .map((entry) => join(cases, entry.name))
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return []
    throw new IrError('input', `The cases folder ${cases} cannot be read (${systemCode(error) ?? 'unknown error'}).`, {
      hints: ['Name another place with `cases:` in mcp-ir.yaml or MCP_IR_CASES.'],
      cause: error,
    })
  }
}

export interface CheckResult {
  readonly lines: number
  readonly evidence: number
  /** What is damaged, most telling first; empty when all holds. */
  readonly damage: readonly { readonly place: string; readonly what: string }[]
}

/** Reads every line of the journal and every byte of the evidence again. Changes nothing. */
export async function checkCase(folder: string): Promise<CheckResult> {
  const damage: { place: string; what: string }[] = []
  const reading = readJournal(await readFile(join(folder, journalName)))
  const next = reading.lines.length + 1
  if (reading.damage !== undefined) {
    damage.push({ place: `journal.ndjson line ${reading.damage.line}`, what: reading.damage.what })
  } else if (reading.torn !== undefined) {
    damage.push({
      place: `journal.ndjson line ${next}`,
      what: 'is half-written; the next command on this case sets it aside',
    })
  } else if (reading.unterminated) {
    damage.push({ place: `journal.ndjson line ${next - 1}`, what: 'does not end with a newline' })
  }
  if (reading.lines.length === 0) return { lines: 0, evidence: 0, damage }

  const entries = evidenceOf(reading.lines)
  for (const { name, sha256, bytes } of entries) {
    const path = join(folder, 'evidence', sha256)
    const actual = await hashFile(path)
    if (actual === undefined) damage.push({ place: `evidence/${sha256} (${name})`, what: 'is missing' })
    else if (actual !== sha256 || statSync(path).size !== bytes) {
      damage.push({ place: `evidence/${sha256} (${name})`, what: 'was changed: its SHA-256 is not its name' })
    }
  }
  for (const line of reading.lines) {
    if (line.kind !== 'journal.torn') continue
    if ((await hashFile(join(folder, 'evidence', line.data.evidence))) !== line.data.evidence) {
      damage.push({ place: `evidence/${line.data.evidence} (torn line)`, what: 'was changed or is missing' })
    }
  }
  damage.push(...checkManifest(folder, entries), ...(await unknownFiles(folder, reading.lines)))
  return { lines: reading.lines.length, evidence: entries.length, damage }
}

/** The manifest repeats the journal; after a crash it may lack the last entries, until the case is opened again. */
function checkManifest(folder: string, entries: ReturnType<typeof evidenceOf>): { place: string; what: string }[] {
  const path = join(folder, 'evidence', 'manifest.json')
  if (!existsSync(path)) {
    return entries.length > 1 ? [{ place: 'evidence/manifest.json', what: 'is missing' }] : []
  }
  const actual = readFileSync(path, 'utf8')
  const count = actual.match(/"sha256": /g)?.length ?? 0
  if (actual === manifest(entries.slice(0, count))) return []
  return [{ place: 'evidence/manifest.json', what: 'was changed: it is not what the journal says' }]
}

/** Evidence whose journal line a crash prevented is harmless when it is what its name says. */
async function unknownFiles(folder: string, lines: readonly Line[]): Promise<{ place: string; what: string }[]> {
  const known = new Set<string>()
  for (const line of lines) {
    if (line.kind === 'evidence.stored') known.add(line.data.sha256)
    if (line.kind === 'journal.torn') known.add(line.data.evidence)
  }
  const evidence = join(folder, 'evidence')
  if (!existsSync(evidence)) return []
  const damage: { place: string; what: string }[] = []
  for (const name of await readdir(evidence)) {
    if (!/^[0-9a-f]{64}$/.test(name) || known.has(name)) continue
    if ((await hashFile(join(evidence, name))) === name) continue
    damage.push({ place: `evidence/${name}`, what: 'is no evidence of this case' })
  }
  return damage
}
