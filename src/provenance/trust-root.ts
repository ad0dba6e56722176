import { createPublicKey, type KeyObject } from 'node:crypto'
import type { TrustMaterial } from '@sigstore/verify'
import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import { readBounded } from './bounded-file.ts'
import publicGood from './public-good.json' with { type: 'json' }
import { TrustedRoot, toTrustMaterial } from './sigstore.ts'

const maxBytes = 1024 ** 2

const mediaTypes = new Set([
  'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
  'application/vnd.dev.sigstore.trustedroot+json;version=0.2',
  'application/vnd.dev.sigstore.trustedroot.v0.2+json',
])

/** A key of the npm registry, for what it says about packages that it published. */
export interface NpmKey {
  readonly publicKey: KeyObject
  readonly validFor: (moment: Date) => boolean
}

export interface TrustRoot {
  /** Where it comes from, for people. */
  readonly name: string
  /** Authorities and logs; its `publicKey` finds none, as keys are chosen by whoever verifies. */
  readonly material: TrustMaterial
  /** By the hint that the registry's attestations carry. */
  readonly npmKeys: ReadonlyMap<string, NpmKey>
}

/**
 * The trust root in a file, or the one of Sigstore's public-good instance as of this release. The npm registry's keys are
 * not part of a trusted root: they are always the shipped ones.
 * @throws IrError `input` when the file is missing, or no trusted root
 */
export async function loadTrustRoot(file: string | undefined): Promise<TrustRoot> {
  if (file === undefined) {
    return {
      name: 'the shipped trust root',
      material: materialOf(publicGood.trustedRoot),
      npmKeys: npmKeys(),
    }
  }
  const text = await readBounded(file, maxBytes)
  let material: TrustMaterial
  try {
    const json: unknown = JSON.parse(text ?? '')
    const mediaType = typeof json === 'object' && json !== null && 'mediaType' in json ? json.mediaType : undefined
    if (!mediaTypes.has(String(mediaType))) throw new TypeError(`unknown version: ${String(mediaType)}`)
    material = materialOf(json)
  } catch (error) {
    const why = error instanceof Error ? error.message : 'malformed'
    throw new IrError('input', `${safe(file)} is not a Sigstore trusted root: ${safe(why, 120)}`, { cause: error })
  }
  return { name: safe(file, 200), material, npmKeys: npmKeys() }
}

/** @throws whatever the library throws for what is malformed */
function materialOf(json: unknown): TrustMaterial {
  return toTrustMaterial(TrustedRoot.fromJSON(json), () => {
    throw new TypeError('no key was chosen')
  })
}

function npmKeys(): Map<string, NpmKey> {
  const attesting = publicGood.npmKeys.filter(({ keyUsage }) => keyUsage === 'npm:attestations')
  return new Map(
    attesting.map(({ keyId, publicKey }) => {
      const start = new Date(publicKey.validFor.start)
      const end = 'end' in publicKey.validFor ? new Date(publicKey.validFor.end) : undefined
      return [
        keyId,
        {
          publicKey: createPublicKey({ key: Buffer.from(publicKey.rawBytes, 'base64'), format: 'der', type: 'spki' }),
          validFor: (moment) => start <= moment && (end === undefined || moment <= end),
        },
      ]
    }),
  )
}
