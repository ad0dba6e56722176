import { isUtf8 } from 'node:buffer'
import { createHash, createVerify, type KeyObject, verify } from 'node:crypto'
import type { Bundle } from '@sigstore/bundle'
import type { SignedEntity } from '@sigstore/verify'
import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import { readCertificate, type SigningCertificate } from './certificate.ts'
import { type Digests, readThrough } from './digest.ts'
import { checkEntry } from './log-entry.ts'
import { toSignedEntity, VerificationError, Verifier, X509Certificate } from './sigstore.ts'
import type { NpmKey, TrustRoot } from './trust-root.ts'

/** The file in hand, which a message signature is over. */
export interface SignedFile {
  readonly path: string
  readonly digests: Digests
}

export interface SigningPolicy {
  readonly trust: TrustRoot
  /** For a bundle that was signed with a bare key: the key that it has to be. */
  readonly key: NpmKey | undefined
  /** Neither log entries nor, with a key, timestamps are looked at: the named exception. */
  readonly ignoreLog: boolean
}

/** A signature that holds. */
export interface Signed {
  readonly state: 'signed'
  /** Undefined: the file itself was signed. Otherwise the text of the signed statement. */
  readonly statement: string | undefined
  readonly key: KeyObject
  /** Undefined: signed with a bare key. */
  readonly certificate: SigningCertificate | undefined
  readonly logged: boolean
}

/** `invalid`: wrong for certain. `unverifiable`: there is nothing to check it with. */
export interface NotSigned {
  readonly state: 'invalid' | 'unverifiable'
  readonly reason: string
}

const inTotoType = 'application/vnd.in-toto+json'
/** Ed25519 takes the whole message at once. */
const maxEd25519Bytes = 256 * 1024 ** 2

/**
 * Checks all that a bundle's signature hangs on: certificate chain, its transparency, the time it was used at, log entries,
 * and the signature itself. sigstore-js does it, without the clock of this machine: the time is the one that a log or a
 * time-stamp authority of the trust root signed. Who signed is for the caller to compare.
 * @throws IrError `input` when the file cannot be read, `refused` when it changes meanwhile
 */
export async function checkSignature(
  bundle: Bundle,
  file: SignedFile,
  policy: SigningPolicy,
  signal: AbortSignal,
): Promise<Signed | NotSigned> {
  const { content, verificationMaterial } = bundle
  const keyed = verificationMaterial.content.$case === 'publicKey'
  if (content.$case === 'messageSignature') {
    const other = aboutAnother(content.messageSignature.messageDigest, file.digests)
    if (other !== undefined) return other
  } else if (content.dsseEnvelope.payloadType !== inTotoType) {
    return invalid(`the signed content is "${safe(content.dsseEnvelope.payloadType, 80)}", not an in-toto statement`)
  }

  const demands = demandsOf(policy, !keyed)
  if ('state' in demands) return demands
  const logged = verificationMaterial.tlogEntries.length > 0
  if (demands.log && !logged) {
    return invalid(
      'the bundle has no transparency log entry; --insecure-ignore-tlog, or "tlog: false" beside a key in the registry entry, is the exception for those who have no log',
    )
  }

  try {
    const entity = reduced(toSignedEntity(bundle), demands)
    const { key } = new Verifier(
      { ...policy.trust.material, publicKey: () => policy.key ?? nobody() },
      {
        tlogThreshold: demands.log ? 1 : 0,
        ctlogThreshold: policy.trust.material.ctlogs.length > 0 ? 1 : 0,
        timestampThreshold: keyed ? 0 : 1,
      },
    ).verify(content.$case === 'messageSignature' ? { ...entity, signature: withoutBytes(entity.signature) } : entity)
    const raw = rawCertificate(bundle)
    for (const entry of entity.tlogEntries) checkEntry(entry, { key, certificate: raw })
    if (content.$case === 'messageSignature') {
      const { signature, messageDigest } = content.messageSignature
      const algorithm = hashNames[messageDigest.algorithm] ?? 'sha256'
      const holds = await signedFile(file, { key, signature, algorithm }, signal)
      if (!holds) return invalid(notHolding('SIGNATURE_ERROR'))
    }
    return {
      state: 'signed',
      statement: content.$case === 'dsseEnvelope' ? textOf(content.dsseEnvelope.payload) : undefined,
      key,
      certificate: raw === undefined ? undefined : readCertificate(X509Certificate.parse(Buffer.from(raw))),
      logged: demands.log,
    }
  } catch (error) {
    if (error instanceof IrError) throw error
    // What is wrong, or what is malformed, for which the parsers of the library throw whatever they throw: it does not hold.
    const code = error instanceof VerificationError ? error.code : ''
    const detail = error instanceof Error ? safe(error.message, 160) : 'malformed'
    return invalid(`${notHolding(code)} (${detail}; ${policy.trust.name})`)
  }
}

interface Demands {
  readonly log: boolean
  readonly timestamps: boolean
}

/** What the trust root can judge, it demands; what it cannot judge is left out, as it counts for nothing. */
function demandsOf({ trust: { material }, ignoreLog }: SigningPolicy, certificate: boolean): Demands | NotSigned {
  const log = material.tlogs.length > 0 && !ignoreLog
  const timestamps = material.timestampAuthorities.length > 0 && (certificate || !ignoreLog)
  if (certificate && !log && !timestamps) {
    return unverifiable(
      'nothing tells when the certificate was used: neither a log nor a time-stamp authority is trusted',
    )
  }
  return { log, timestamps }
}

function reduced(entity: SignedEntity, { log, timestamps }: Demands): SignedEntity {
  return {
    ...entity,
    tlogEntries: log ? entity.tlogEntries : [],
    timestamps: entity.timestamps.filter(({ $case }) => ($case === 'transparency-log' ? log : timestamps)),
  }
}

function nobody(): never {
  throw new TypeError('no key is known')
}

/** Hash algorithms of Sigstore's protobuf messages; unspecified means SHA-256. */
const hashNames: Readonly<Record<number, keyof Digests>> = { 0: 'sha256', 1: 'sha256', 2: 'sha384', 3: 'sha512' }

type MessageDigest = { readonly algorithm: number; readonly digest: Buffer }

/** The library never compares the digest in the bundle with the file. */
function aboutAnother({ algorithm, digest }: MessageDigest, digests: Digests): NotSigned | undefined {
  const name = hashNames[algorithm]
  if (name === undefined) return unverifiable('the bundle names its file by a hash that is not supported')
  return digest.toString('hex') === digests[name] ? undefined : invalid('the bundle is about another file')
}

/** Stands in for a signature over a file, whose bytes are read once all else holds. */
function withoutBytes(signature: SignedEntity['signature']): SignedEntity['signature'] {
  return {
    signature: signature.signature,
    compareSignature: (other) => signature.compareSignature(other),
    compareDigest: (other) => signature.compareDigest(other),
    compareSignedDigest: (other) => signature.compareSignedDigest(other),
    verifySignature: () => true,
  }
}

interface Message {
  readonly key: KeyObject
  readonly signature: Buffer
  readonly algorithm: keyof Digests
}

/** Whether the key signed the file: as a stream, but for Ed25519. */
async function signedFile(file: SignedFile, message: Message, signal: AbortSignal): Promise<boolean> {
  const { key, signature, algorithm } = message
  const whole: Buffer[] = []
  let length = 0
  const ed25519 = key.asymmetricKeyType === 'ed25519'
  const verifying = createVerify(algorithm)
  const hash = createHash('sha256')
  await readThrough(file.path, signal, (chunk) => {
    hash.update(chunk)
    length += chunk.length
    if (!ed25519) verifying.update(chunk)
    else if (length <= maxEd25519Bytes) whole.push(Buffer.from(chunk))
  })
  if (hash.digest('hex') !== file.digests.sha256) {
    throw new IrError('refused', `${safe(file.path)} changed while it was verified`)
  }
  if (!ed25519) return verifying.verify(key, signature)
  if (length > maxEd25519Bytes) throw new TypeError(`an Ed25519 signature over more than ${maxEd25519Bytes} bytes`)
  return verify(null, Buffer.concat(whole), key, signature)
}

function textOf(payload: Buffer): string {
  if (!isUtf8(payload)) throw new TypeError('the signed statement is not UTF-8')
  return payload.toString('utf8')
}

function rawCertificate(bundle: Bundle): Buffer | undefined {
  const { content } = bundle.verificationMaterial
  if (content.$case === 'certificate') return content.certificate.rawBytes
  // The leaf comes first; the rest of the chain is taken from the trust root, whatever stands here.
  return content.$case === 'x509CertificateChain' ? content.x509CertificateChain.certificates[0]?.rawBytes : undefined
}

function notHolding(code: string): string {
  if (code === 'SIGNATURE_ERROR') {
    return 'the signature is not by the key that is expected, or what it is over was changed'
  }
  if (code.startsWith('TLOG')) return 'the transparency log entry does not hold'
  if (code === 'CERTIFICATE_ERROR') {
    return 'the certificate does not hold: not by a trusted authority, or not valid when it was used'
  }
  if (code === 'TIMESTAMP_ERROR') return 'the timestamps do not hold'
  return 'the bundle does not hold'
}

function invalid(reason: string): NotSigned {
  return { state: 'invalid', reason }
}

function unverifiable(reason: string): NotSigned {
  return { state: 'unverifiable', reason }
}
