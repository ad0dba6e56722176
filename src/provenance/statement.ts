import { z } from 'zod'
import { safe } from '../ui/safe-text.ts'
import type { Digests } from './digest.ts'

const digest = z.record(z.string(), z.string())

/** in-toto statement v0.1 and v1: what was made, by digest, and what is said about it. */
const statementSchema = z.object({
  _type: z.enum(['https://in-toto.io/Statement/v0.1', 'https://in-toto.io/Statement/v1']),
  subject: z.array(z.object({ name: z.string().optional(), digest })).min(1),
  predicateType: z.string().min(1),
  predicate: z.unknown(),
})

const source = z.object({ uri: z.string().optional(), digest: digest.optional() })

/** SLSA provenance v1, only what names the source. */
const slsaV1 = z.object({
  buildDefinition: z.object({
    externalParameters: z.object({ workflow: z.object({ repository: z.string().optional() }).optional() }).optional(),
    resolvedDependencies: z.array(source).optional(),
  }),
})

/** SLSA provenance v0.2, only what names the source. */
const slsaV02 = z.object({
  invocation: z.object({ configSource: source.optional() }).optional(),
  materials: z.array(source).optional(),
})

export type Statement = z.infer<typeof statementSchema>

/** The statement, or why it is none. */
export function parseStatement(value: unknown): { readonly statement: Statement } | { readonly reason: string } {
  const parsed = statementSchema.safeParse(value)
  if (parsed.success) return { statement: parsed.data }
  const where = parsed.error.issues[0]?.path.join('.') ?? ''
  return { reason: `the signed content is not an in-toto statement (${safe(where, 60) || 'not an object'})` }
}

/**
 * The subject that is the file in hand: every digest of it that we know holds, and at least one does.
 * Undefined when the statement is about other files.
 */
export function subjectOf(statement: Statement, digests: Digests): { readonly name?: string | undefined } | undefined {
  return statement.subject.find(({ digest }) => {
    const known = Object.entries(digests).filter(([algorithm]) => Object.hasOwn(digest, algorithm))
    return known.length > 0 && known.every(([algorithm, hex]) => digest[algorithm]?.toLowerCase() === hex)
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

/** What the predicate says about the source, where it says it. Undefined: it is no SLSA provenance that we can read. */
export interface Source {
  readonly repository: string | undefined
  readonly commit: string | undefined
}

export function sourceOf(statement: Statement): Source | undefined {
  if (statement.predicateType === 'https://slsa.dev/provenance/v1') {
    const parsed = slsaV1.safeParse(statement.predicate)
    if (!parsed.success) return undefined
    const { externalParameters, resolvedDependencies = [] } = parsed.data.buildDefinition
    const repository = externalParameters?.workflow?.repository
    // The source is the dependency that the workflow came from; where no workflow is named, the first one.
    const from = resolvedDependencies.find(
      ({ uri }) => repository === undefined || sameRepository(uri ?? '', repository),
    )
    return { repository: repository ?? plainRepository(from?.uri), commit: commitOf(from?.digest) }
  }
  if (statement.predicateType === 'https://slsa.dev/provenance/v0.2') {
    const parsed = slsaV02.safeParse(statement.predicate)
    if (!parsed.success) return undefined
    const from = parsed.data.invocation?.configSource ?? parsed.data.materials?.[0]
    return { repository: plainRepository(from?.uri), commit: commitOf(from?.digest) }
  }
  return undefined
}

/**
 * Whether two names mean the same repository: `git+` in front, `.git` behind and `@ref` are ways of writing it, everything
 * else counts, upper and lower case of the host excepted.
 */
export function sameRepository(one: string, other: string): boolean {
  const plain = plainRepository(one)
  return plain !== undefined && plain === plainRepository(other)
}

function plainRepository(uri: string | undefined): string | undefined {
  if (uri === undefined || uri === '') return undefined
  let url: URL
  try {
    url = new URL(uri.replace(/^git\+/, ''))
  } catch {
    return uri
  }
  const path = url.pathname
    .replace(/@(refs\/.*|[0-9a-f]{40,64})$/, '')
    .replace(/\/$/, '')
    .replace(/\.git$/, '')
  return `${url.protocol}//${url.host}${path}${url.search}${url.hash}`
}

function commitOf(from: Readonly<Record<string, string>> | undefined): string | undefined {
  if (from === undefined) return undefined
  const key = ['gitCommit', 'sha1', 'sha256'].find((name) => Object.hasOwn(from, name))
  return key === undefined ? undefined : from[key]
}
