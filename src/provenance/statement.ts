import { safe } from '../ui/safe-text.ts'
import type { Digests } from './digest.ts'
import { at, entriesOf, textAt } from './json-path.ts'

const types = ['https://in-toto.io/Statement/v0.1', 'https://in-toto.io/Statement/v1']

/** in-toto statement v0.1 and v1: what was made, by digest, and what is said about it. */
export interface Statement {
  readonly subject: readonly Subject[]
  readonly predicateType: string
  readonly predicate: unknown
}

interface Subject {
  readonly name: string | undefined
  /** Hex by algorithm. */
  readonly digest: ReadonlyMap<string, string>
}

/** The statement, or why it is none. */
export function parseStatement(text: string): { readonly statement: Statement } | { readonly reason: string } {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return { reason: 'the signed statement is not JSON' }
  }
  const wrong = (where: string) => ({ reason: `the signed content is not an in-toto statement (${where})` })
  if (!types.includes(textAt(value, '_type') ?? '')) {
    return wrong(`of type "${safe(textAt(value, '_type') ?? 'none', 60)}"`)
  }
  const predicateType = textAt(value, 'predicateType')
  if (predicateType === undefined) return wrong('no predicateType')
  const listed = at(value, 'subject')
  const subject = Array.isArray(listed) ? listed.map(parseSubject) : []
  if (subject.length === 0 || !subject.every((one) => one !== undefined)) return wrong('no subject, or a malformed one')
  return { statement: { subject, predicateType, predicate: at(value, 'predicate') } }
}

function parseSubject(value: unknown): Subject | undefined {
  const digest = entriesOf(at(value, 'digest'))
  if (digest.length === 0 || !digest.every((entry): entry is [string, string] => typeof entry[1] === 'string')) {
    return undefined
  }
  return { name: textAt(value, 'name'), digest: new Map(digest) }
}

/**
 * The subject that is the file in hand: every digest of it that we know holds, and at least one does.
 * Undefined when the statement is about other files.
 */
export function subjectOf(statement: Statement, digests: Digests): Subject | undefined {
  return statement.subject.find(({ digest }) => {
    const known = Object.entries(digests).filter(([algorithm]) => digest.has(algorithm))
    return known.length > 0 && known.every(([algorithm, hex]) => digest.get(algorithm)?.toLowerCase() === hex)
  })
}

/** Name and version in the package URL of an npm subject (`pkg:npm/%40acme/crm@1.4.0`); undefined when it is none. */
export function npmSubject(
  name: string | undefined,
): { readonly identifier: string; readonly version: string } | undefined {
  const match = /^pkg:npm\/(.+)@([^@/?#]+)$/.exec(name ?? '')
  if (match === null) return undefined
  try {
    return { identifier: decodeURIComponent(match[1] ?? ''), version: decodeURIComponent(match[2] ?? '') }
  } catch {
    return { identifier: match[1] ?? '', version: match[2] ?? '' }
  }
}

/** Where a build comes from, as far as somebody says so. */
export interface Source {
  readonly repository: string | undefined
  readonly commit: string | undefined
  readonly builder: string | undefined
}

/** What the predicate says about the source. Undefined: it is no SLSA provenance that we can read. */
export function sourceOf({ predicateType, predicate }: Statement): Source | undefined {
  if (predicateType === 'https://slsa.dev/provenance/v1') {
    const repository = textAt(predicate, 'buildDefinition', 'externalParameters', 'workflow', 'repository')
    const listed = at(predicate, 'buildDefinition', 'resolvedDependencies')
    const dependencies: unknown[] = Array.isArray(listed) ? listed : []
    // The source is the dependency that the workflow came from; where no workflow is named, the first one.
    const from = dependencies.find(
      (one) => repository === undefined || sameRepository(textAt(one, 'uri') ?? '', repository),
    )
    return {
      repository: repository ?? plainRepository(textAt(from, 'uri')),
      commit: commitOf(from),
      builder: textAt(predicate, 'runDetails', 'builder', 'id'),
    }
  }
  if (predicateType === 'https://slsa.dev/provenance/v0.2') {
    const from = at(predicate, 'invocation', 'configSource') ?? at(predicate, 'materials', 0)
    return {
      repository: plainRepository(textAt(from, 'uri')),
      commit: commitOf(from),
      builder: textAt(predicate, 'builder', 'id'),
    }
  }
  return undefined
}

/**
 * Whether two names mean the same repository: `git+` in front, `.git` behind, `@ref`, and `https://` left out are ways of
 * writing it; everything else counts, upper and lower case of the host excepted.
 */
export function sameRepository(one: string, other: string): boolean {
  const plain = plainRepository(one)
  return plain !== undefined && plain === plainRepository(other)
}

function plainRepository(uri: string | undefined): string | undefined {
  if (uri === undefined || uri === '') return undefined
  let url: URL
  try {
    const bare = uri.replace(/^git\+/, '')
    url = new URL(/^[a-z][a-z0-9+.-]*:/i.test(bare) ? bare : `https://${bare}`)
  } catch {
    return uri
  }
  const path = url.pathname
    .replace(/@(refs\/.*|[0-9a-f]{40,64})$/, '')
    .replace(/\/$/, '')
    .replace(/\.git$/, '')
  return `${url.protocol}//${url.host}${path}${url.search}${url.hash}`
}

function commitOf(from: unknown): string | undefined {
  return textAt(from, 'digest', 'gitCommit') ?? textAt(from, 'digest', 'sha1') ?? textAt(from, 'digest', 'sha256')
}
