import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Observation } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { safe } from '../../ui/safe-text.ts'
import { textAt } from '../json-path.ts'
import type { Expectations, ProvenanceVerdict } from '../port.ts'
import { verifyFile } from '../verify.ts'
import { type Attestation, attestationsOf } from './attestations.ts'
import type { ImageSource } from './descriptor.ts'
import type { Contents, Layout } from './layout.ts'

/**
 * Holds an image against what is expected of it: its manifest is the file, and everything else hangs on it by digest.
 * Where a signer is expected, one attestation beside the image that holds is enough, as with cosign: whoever may push can
 * add another one, and must not be able to spoil the right one with it.
 * @throws IrError input when the image is not there; unreachable or denied by its registry
 */
export async function verifyImage(
  source: ImageSource,
  digest: string,
  expected: Expectations,
  signal: AbortSignal,
): Promise<ProvenanceVerdict> {
  const manifest = await source.manifest(digest, signal)
  if (manifest === undefined) throw new IrError('input', `${source.name} has no image ${digest}.`)
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-image-'))
  try {
    const keep = async (name: string, bytes: Uint8Array): Promise<string> => {
      const path = join(folder, name)
      await writeFile(path, bytes, { mode: 0o600 })
      return path
    }
    const file = await keep('manifest.json', manifest)
    const signer = expected.key !== undefined || expected.identity !== undefined || expected.issuer !== undefined
    // The package's own name and version are in no manifest.
    const own = { ...expected, package: undefined }
    if (expected.bundle !== undefined || !signer) return await verifyFile(file, own, signal)

    const { found, unread } = await attestationsOf(source, digest, signal)
    const verdicts: ProvenanceVerdict[] = []
    for (const one of found) {
      const bundle = await keep('bundle.json', one.bundle)
      const verdict =
        one.payload === undefined
          ? await verifyFile(file, { ...own, bundle }, signal)
          : await verifyPayload(await keep('payload.json', one.payload), one, file, digest, { ...own, bundle }, signal)
      if (verdict.state === 'verified') return told(verdict, one.name, found.length)
      verdicts.push(withName(verdict, one.name))
    }
    const worst = verdicts.find(({ state }) => state === 'invalid') ?? verdicts[0]
    const none = await verifyFile(file, own, signal)
    const result = worst ?? { ...none, reasons: [`there is no attestation of ${digest} in ${source.name}`] }
    return { ...result, reasons: [...result.reasons, ...unread.map((what) => `not read: ${safe(what, 300)}`)] }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** The signed text must hold, and name this image; what is expected of the image itself is looked at apart. */
async function verifyPayload(
  payload: string,
  attestation: Attestation,
  file: string,
  digest: string,
  expected: Expectations,
  signal: AbortSignal,
): Promise<ProvenanceVerdict> {
  const { integrity, ...signing } = expected
  const signed = await verifyFile(payload, signing, signal)
  const image = await verifyFile(file, { integrity }, signal)
  const named = namedImage(attestation.payload)
  const names = named === digest
  const wrong = [
    ...(names ? [] : ['the signed text is about another image']),
    ...(integrity !== undefined && image.state !== 'verified' ? image.reasons : []),
  ]
  return {
    state: wrong.length > 0 ? 'invalid' : signed.state,
    sha256: image.sha256,
    sha512: image.sha512,
    observed: [
      ...image.observed,
      ...signed.observed,
      { claim: 'the signed text names this image', seen: safe(named ?? 'none', 100), holds: names },
    ],
    reasons: [...wrong, ...signed.reasons],
  }
}

/** cosign's payload ("simple signing"): undefined when it is none. */
function namedImage(payload: Buffer | undefined): string | undefined {
  try {
    const value: unknown = JSON.parse(payload?.toString('utf8') ?? '')
    const critical = textAt(value, 'critical', 'type') === 'cosign container image signature'
    return critical ? textAt(value, 'critical', 'image', 'docker-manifest-digest') : undefined
  } catch {
    return undefined
  }
}

function told(verdict: ProvenanceVerdict, name: string, of: number): ProvenanceVerdict {
  const seen = of === 1 ? name : `${name}, one of ${of}`
  return { ...verdict, observed: [...verdict.observed, observed('an attestation beside the image holds', seen, true)] }
}

function withName(verdict: ProvenanceVerdict, name: string): ProvenanceVerdict {
  return { ...verdict, observed: [...verdict.observed, observed('an attestation beside the image holds', name, false)] }
}

function observed(claim: string, seen: string, holds: boolean): Observation {
  return { claim, seen: safe(seen, 200), holds }
}

/** The image in a layout on disk, with all that it consists of; of several the one whose digest is expected. */
export async function verifyLayout(
  layout: Layout,
  expected: Expectations,
  signal: AbortSignal,
): Promise<ProvenanceVerdict> {
  const { source, images } = layout
  const wanted = expected.integrity?.trim().toLowerCase()
  const [only] = images
  const digest = images.find((one) => one.digest === wanted)?.digest ?? only?.digest
  if (digest === undefined) throw new IrError('input', `${source.name} holds no image.`)
  if (images.length > 1 && digest !== wanted)
    throw new IrError('input', `${source.name} holds ${images.length} images.`, {
      hints: [`Say which with --digest: ${images.map((one) => one.digest).join(', ')}`],
    })
  const verdict = await verifyImage(source, digest, expected, signal)
  return withContents(verdict, await layout.contents(digest, signal))
}

function withContents(verdict: ProvenanceVerdict, { blobs, wrong, missing }: Contents): ProvenanceVerdict {
  const claim = 'what the manifest names is in the layout'
  const seen = wrong.length > 0 ? `changed: ${wrong.join(', ')}` : `${blobs} of ${blobs + missing.length}`
  const reasons = [
    ...wrong.map((digest) => `${digest} was changed: its bytes are others`),
    ...(missing.length === 0 ? [] : [`the layout lacks ${missing.length} of what the manifest names`]),
  ]
  const state =
    wrong.length > 0 ? 'invalid' : missing.length > 0 && verdict.state === 'verified' ? 'unverifiable' : verdict.state
  return {
    ...verdict,
    state,
    observed: [...verdict.observed, observed(claim, seen, reasons.length === 0)],
    reasons: wrong.length > 0 ? [...reasons, ...verdict.reasons] : [...verdict.reasons, ...reasons],
  }
}
