import { existsSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Evidence } from '../change.ts'
import { IrError, systemCode } from '../errors.ts'
import type { Events, Line } from './events.ts'
import { EvidenceStore, NoEvidence, setAside } from './evidence.ts'
import { journalName, sealName, sumsName } from './files.ts'
import { type Clock, damaged, FileJournal, type Journal, MemoryJournal, readJournal } from './journal.ts'
import { acquireLock, type Lock } from './lock.ts'
import { type CaseState, fold } from './state.ts'

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
  /** To finish a seal that was cut short: the only reason to open a case whose journal ends with one. */
  readonly sealing?: boolean
}

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

/**
 * Opens for writing: takes the lock, sets a torn line aside, journals both.
 * @throws IrError refused when it is sealed, an export, damaged, or somebody else's just now
 */
export function openCase(folder: string, options: OpenOptions): Case {
  // Before the lock: what is sealed may lie where nothing can be written.
  refuseFinal(folder)
  const lock = acquireLock(folder, options.by, options.now(), options.takeOver)
  try {
    let torn: { bytes: number; evidence: string } | undefined
    const journal = FileJournal.open(join(folder, journalName), options, {
      may: (lines) => {
        if (options.sealing !== true) refuseSealed(lines)
      },
      setAside: (bytes) => {
        torn = { bytes: bytes.length, evidence: setAside(folder, bytes) }
      },
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

/** @throws IrError refused when nothing may be added to the case that these lines tell of */
export function refuseSealed(lines: readonly Line[]): void {
  const { id, sealedAt } = fold(lines)
  if (sealedAt === undefined) return
  throw new IrError('refused', `Case ${id} was sealed at ${sealedAt}: nothing is added to it any more.`, {
    hints: ['What happens now on the same server belongs to a new case: leave --case out.'],
  })
}

function refuseFinal(folder: string): void {
  if (existsSync(join(folder, sumsName)))
    throw new IrError('refused', `${folder} is an export of a case: it is there to be checked, not to be worked on.`, {
      hints: ['Work on the case where it was exported; what undoing needs (private/) stayed there.'],
    })
  if (existsSync(join(folder, sealName))) refuseSealed(readJournal(readFileSync(join(folder, journalName))).lines)
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
