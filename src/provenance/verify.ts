import type { Observation } from '../change.ts'
import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import { type Digests, hashFile, parseIntegrity } from './digest.ts'
import { openBundle } from './dsse.ts'
import { packageOf } from './npm.ts'
import type { Expectations, ProvenanceVerdict } from './port.ts'
import { npmSubject, parseStatement, sameRepository, sourceOf, subjectOf } from './statement.ts'

/**
 * Holds a file against what is expected of it.
 *
 * `verified` needs at least one expectation that says something about these very bytes (integrity, or a bundle whose
 * signature and subject hold), and no expectation that failed or could not be checked. One that fails makes it `invalid`,
 * whatever else holds; one that cannot be checked makes it `unverifiable`.
 * @throws IrError `input` when a file is missing or an expectation is malformed
 */
export async function verifyFile(
  file: string,
  expected: Expectations,
  signal: AbortSignal,
): Promise<ProvenanceVerdict> {
  const digests = await hashFile(file, signal)
  const findings = new Findings()

  if (expected.integrity !== undefined) checkIntegrity(expected.integrity, digests, findings)
  if (expected.bundle !== undefined) await checkBundle(expected.bundle, expected, digests, findings)
  else if (expected.key !== undefined)
    findings.cannotTell('a key is expected, but there is no bundle that it could have signed')
  if (expected.package !== undefined) await checkPackage(file, expected.package, digests, findings, signal)

  return findings.verdict(digests)
}

function checkIntegrity(integrity: string, digests: Digests, findings: Findings): void {
  const { algorithm, hashes } = parseIntegrity(integrity)
  const seen = digests[algorithm]
  const matches = hashes.includes(seen)
  findings.observe(`${algorithm} of the file is the expected one`, seen, matches)
  if (matches) findings.bound = true
  else findings.wrong(`the ${algorithm} of the file is not the expected one`)
}

async function checkBundle(
  bundle: string,
  expected: Expectations,
  digests: Digests,
  findings: Findings,
): Promise<void> {
  const signed = await openBundle(bundle, {
    key: expected.key,
    tlog: expected.tlog,
    identity: expected.identity !== undefined || expected.issuer !== undefined,
  })
  if (signed.state !== 'signed') {
    findings.observe('the bundle is signed by the expected signer', signed.reason, false)
    if (signed.state === 'invalid') findings.wrong(signed.reason)
    else findings.cannotTell(signed.reason)
    return
  }
  findings.observe('the bundle is signed by the expected key', `key ${signed.key}, no transparency log`, true)

  const parsed = parseStatement(signed.statement)
  if ('reason' in parsed) {
    findings.wrong(parsed.reason)
    return
  }
  const { statement } = parsed
  const subject = subjectOf(statement, digests)
  findings.observe(
    'the signed statement is about this file',
    subject === undefined
      ? `about ${safe(statement.subject[0]?.name ?? 'another file', 120)}`
      : safe(subject.name ?? 'by digest', 120),
    subject !== undefined,
  )
  if (subject === undefined) {
    findings.wrong('the signed statement is about another file')
    return
  }
  findings.bound = true
  const named = npmSubject(subject.name)
  if (named !== undefined && expected.package !== undefined) {
    const same = named.identifier === expected.package.identifier && named.version === expected.package.version
    findings.expect(
      'the signed statement names the pinned package and version',
      `${named.identifier}@${named.version}`,
      same,
    )
  }

  const source = sourceOf(statement)
  findings.compare('source repository', expected.repository, source?.repository, sameRepository)
  findings.compare('source commit', expected.commit, source?.commit, (a, b) => a.toLowerCase() === b.toLowerCase())
}

async function checkPackage(
  file: string,
  expected: { readonly identifier: string; readonly version: string },
  digests: Digests,
  findings: Findings,
  signal: AbortSignal,
): Promise<void> {
  try {
    const { name, version } = await packageOf(file, digests.sha256, signal)
    findings.expect('package.json has the pinned name', name, name === expected.identifier)
    findings.expect('package.json has the pinned version', version, version === expected.version)
  } catch (error) {
    if (!(error instanceof IrError) || error.code !== 'refused') throw error
    findings.observe('the file is an npm package', error.message, false)
    findings.wrong(error.message)
  }
}

/** What was checked so far. Everything seen is somebody else's text until it is escaped here. */
class Findings {
  /** Something that was expected holds for these very bytes, not only for a name. */
  bound = false
  readonly #observed: Observation[] = []
  readonly #wrong: string[] = []
  readonly #cannotTell: string[] = []

  observe(claim: string, seen: string, holds: boolean): void {
    this.#observed.push({ claim, seen: safe(seen, 200), holds })
  }

  wrong(reason: string): void {
    this.#wrong.push(reason)
  }

  cannotTell(reason: string): void {
    this.#cannotTell.push(reason)
  }

  expect(claim: string, seen: string, holds: boolean): void {
    this.observe(claim, seen, holds)
    if (!holds) this.wrong(`not so: ${claim} (it is "${safe(seen, 120)}")`)
  }

  compare(
    what: string,
    expected: string | undefined,
    seen: string | undefined,
    same: (one: string, other: string) => boolean,
  ): void {
    if (expected === undefined) return
    if (seen !== undefined) this.expect(`the signed statement names the expected ${what}`, seen, same(expected, seen))
    else {
      this.observe(`the signed statement names the expected ${what}`, 'it names none', false)
      this.cannotTell(`the signed statement does not name the ${what} that is expected`)
    }
  }

  verdict(digests: Digests): ProvenanceVerdict {
    const nothing = this.bound ? [] : ['nothing is expected of these bytes: neither a digest nor a signed statement']
    const reasons = [...this.#wrong, ...this.#cannotTell]
    return {
      state: this.#wrong.length > 0 ? 'invalid' : reasons.length > 0 || !this.bound ? 'unverifiable' : 'verified',
      sha256: digests.sha256,
      sha512: digests.sha512,
      observed: this.#observed,
      reasons: reasons.length > 0 ? reasons : nothing,
    }
  }
}
