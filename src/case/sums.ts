import { type CaseFiles, redactedName, sumsName } from './files.ts'

/** A file that a redacted export lacks. */
export interface LeftOut {
  readonly path: string
  /** Name of the evidence, or the path again. */
  readonly name: string
}

export function sumsText(sums: ReadonlyMap<string, string>): string {
  return [...sums].map(([path, sha256]) => `${sha256}  ${path}\n`).join('')
}

/** Where the files of an export are not those that it was made of. Nothing where it is none. */
export async function checkSums(files: CaseFiles): Promise<{ readonly place: string; readonly what: string }[]> {
  const text = (await files.read(sumsName))?.toString('utf8')
  if (text === undefined) return []
  const sums = new Map<string, string>()
  for (const line of text.split('\n')) {
    const [, sha256, path] = /^([0-9a-f]{64}) {2}(.+)$/.exec(line) ?? []
    if (sha256 !== undefined && path !== undefined) sums.set(path, sha256)
  }
  if (sumsText(sums) !== text) return [{ place: sumsName, what: 'was changed: it is not as it was written' }]
  const damage: { place: string; what: string }[] = []
  for (const [path, sha256] of sums) {
    const found = await files.fingerprint(path)
    if (found?.sha256 === sha256) continue
    damage.push({ place: path, what: found === undefined ? 'is missing from the export' : 'is not as it was exported' })
  }
  for (const path of files.paths)
    if (path !== sumsName && !sums.has(path)) damage.push({ place: path, what: 'was not in the export' })
  return damage
}

export function redactedText(leftOut: readonly LeftOut[]): string {
  return `${JSON.stringify({ schema: 'mcp-ir/redacted/1', leftOut }, undefined, 2)}\n`
}

/** What an export says that it lacks; nothing where it is whole, or none. */
export async function readLeftOut(files: CaseFiles): Promise<readonly LeftOut[]> {
  try {
    const { leftOut } = JSON.parse((await files.read(redactedName))?.toString('utf8') ?? '{}')
    if (!Array.isArray(leftOut)) return []
    return leftOut.filter(({ path, name }) => typeof path === 'string' && typeof name === 'string')
  } catch {
    return [] // what is missing then counts as missing
  }
}
