import { createHash, createPublicKey, type KeyObject } from 'node:crypto'
import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import { readBounded } from './bounded-file.ts'

const maxBytes = 64 * 1024

/** @throws IrError `input` when the file is missing, too large, a private key, or no key that is fit for signing */
export async function readPublicKey(file: string): Promise<KeyObject> {
  const pem = await readBounded(file, maxBytes)
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

/** First half of the SHA-256 of the key (DER): enough to tell keys apart in a report. */
export function fingerprint(key: KeyObject): string {
  const der = key.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(der).digest('hex').slice(0, 32)
}
