import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { IrError } from '../errors.ts'
import { readPrivate, readRegular } from '../owned-file.ts'
import { safe } from '../ui/safe-text.ts'

const maxBytes = 64 * 1024
const making = 'openssl genpkey -algorithm ed25519 -out seal.key; openssl pkey -in seal.key -pubout -out seal.pub'

/**
 * An Ed25519 key to sign with, PEM (PKCS #8), of a file that only the user can read.
 * @param passphrase for one that is encrypted
 * @throws IrError refused when others could read it; input when it is none
 */
export async function readSigningKey(file: string, passphrase: string | undefined): Promise<KeyObject> {
  const { bytes } = await readPrivate(file, maxBytes, process.getuid?.())
  const key = parse(() => createPrivateKey({ key: Buffer.from(bytes), passphrase: passphrase ?? '' }))
  if (key?.asymmetricKeyType === 'ed25519') return key
  const encrypted = Buffer.from(bytes).includes('ENCRYPTED')
  throw new IrError(
    'input',
    `${safe(file)} is no Ed25519 private key in PEM form${encrypted ? ', or its passphrase is wrong' : ''}.`,
    {
      hints: [encrypted ? 'The passphrase comes from MCP_IR_SEAL_PASSPHRASE.' : `Make a pair: ${making}`],
    },
  )
}

/** @throws IrError input when it is missing, or no public Ed25519 key in PEM form */
export async function readSealersKey(file: string): Promise<KeyObject> {
  const { bytes } = await readRegular(file, maxBytes)
  const pem = Buffer.from(bytes)
  if (pem.includes('PRIVATE KEY'))
    throw new IrError('input', `${safe(file)} is a private key.`, { hints: ['To check with, name the public half.'] })
  const key = parse(() => createPublicKey(pem))
  if (key?.asymmetricKeyType === 'ed25519') return key
  throw new IrError('input', `${safe(file)} is no Ed25519 public key in PEM form.`, {
    hints: [`Make a pair: ${making}`],
  })
}

/** What OpenSSL says of a malformed key helps nobody, and could quote it. */
function parse(read: () => KeyObject): KeyObject | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
