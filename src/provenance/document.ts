import type { Bundle } from '@sigstore/bundle'
import { safe } from '../ui/safe-text.ts'
import { readBounded } from './bounded-file.ts'

/** Larger ones are no bundle of one artifact. */
const maxBytes = 16 * 1024 ** 2
/** Of log entries and timestamps in a bundle, and of attestations in a document; honest ones hold one to three. */
const maxParts = 32

const mediaTypes = new Set([
  'application/vnd.dev.sigstore.bundle+json;version=0.1',
  'application/vnd.dev.sigstore.bundle+json;version=0.2',
  'application/vnd.dev.sigstore.bundle+json;version=0.3',
  'application/vnd.dev.sigstore.bundle.v0.3+json',
])

/** A Sigstore bundle, or all of them in what the npm registry answers for a version. */
export interface BundleDocument {
  readonly kind: 'bundle' | 'npm'
  readonly bundles: readonly Bundle[]
}

/**
 * Reads what `--bundle` names.
 * @returns the bundles, or why it is no such document
 * @throws IrError `input` when the file cannot be read
 */
export async function readDocument(file: string): Promise<BundleDocument | { readonly reason: string }> {
  const text = await readBounded(file, maxBytes)
  if (text === undefined) return { reason: `the bundle is larger than ${maxBytes} bytes` }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    return { reason: 'the bundle is not JSON' }
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    return { reason: 'the bundle is not a JSON object' }
  }
  if (!('attestations' in json) || 'mediaType' in json) return await document('bundle', [json])
  const { attestations } = json
  if (!Array.isArray(attestations) || attestations.length === 0) {
    return { reason: 'the bundle is an npm attestations document without attestations' }
  }
  if (attestations.length > maxParts) return { reason: `the bundle holds more than ${maxParts} attestations` }
  return await document(
    'npm',
    // What stands beside the bundle is not signed: what an attestation says is read from its statement alone.
    attestations.map((one: unknown) =>
      typeof one === 'object' && one !== null && 'bundle' in one ? one.bundle : null,
    ),
  )
}

async function document(
  kind: BundleDocument['kind'],
  parts: readonly unknown[],
): Promise<BundleDocument | { readonly reason: string }> {
  const bundles: Bundle[] = []
  for (const part of parts) {
    const parsed = await parseBundle(part)
    if ('reason' in parsed) return parsed
    bundles.push(parsed.bundle)
  }
  return { kind, bundles }
}

async function parseBundle(json: unknown): Promise<{ readonly bundle: Bundle } | { readonly reason: string }> {
  const mediaType = typeof json === 'object' && json !== null && 'mediaType' in json ? json.mediaType : undefined
  // The library takes any version that it does not know for the newest.
  if (typeof mediaType !== 'string' || !mediaTypes.has(mediaType)) {
    const named = typeof mediaType === 'string' ? safe(mediaType, 80) : 'it names none'
    return { reason: `the bundle is of an unknown version: ${named}` }
  }
  const { bundleFromJSON, bundleToJSON } = await import('./sigstore.ts')
  let bundle: Bundle
  try {
    bundle = bundleFromJSON(json)
    if (!faithful(bundleToJSON(bundle), json)) return { reason: 'the bundle holds malformed base64' }
  } catch (error) {
    return { reason: `the bundle cannot be read: ${safe(error instanceof Error ? error.message : 'malformed', 160)}` }
  }
  const { tlogEntries, timestampVerificationData } = bundle.verificationMaterial
  const timestamps = timestampVerificationData?.rfc3161Timestamps ?? []
  if (tlogEntries.length > maxParts || timestamps.length > maxParts) {
    return { reason: `the bundle holds more than ${maxParts} log entries or timestamps` }
  }
  return { bundle }
}

/**
 * Whether every text was written in the one way that base64 allows, so that what was decoded is all that there is: Node
 * skips what is no base64 and ignores unused bits, and a changed character would go unnoticed.
 * @param read what was understood, written down again
 */
function faithful(read: unknown, written: unknown): boolean {
  if (typeof read === 'string') return typeof written !== 'string' || plainBase64(written) === plainBase64(read)
  if (Array.isArray(read)) {
    return Array.isArray(written) && read.every((item, index) => faithful(item, written[index]))
  }
  if (typeof read !== 'object' || read === null) return true
  if (typeof written !== 'object' || written === null) return false
  return Object.entries(read).every(([key, value]) => faithful(value, (written as Record<string, unknown>)[key]))
}

/** The alphabet for URLs and missing padding are legal in JSON bundles (protobuf). */
function plainBase64(text: string): string {
  return text.replaceAll('-', '+').replaceAll('_', '/').replace(/=*$/, '')
}
