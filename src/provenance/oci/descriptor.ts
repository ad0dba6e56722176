import { createHash } from 'node:crypto'
import { at, textAt } from '../json-path.ts'

/** Manifests and indexes; larger ones the specification does not ask a registry to take (OCI distribution 1.1, "Pushing Manifests"). */
export const maxManifestBytes = 4 * 1024 ** 2
/** As for any bundle. */
export const maxBundleBytes = 16 * 1024 ** 2
/** Of what says something about an image; honest ones have one to five. */
export const maxReferrers = 64

/** What names another object in a registry or layout. */
export interface Descriptor {
  readonly mediaType: string
  /** `sha256:` and hex. */
  readonly digest: string
  readonly size: number
  readonly artifactType: string | undefined
  readonly annotations: unknown
}

/** Manifest or index, as far as it is looked at. */
export interface Manifest {
  readonly mediaType: string | undefined
  readonly artifactType: string | undefined
  readonly subject: Descriptor | undefined
  readonly config: Descriptor | undefined
  readonly layers: readonly Descriptor[]
  readonly manifests: readonly Descriptor[]
}

export const digestForm = /^sha256:[0-9a-f]{64}$/

export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

/** Undefined when it is no JSON object. Descriptors that are malformed are left out. */
export function parseManifest(bytes: Buffer): Manifest | undefined {
  let value: unknown
  try {
    value = JSON.parse(bytes.toString('utf8'))
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return {
    mediaType: textAt(value, 'mediaType'),
    artifactType: textAt(value, 'artifactType'),
    subject: descriptorOf(at(value, 'subject')),
    config: descriptorOf(at(value, 'config')),
    layers: descriptorsOf(at(value, 'layers')),
    manifests: descriptorsOf(at(value, 'manifests')),
  }
}

function descriptorsOf(value: unknown): readonly Descriptor[] {
  return Array.isArray(value) ? value.flatMap((one) => descriptorOf(one) ?? []) : []
}

function descriptorOf(value: unknown): Descriptor | undefined {
  const digest = textAt(value, 'digest')
  const size = at(value, 'size')
  if (digest === undefined || !digestForm.test(digest)) return undefined
  return {
    mediaType: textAt(value, 'mediaType') ?? '',
    digest,
    size: typeof size === 'number' && Number.isSafeInteger(size) && size >= 0 ? size : 0,
    artifactType: textAt(value, 'artifactType'),
    annotations: at(value, 'annotations'),
  }
}

/** Where an image and what is said about it lies: a registry, or a layout on disk. */
export interface ImageSource {
  /** For people. */
  readonly name: string
  /** Its bytes, whose digest is this one, or those under a tag. Undefined: not there. */
  manifest(reference: string, signal: AbortSignal): Promise<Buffer | undefined>
  /** At most `limit` bytes, whose digest is this one. Undefined: not there. */
  blob(digest: string, limit: number, signal: AbortSignal): Promise<Buffer | undefined>
  /** What names this image as its subject. */
  referrers(digest: string, signal: AbortSignal): Promise<readonly Descriptor[]>
}
