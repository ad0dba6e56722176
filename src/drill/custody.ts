import { createHash, generateKeyPairSync } from 'node:crypto'
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import canonicalize from 'canonicalize'
import { checkAnchor } from '../anchor/check.ts'
import { openCase, readCase } from '../case/case.ts'
import { checkCase, checkFiles } from '../case/check.ts'
import { closing } from '../case/closing.ts'
import { exportCase } from '../case/export.ts'
import { caseFiles } from '../case/files.ts'
import { whereToCheck } from '../case/where.ts'
import type { Context } from '../context.ts'
import { IrError } from '../errors.ts'
import type { IncidentResult } from '../incident.ts'
import { sealCase } from '../seal-case.ts'

/** What was done to a copy of the case, and what the checks say to it. */
export interface Custody {
  readonly done: string
  readonly said: string
  /** What had to be found was found, and what was whole was accepted. */
  readonly holds: boolean
}

/** Stands for the place off this host that takes the heads of the journal. */
export const anchorFile = 'elsewhere/heads.ndjson'

/**
 * Forges, seals and exports copies of the case, below the company's folder. The case itself is only read.
 * @param company the company's folder
 */
export async function custody(context: Context, company: string, incident: IncidentResult): Promise<Custody[]> {
  const place = join(company, 'copies')
  await mkdir(place, { mode: 0o700 })
  const copy = async (from: string, name: string) => {
    const to = join(place, name, incident.caseId)
    await cp(from, to, { recursive: true, filter: (path) => !/[/](?:lock|private)/.test(path.slice(from.length)) })
    return to
  }
  const whole = await checkCase(incident.folder)
  const anchored = await checkAnchor(context.config, await caseFiles(incident.folder), context.signal)
  const results: Custody[] = [
    {
      done: 'nothing: the case as it stands',
      said: first([...whole.damage, ...anchored.damage]) ?? `whole, and anchored up to line ${anchored.upTo?.seq}`,
      holds: whole.damage.length === 0 && anchored.upTo?.seq === whole.lines,
    },
  ]

  const touched = await copy(incident.folder, 'touched')
  // Whoever declined to isolate has a case without evidence.
  if (await flip(touched)) {
    const found = first((await checkCase(touched)).damage)
    results.push({
      done: 'one bit of the evidence was turned',
      said: found ?? 'not noticed',
      holds: found !== undefined,
    })
  }

  const rewritten = await copy(incident.folder, 'rewritten')
  await rewrite(rewritten)
  const chain = first((await checkCase(rewritten)).damage)
  const anchor = await checkAnchor(context.config, await caseFiles(rewritten), context.signal)
  results.push({
    done: 'a time in the journal was changed and the chain computed anew',
    said: `chain: ${chain ?? 'right'}; anchor: ${first(anchor.damage) ?? 'not noticed'}`,
    holds: chain === undefined && anchor.damage.length > 0,
  })
  return [...results, ...(await sealed(context, await copy(incident.folder, 'sealed'), place, copy))]
}

async function sealed(
  context: Context,
  folder: string,
  place: string,
  copy: (from: string, name: string) => Promise<string>,
): Promise<Custody[]> {
  // What happens to a copy is no business of the anchor, which knows the real one.
  const inside: Context = { ...context, config: { ...context.config, anchor: undefined } }
  const found = await readCase(folder)
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  await sealCase(inside, found, privateKey, closing(found, 'the drill is over'), false)

  const forged = await copy(folder, 'sealed-and-rewritten')
  const archive = join(place, 'case.tar.gz')
  await exportCase(folder, archive, false)
  const { files } = await whereToCheck(place, archive, context.signal)
  const checked = await checkFiles(files, { key: publicKey })
  await rewrite(forged)
  const damage = first((await checkCase(forged, { key: publicKey })).damage)
  const refused = refusal(() => note(inside, folder))
  return [
    {
      done: 'closed, sealed with a new key, exported; the archive was checked with the public key alone',
      said: first(checked.damage) ?? `whole, sealed by ${checked.sealed?.key.slice(0, 16)}…`,
      holds: checked.damage.length === 0 && checked.sealed !== undefined,
    },
    { done: 'a line was to be added to the sealed case', said: refused ?? 'not refused', holds: refused !== undefined },
    {
      done: 'the sealed journal was changed and its chain computed anew',
      said: damage ?? 'not noticed',
      holds: damage !== undefined,
    },
  ]
}

function note({ by, now }: Context, folder: string): void {
  const incident = openCase(folder, { by, now, takeOver: false })
  try {
    incident.journal.append('note', { kind: 'note', text: 'Nothing else happened.', at: now().toISOString() })
  } finally {
    incident.close()
  }
}

function refusal(work: () => void): string | undefined {
  try {
    work()
    return undefined
  } catch (error) {
    if (error instanceof IrError && error.code === 'refused') return error.message
    throw error
  }
}

function first(damage: readonly { readonly place: string; readonly what: string }[]): string | undefined {
  const [one] = damage
  return one === undefined ? undefined : `${one.place} ${one.what}`
}

/** @returns whether there is evidence at all */
async function flip(folder: string): Promise<boolean> {
  const evidence = join(folder, 'evidence')
  const name = (await readdir(evidence)).toSorted().find((one) => /^[0-9a-f]{64}$/.test(one))
  if (name === undefined) return false
  const bytes = await readFile(join(evidence, name))
  bytes[0] = (bytes[0] ?? 0) ^ 1
  await writeFile(join(evidence, name), bytes)
  return true
}

/** As somebody does who has the folder and this program's source: the first line a minute earlier, and every hash right. */
async function rewrite(folder: string): Promise<void> {
  const file = join(folder, 'journal.ndjson')
  const lines = (await readFile(file, 'utf8')).trimEnd().split('\n')
  let prev = '0'.repeat(64)
  const forged = lines.map((text, index) => {
    const { hash: _, ...line } = { ...JSON.parse(text), prev }
    if (index === 0) line.at = new Date(Date.parse(line.at) - 60_000).toISOString()
    prev = createHash('sha256')
      .update(canonicalize(line) ?? '')
      .digest('hex')
    return JSON.stringify({ ...line, hash: prev })
  })
  await writeFile(file, `${forged.join('\n')}\n`)
}
