import type { KeyObject } from 'node:crypto'
import type { EvidenceRef } from '../change.ts'
import type { Line } from './events.ts'
import { manifest } from './evidence.ts'
import { type CaseFiles, caseFiles, journalName, manifestName, sealName } from './files.ts'
import { readJournal } from './journal.ts'
import { checkSeal, type Sealed } from './seal.ts'
import { evidenceOf, fold } from './state.ts'
import { checkSums, type LeftOut, readLeftOut } from './sums.ts'

interface Damage {
  readonly place: string
  readonly what: string
}

export interface CheckResult {
  readonly lines: number
  readonly evidence: number
  /** What is damaged, most telling first; empty when all holds. */
  readonly damage: readonly Damage[]
  /** What a redacted export lacks. */
  readonly leftOut: readonly LeftOut[]
  /** Undefined: it is not sealed, or its seal does not hold. */
  readonly sealed: Sealed | undefined
}

export interface CheckOptions {
  /** Whom the seal must be by: then there must be one. */
  readonly key?: KeyObject | undefined
  /** It is about to be sealed: that its journal ends so, and the seal is not there yet, is no damage. */
  readonly sealing?: boolean
}

/** Reads every line of the journal and every byte of the evidence again. Changes nothing. */
export async function checkCase(folder: string, options: CheckOptions = {}): Promise<CheckResult> {
  return await checkFiles(await caseFiles(folder), options)
}

export async function checkFiles(files: CaseFiles, options: CheckOptions = {}): Promise<CheckResult> {
  const damage: Damage[] = []
  const journal = await files.read(journalName)
  if (journal === undefined || journal.length === 0)
    damage.push({ place: journalName, what: journal === undefined ? 'is missing' : 'is empty' })
  const reading = readJournal(journal ?? Buffer.alloc(0))
  const { lines } = reading
  const next = lines.length + 1
  const place = (line: number) => `${journalName} line ${line}`
  if (reading.damage !== undefined) {
    damage.push({ place: place(reading.damage.line), what: reading.damage.what })
  } else if (reading.torn !== undefined) {
    damage.push({ place: place(next), what: 'is half-written; the next command on this case sets it aside' })
  } else if (reading.unterminated) {
    damage.push({ place: place(next - 1), what: 'does not end with a newline' })
  }
  if (lines.length === 0) return { lines: 0, evidence: 0, damage, leftOut: [], sealed: undefined }

  const entries = evidenceOf(lines)
  const leftOut = await readLeftOut(files)
  const absent = new Set(leftOut.map(({ path }) => path))
  damage.push(...(await checkEvidence(files, entries, absent)), ...(await checkTorn(files, lines)))
  damage.push(...(await checkManifest(files, entries)), ...(await checkStrangers(files, lines)))
  damage.push(...(await checkSums(files)))
  const seal = await checkSealOf(files, lines, options, absent)
  damage.push(...seal.damage)
  return { lines: lines.length, evidence: entries.length, damage, leftOut, sealed: seal.sealed }
}

type Entries = ReturnType<typeof evidenceOf>

async function checkEvidence(files: CaseFiles, entries: Entries, absent: ReadonlySet<string>): Promise<Damage[]> {
  const damage: Damage[] = []
  for (const { name, sha256, bytes } of entries) {
    const path = `evidence/${sha256}`
    const found = await files.fingerprint(path)
    const place = `${path} (${name})`
    if (found === undefined) {
      if (!absent.has(path)) damage.push({ place, what: 'is missing' })
    } else if (found.sha256 !== sha256 || found.bytes !== bytes) {
      damage.push({ place, what: 'was changed: its SHA-256 is not its name' })
    }
  }
  return damage
}

async function checkTorn(files: CaseFiles, lines: readonly Line[]): Promise<Damage[]> {
  const damage: Damage[] = []
  for (const line of lines) {
    if (line.kind !== 'journal.torn') continue
    const path = `evidence/${line.data.evidence}`
    if ((await files.fingerprint(path))?.sha256 === line.data.evidence) continue
    damage.push({ place: `${path} (torn line)`, what: 'was changed or is missing' })
  }
  return damage
}

/** The manifest repeats the journal; after a crash it may lack the last entries, until the case is opened again. */
async function checkManifest(files: CaseFiles, entries: readonly EvidenceRef[]): Promise<Damage[]> {
  const actual = (await files.read(manifestName))?.toString('utf8')
  if (actual === undefined) return entries.length > 1 ? [{ place: manifestName, what: 'is missing' }] : []
  const count = actual.match(/"sha256": /g)?.length ?? 0
  if (actual === manifest(entries.slice(0, count))) return []
  return [{ place: manifestName, what: 'was changed: it is not what the journal says' }]
}

/** Evidence whose journal line a crash prevented is harmless when it is what its name says. */
async function checkStrangers(files: CaseFiles, lines: readonly Line[]): Promise<Damage[]> {
  const known = new Set<string>()
  for (const line of lines) {
    if (line.kind === 'evidence.stored') known.add(line.data.sha256)
    if (line.kind === 'journal.torn') known.add(line.data.evidence)
  }
  const damage: Damage[] = []
  for (const path of files.paths) {
    const [, name] = /^evidence\/([0-9a-f]{64})$/.exec(path) ?? []
    if (name === undefined || known.has(name)) continue
    if ((await files.fingerprint(path))?.sha256 === name) continue
    damage.push({ place: path, what: 'is no evidence of this case' })
  }
  return damage
}

async function checkSealOf(
  files: CaseFiles,
  lines: readonly Line[],
  { key, sealing }: CheckOptions,
  absent: ReadonlySet<string>,
): Promise<{ readonly sealed: Sealed | undefined; readonly damage: readonly Damage[] }> {
  const text = await files.read(sealName)
  if (text !== undefined) return await checkSeal(text, { id: fold(lines).id, lines }, files, key, absent)
  const broken = (what: string) => ({ sealed: undefined, damage: [{ place: sealName, what }] })
  if (lines.some(({ kind }) => kind === 'case.sealed') && sealing !== true)
    return broken('is missing: sealing was cut short (`mcp-ir case seal` finishes it), or it was taken away')
  return key === undefined ? { sealed: undefined, damage: [] } : broken('is missing: the case is not sealed')
}
