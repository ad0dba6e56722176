import { createHash, createPublicKey, type KeyObject } from 'node:crypto'
import type { Bundle } from '@sigstore/bundle'
import { openRegularFile } from '../archive/npm-tarball.ts'
import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'

/** Larger ones are no bundle of one artifact. */
const maxBundleBytes = 16 * 1024 ** 2
const maxKeyBytes = 64 * 1024

const mediaTypes = new Set([
  'application/vnd.dev.sigstore.bundle+json;version=0.1',
  'application/vnd.dev.sigstore.bundle+json;version=0.2',
  'application/vnd.dev.sigstore.bundle+json;version=0.3',
  'application/vnd.dev.sigstore.bundle.v0.3+json',
])

const inTotoType = 'application/vnd.in-toto+json'

/**
 * What a bundle came to: its signed statement, or why not. `invalid` is wrong for certain, `unverifiable` cannot be told
 * by this version. `statement` is only there when the signature holds.
 */
export type SignedStatement =
  | { readonly state: 'signed'; readonly statement: unknown; readonly key: string; readonly log: 'none' }
  | { readonly state: 'invalid' | 'unverifiable'; readonly reason: string }

export interface SigningPolicy {
  /** PEM file of the managed key. */
  readonly key: string | undefined
  /** `false`: no transparency log, the named exception. */
  readonly tlog: boolean | undefined
  /** Whether a certificate identity is expected instead of a key. */
  readonly identity: boolean
}

/**
 * Reads a Sigstore bundle and checks the signature of its DSSE envelope with a managed key; sigstore-js does both.
 * @throws IrError `input` when bundle or key file is missing or the key is none
 */
export async function openBundle(file: string, policy: SigningPolicy): Promise<SignedStatement> {
  const key = policy.key === undefined ? undefined : await readPublicKey(policy.key)
  const text = await readBounded(file, maxBundleBytes)
  if (text === undefined) return invalid(`the bundle is larger than ${maxBundleBytes} bytes`)
  const parsed = await parseBundle(text)
  if ('reason' in parsed) return parsed
  const { bundle } = parsed

  const material = bundle.verificationMaterial.content.$case
  if (material !== 'publicKey') {
    return key === undefined
      ? unverifiable('bundles signed with a certificate (issuer and identity) are not supported yet')
      : invalid('the bundle was signed with a certificate, not with the key that is expected')
  }
  if (key === undefined) {
    return policy.identity
      ? invalid('the bundle was signed with a key, not by the certificate identity that is expected')
      : unverifiable('the bundle was signed with a key, and no key is named to check it with')
  }
  if (bundle.content.$case !== 'dsseEnvelope') {
    return unverifiable('bundles with a message signature instead of a statement are not supported yet')
  }
  const signed = await holds(bundle, key)
  if (!signed) return invalid('the signature is not by the key that is expected, or its content was changed')

  const envelope = bundle.content.dsseEnvelope
  if (envelope.payloadType !== inTotoType) {
    return invalid(`the signed content is "${safe(envelope.payloadType, 80)}", not an in-toto statement`)
  }
  const logged = bundle.verificationMaterial.tlogEntries.length > 0
  if (policy.tlog !== false) {
    return logged
      ? unverifiable('the transparency log entry of a bundle cannot be checked yet')
      : invalid(
          'the bundle has no transparency log entry; "tlog: false" in the registry entry is the exception for a key without one',
        )
  }
  try {
    const statement: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(envelope.payload))
    return { state: 'signed', statement, key: fingerprint(key), log: 'none' }
  } catch {
    return invalid('the signed statement is not JSON')
  }
}

/** @throws IrError `input` when the file is missing, too large, a private key, or no key that is fit for signing */
async function readPublicKey(file: string): Promise<KeyObject> {
  const pem = await readBounded(file, maxKeyBytes)
  if (pem?.includes('PRIVATE KEY')) {
    throw new IrError('input', `${safe(file)} is a private key`, {
      hints: ['Name the public half, and keep the private one away from responders.'],
    })
  }
  let key: KeyObject
  try {
    key = createPublicKey(pem ?? '')
  } catch (error) {
    throw new IrError('input', `${safe(file)} is not a public key in PEM form`, { cause: error })
  }
  const type = key.asymmetricKeyType
  const fit =
    type === 'ed25519' || type === 'ec' || (type === 'rsa' && (key.asymmetricKeyDetails?.modulusLength ?? 0) >= 2048)
  if (!fit) {
    throw new IrError('input', `${safe(file)} is no key to sign with`, {
      hints: ['ECDSA, Ed25519, or RSA from 2048 bits.'],
    })
  }
  return key
}

async function parseBundle(text: string): Promise<{ bundle: Bundle } | ReturnType<typeof invalid>> {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    return invalid('the bundle is not JSON')
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    return invalid('the bundle is not a JSON object')
  if ('attestations' in json && !('mediaType' in json)) return unverifiable('npm attestations are not supported yet')
  const mediaType = 'mediaType' in json ? json.mediaType : undefined
  // The library takes any version that it does not know for the newest.
  if (typeof mediaType !== 'string' || !mediaTypes.has(mediaType)) {
    return invalid(`the bundle is of an unknown version: ${safe(String(mediaType), 80)}`)
  }
  const { bundleFromJSON } = await import('./sigstore.ts')
  try {
    const bundle = bundleFromJSON(json)
    if (bundle.content.$case === 'dsseEnvelope' && !faithful(json, bundle.content.dsseEnvelope)) {
      return invalid('the bundle holds malformed base64')
    }
    return { bundle }
  } catch (error) {
    return invalid(`the bundle cannot be read: ${safe(error instanceof Error ? error.message : 'malformed', 160)}`)
  }
}

/** Whether payload and signature are written in the one way that base64 allows: what was decoded is all that there is. */
function faithful(json: object, envelope: { payload: Buffer; signatures: { sig: Buffer }[] }): boolean {
  const written = json as { dsseEnvelope?: { payload?: unknown; signatures?: { sig?: unknown }[] } }
  const same = (text: unknown, bytes: Buffer | undefined) =>
    typeof text === 'string' &&
    text.replaceAll('-', '+').replaceAll('_', '/').replace(/=*$/, '') === bytes?.toString('base64').replace(/=*$/, '')
  return (
    same(written.dsseEnvelope?.payload, envelope.payload) &&
    envelope.signatures.every(({ sig }, index) => same(written.dsseEnvelope?.signatures?.[index]?.sig, sig))
  )
}

async function holds(bundle: Bundle, key: KeyObject): Promise<boolean> {
  const { toSignedEntity, Verifier } = await import('./sigstore.ts')
  const verifier = new Verifier(
    {
      certificateAuthorities: [],
      timestampAuthorities: [],
      tlogs: [],
      ctlogs: [],
      // The hint is chosen by whoever made the bundle: the key comes from the registry entry, whatever it says.
      publicKey: () => ({ publicKey: key, validFor: () => true }),
    },
    { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 },
  )
  try {
    const entity = toSignedEntity(bundle)
    // Without a trust root no log entry and no timestamp can be judged: they are left out here and accounted for by the caller.
    verifier.verify({ ...entity, tlogEntries: [], timestamps: [] })
    return true
  } catch {
    // A wrong signature, or parts that are malformed, for which the library throws whatever its parsers throw: not signed.
    return false
  }
}

/** First half of the SHA-256 of the key (DER): enough to tell keys apart in a report. */
function fingerprint(key: KeyObject): string {
  const der = key.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(der).digest('hex').slice(0, 32)
}

/** Undefined when the file is larger than `limit` bytes. @throws IrError `input` when it cannot be read */
async function readBounded(file: string, limit: number): Promise<string | undefined> {
  const handle = await openRegularFile(file)
  try {
    if ((await handle.stat()).size > limit) return undefined
    const chunks: Uint8Array[] = []
    let length = 0
    for await (const chunk of handle.createReadStream({ autoClose: false, end: limit })) {
      chunks.push(chunk)
      length += chunk.length
    }
    // It may have grown since it was measured.
    return length > limit ? undefined : Buffer.concat(chunks).toString('utf8')
  } finally {
    await handle.close()
  }
}

function invalid(reason: string): { readonly state: 'invalid' | 'unverifiable'; readonly reason: string } {
  return { state: 'invalid', reason }
}

function unverifiable(reason: string): { readonly state: 'invalid' | 'unverifiable'; readonly reason: string } {
  return { state: 'unverifiable', reason }
}
