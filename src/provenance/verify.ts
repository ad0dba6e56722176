import type { Observation } from '../change.ts'
import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import type { SigningCertificate } from './certificate.ts'
import { type Digests, hashFile, parseIntegrity } from './digest.ts'
import { readDocument } from './document.ts'
import { fingerprint, readPublicKey } from './key.ts'
import type { Expectations, ProvenanceVerdict } from './port.ts'
import type { NotSigned, SignedFile } from './signature.ts'
import {
  npmSubject,
  parseStatement,
  type Source,
  type Statement,
  sameRepository,
  sourceOf,
  subjectOf,
} from './statement.ts'

/**
 * Holds a file against what is expected of it.
 *
 * `verified` needs at least one expectation that says something about these very bytes (integrity, or a bundle whose
 * signature and subject hold), and no expectation that failed or could not be checked. One that fails makes it `invalid`,
 * whatever else holds; one that cannot be checked makes it `unverifiable`. Repository, commit and builder are compared with
 * what a bundle says: without one they are facts about the server, and no expectation of the file.
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
  if (expected.bundle !== undefined)
    await checkBundle(expected.bundle, { path: file, digests }, expected, findings, signal)
  else if (expected.key !== undefined || expected.identity !== undefined) {
    findings.cannotTell('a signature is expected, but there is no bundle that holds it')
  }
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
  path: string,
  file: SignedFile,
  expected: Expectations,
  findings: Findings,
  signal: AbortSignal,
): Promise<void> {
  const [{ loadTrustRoot }, { checkSignature }] = await Promise.all([
    import('./trust-root.ts'),
    import('./signature.ts'),
  ])
  const trust = await loadTrustRoot(expected.trustedRoot)
  const key = expected.key === undefined ? undefined : await readPublicKey(expected.key)
  const document = await readDocument(path)
  if ('reason' in document) {
    findings.notSigned({ state: 'invalid', reason: document.reason })
    return
  }

  const npm = document.kind === 'npm'
  const managed = key === undefined ? undefined : { publicKey: key, validFor: () => true }
  const identity = expected.identity !== undefined || expected.issuer !== undefined
  const claims: Source[] = []
  let byKey = false
  let byCertificate = false
  for (const bundle of document.bundles) {
    const { content } = bundle.verificationMaterial
    const hint = content.$case === 'publicKey' ? content.publicKey.hint : undefined
    // The hint is chosen by whoever made the bundle: the key comes from the expectation, or from the registry's own list.
    const known = hint === undefined ? undefined : ((npm ? trust.npmKeys.get(hint) : undefined) ?? managed)
    if (hint !== undefined && known === undefined) {
      findings.notSigned(withoutKey(npm, identity))
      return
    }
    const policy = { trust, key: known, ignoreLog: expected.tlog === false }
    const signed = await checkSignature(bundle, file, policy, signal)
    if (signed.state !== 'signed') {
      findings.notSigned(signed)
      return
    }
    if (signed.certificate !== undefined) {
      byCertificate = true
      if (key === undefined || npm) checkIdentity(signed.certificate, expected, findings)
    } else if (key?.equals(signed.key)) {
      byKey = true
      const log = signed.logged ? 'in the transparency log' : 'no transparency log'
      findings.observe('the bundle is signed by the expected key', `key ${fingerprint(key)}, ${log}`, true)
    } else {
      findings.observe('the npm registry signed the publication', `key ${fingerprint(signed.key)}`, true)
    }
    const statement = checkStatement(signed.statement, file.digests, expected, findings)
    if (statement === 'wrong') return
    claims.push(...claimsOf(signed.certificate, statement))
  }

  findings.bound = true
  if (key !== undefined && !byKey) {
    findings.missing(
      'the bundle is signed by the expected key',
      'the bundle was not signed with the key that is expected',
    )
  } else if (key === undefined && identity && !byCertificate) {
    findings.notSigned(withoutKey(npm, identity))
  } else if (key === undefined && !identity && !byCertificate) {
    findings.cannotTell('no certificate identity is expected: nothing says who should have signed')
  }
  checkSource(claims, expected, findings)
}

/** The bundle was signed with a key, and not with one that is expected. */
function withoutKey(npm: boolean, identity: boolean): NotSigned {
  if (identity) {
    return {
      state: 'invalid',
      reason: 'the bundle was signed with a key, not by the certificate identity that is expected',
    }
  }
  if (npm) return { state: 'invalid', reason: 'an attestation is signed with a key that is none of the npm registry' }
  return {
    state: 'unverifiable',
    reason: 'the bundle was signed with a key, and no key is named to check it with',
  }
}

/** Exactly the expected one: a pattern would let look-alikes pass. */
function checkIdentity(certificate: SigningCertificate, expected: Expectations, findings: Findings): void {
  const { identity, issuer } = expected
  const names = certificate.identities.join(', ') || 'nobody'
  if (identity === undefined || issuer === undefined) {
    const lacks = identity === undefined ? 'identity' : 'issuer'
    findings.cannotTell(
      `no certificate ${lacks} is expected: ${safe(names, 300)} signed, and nothing says who should have`,
    )
  }
  if (identity !== undefined) {
    findings.expect('the expected identity signed', names, certificate.identities.includes(identity))
  }
  if (issuer !== undefined) {
    findings.expect(
      'the expected issuer vouches for it',
      certificate.issuer ?? 'nobody does',
      certificate.issuer === issuer,
    )
  }
}

/**
 * @param text undefined: the file itself was signed
 * @returns the statement, when there is one about this file
 */
function checkStatement(
  text: string | undefined,
  digests: Digests,
  expected: Expectations,
  findings: Findings,
): Statement | undefined | 'wrong' {
  if (text === undefined) {
    findings.observe('the signature is over this file', 'by its own bytes', true)
    return undefined
  }
  const parsed = parseStatement(text)
  if ('reason' in parsed) {
    findings.missing('the signed content is a statement', parsed.reason)
    return 'wrong'
  }
  const { statement } = parsed
  const subject = subjectOf(statement, digests)
  findings.observe(
    'the signed statement is about this file',
    subject === undefined ? `about ${statement.subject[0]?.name ?? 'another file'}` : (subject.name ?? 'by digest'),
    subject !== undefined,
  )
  if (subject === undefined) {
    findings.wrong('the signed statement is about another file')
    return 'wrong'
  }
  const named = npmSubject(subject.name)
  if (named !== undefined && expected.package !== undefined) {
    const same = named.identifier === expected.package.identifier && named.version === expected.package.version
    findings.expect(
      'the signed statement names the pinned package and version',
      `${named.identifier}@${named.version}`,
      same,
    )
  }
  return statement
}

/**
 * What the signed statement and the certificate say about the build. They mean different things by builder: the
 * certificate's is the workflow that asked for it, which may be the outer one of a trusted builder; so it counts where no
 * statement names one. For the runners of GitHub Actions the certificate says of which kind it was.
 */
function claimsOf(certificate: SigningCertificate | undefined, statement: Statement | undefined): Source[] {
  const said = statement === undefined ? undefined : sourceOf(statement)
  if (certificate === undefined) return said === undefined ? [] : [said]
  const { source, runner } = certificate
  const runners = 'https://github.com/actions/runner/'
  const kind = runner === undefined ? undefined : `${runners}${runner}`
  const builder = said?.builder === undefined ? source.builder : said.builder.startsWith(runners) ? kind : undefined
  return [...(said === undefined ? [] : [said]), { ...source, builder }]
}

function checkSource(claims: readonly Source[], expected: Expectations, findings: Findings): void {
  const same = (one: string, other: string) => one === other
  const sameCommit = (one: string, other: string) => one.toLowerCase() === other.toLowerCase()
  const seen = (key: keyof Source) => claims.flatMap((claim) => claim[key] ?? [])
  findings.compare('source repository', expected.repository, seen('repository'), sameRepository)
  findings.compare('source commit', expected.commit, seen('commit'), sameCommit)
  findings.compare('builder', expected.builder, seen('builder'), same)
}

async function checkPackage(
  file: string,
  expected: { readonly identifier: string; readonly version: string },
  digests: Digests,
  findings: Findings,
  signal: AbortSignal,
): Promise<void> {
  const { packageOf } = await import('./npm.ts')
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

  /** What must be there, and is not. */
  missing(claim: string, reason: string): void {
    this.observe(claim, reason, false)
    this.wrong(reason)
  }

  notSigned({ state, reason }: NotSigned): void {
    this.observe('the bundle is signed by the expected signer', reason, false)
    if (state === 'invalid') this.wrong(reason)
    else this.cannotTell(reason)
  }

  /** Everybody who names it must name the expected one. */
  compare(
    what: string,
    expected: string | undefined,
    seen: readonly string[],
    same: (one: string, other: string) => boolean,
  ): void {
    if (expected === undefined) return
    for (const one of new Set(seen))
      this.expect(`the signature vouches for the expected ${what}`, one, same(expected, one))
    if (seen.length > 0) return
    this.observe(`the signature vouches for the expected ${what}`, 'it names none', false)
    this.cannotTell(`neither the signed statement nor the certificate names the ${what} that is expected`)
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
