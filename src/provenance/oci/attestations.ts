import { IrError } from '../../errors.ts'
import { at, textAt } from '../json-path.ts'
import { type Descriptor, type ImageSource, maxBundleBytes, maxReferrers, parseManifest } from './descriptor.ts'

/** A Sigstore bundle about an image, in the order in which the source names them. */
export interface Attestation {
  /** Digest of where it stands, for people. */
  readonly name: string
  /** JSON text. */
  readonly bundle: Buffer
  /** In cosign's older layout a signature is over a text that names the image, not over the manifest: that text. */
  readonly payload: Buffer | undefined
}

export interface Attestations {
  readonly found: readonly Attestation[]
  /** What looked like one and could not be read. */
  readonly unread: readonly string[]
}

const bundleType = 'application/vnd.dev.sigstore.bundle'
const simpleSigning = 'application/vnd.dev.cosign.simplesigning.v1+json'
const dsseEnvelope = 'application/vnd.dsse.envelope.v1+json'
const maxPayloadBytes = 64 * 1024

/**
 * Everything that is said of an image: Sigstore bundles that refer to it (cosign's BUNDLE_SPEC), and signatures and
 * attestations in the layout that cosign had before (SIGNATURE_SPEC: tags `sha256-….sig` and `.att`).
 * @throws IrError unreachable, denied
 */
export async function attestationsOf(source: ImageSource, digest: string, signal: AbortSignal): Promise<Attestations> {
  const found: Attestation[] = []
  const unread: string[] = []
  const reading = async (name: string, read: () => Promise<Attestation | undefined>): Promise<void> => {
    try {
      const one = await read()
      if (one !== undefined) found.push(one)
    } catch (error) {
      // Whoever may push can put anything beside an image: what is broken counts for nothing, and hides nothing else.
      if (!(error instanceof IrError) || error.code !== 'refused') throw error
      unread.push(`${name}: ${error.message}`)
    }
  }
  const referrers = await source.referrers(digest, signal)
  for (const one of referrers.slice(0, maxReferrers))
    await reading(one.digest, () => bundleOf(source, one, digest, signal))
  if (referrers.length > maxReferrers) unread.push(`${referrers.length - maxReferrers} more than ${maxReferrers}`)
  for (const suffix of ['sig', 'att']) {
    const bytes = await source.manifest(`${digest.replace(':', '-')}.${suffix}`, signal)
    const layers = (bytes === undefined ? undefined : parseManifest(bytes))?.layers ?? []
    for (const layer of layers.slice(0, maxReferrers)) await reading(layer.digest, () => olderOf(source, layer, signal))
  }
  return { found, unread }
}

async function bundleOf(
  source: ImageSource,
  descriptor: Descriptor,
  digest: string,
  signal: AbortSignal,
): Promise<Attestation | undefined> {
  const { artifactType } = descriptor
  if (artifactType !== undefined && !artifactType.startsWith(bundleType)) return undefined
  const bytes = await source.manifest(descriptor.digest, signal)
  const manifest = bytes === undefined ? undefined : parseManifest(bytes)
  const [layer] = manifest?.layers ?? []
  if (layer === undefined || !layer.mediaType.startsWith(bundleType)) return undefined
  if (manifest?.subject !== undefined && manifest.subject.digest !== digest) return undefined
  const bundle = await source.blob(layer.digest, maxBundleBytes, signal)
  return bundle === undefined ? undefined : { name: descriptor.digest, bundle, payload: undefined }
}

/** A layer of cosign's older layout, written as the bundle that it would be today. */
async function olderOf(source: ImageSource, layer: Descriptor, signal: AbortSignal): Promise<Attestation | undefined> {
  if (layer.mediaType !== simpleSigning && layer.mediaType !== dsseEnvelope) return undefined
  const signed = layer.mediaType === simpleSigning
  const content = await source.blob(layer.digest, signed ? maxPayloadBytes : maxBundleBytes, signal)
  if (content === undefined) return undefined
  const { annotations } = layer
  const entry = entryOf(textAt(annotations, 'dev.sigstore.cosign/bundle'))
  const certificate = derOf(textAt(annotations, 'dev.sigstore.cosign/certificate'))
  const stamp = parsed(textAt(annotations, 'dev.sigstore.cosign/rfc3161timestamp'))
  const signedTimestamp = textAt(stamp, 'SignedRFC3161Timestamp')
  const digest = Buffer.from(layer.digest.slice('sha256:'.length), 'hex').toString('base64')
  const bundle = {
    mediaType: 'application/vnd.dev.sigstore.bundle+json;version=0.1',
    verificationMaterial: {
      ...(certificate === undefined
        ? { publicKey: { hint: '' } }
        : { x509CertificateChain: { certificates: [{ rawBytes: certificate }] } }),
      tlogEntries: entry === undefined ? [] : [entry],
      ...(signedTimestamp === undefined
        ? {}
        : { timestampVerificationData: { rfc3161Timestamps: [{ signedTimestamp }] } }),
    },
    ...(signed
      ? {
          messageSignature: {
            messageDigest: { algorithm: 'SHA2_256', digest },
            signature: textAt(annotations, 'dev.cosignproject.cosign/signature') ?? '',
          },
        }
      : { dsseEnvelope: envelopeOf(content) }),
  }
  return { name: layer.digest, bundle: Buffer.from(JSON.stringify(bundle)), payload: signed ? content : undefined }
}

/** An entry of the transparency log as a signed promise, without a proof: that is all that the older layout keeps. */
function entryOf(text: string | undefined): unknown {
  const value = parsed(text)
  const body = textAt(value, 'Payload', 'body')
  const logId = textAt(value, 'Payload', 'logID')
  if (body === undefined || logId === undefined) return undefined
  const said = parsed(Buffer.from(body, 'base64').toString('utf8'))
  return {
    logIndex: String(at(value, 'Payload', 'logIndex')),
    logId: { keyId: Buffer.from(logId, 'hex').toString('base64') },
    kindVersion: { kind: textAt(said, 'kind') ?? '', version: textAt(said, 'apiVersion') ?? '' },
    integratedTime: String(at(value, 'Payload', 'integratedTime')),
    inclusionPromise: { signedEntryTimestamp: textAt(value, 'SignedEntryTimestamp') ?? '' },
    canonicalizedBody: body,
  }
}

function envelopeOf(content: Buffer): unknown {
  const value = parsed(content.toString('utf8'))
  return {
    payload: textAt(value, 'payload') ?? '',
    payloadType: textAt(value, 'payloadType') ?? '',
    signatures: [{ sig: textAt(value, 'signatures', 0, 'sig') ?? '' }],
  }
}

/** Base64 of the first certificate in PEM. */
function derOf(pem: string | undefined): string | undefined {
  return /-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/.exec(pem ?? '')?.[1]?.replace(/\s+/g, '')
}

function parsed(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '')
  } catch {
    return undefined
  }
}
