import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import type { Bundle } from '@sigstore/bundle'
import { at, textAt } from './json-path.ts'

type Entry = Bundle['verificationMaterial']['tlogEntries'][number]

/** Who signed: the key, and the certificate (DER) when it was one. */
export interface Signer {
  readonly key: KeyObject
  readonly certificate: Uint8Array | undefined
}

/**
 * What the library leaves open of an entry that it verified: that it was made for this signer, not for another one of the
 * same bytes, and that its proof and the signed checkpoint speak of the same tree.
 * @throws Error when it is not so, or cannot be read
 */
export function checkEntry(entry: Entry, signer: Signer): void {
  const seen = signerOf(JSON.parse(entry.canonicalizedBody.toString('utf8')))
  const same = seen.key.equals(signer.key)
  const both = seen.certificate !== undefined && signer.certificate !== undefined
  if (!same || (both && Buffer.compare(seen.certificate, signer.certificate) !== 0)) {
    throw new TypeError('the entry was made for another key or certificate')
  }
  const { inclusionProof } = entry
  // An empty one claims nothing: the path to the checkpoint's root was computed.
  if (inclusionProof === undefined || inclusionProof.rootHash.length === 0) return
  const root = inclusionProof.checkpoint?.envelope.split('\n')[2] ?? ''
  if (!inclusionProof.rootHash.equals(Buffer.from(root, 'base64'))) {
    throw new TypeError('the proof is about another tree than the checkpoint')
  }
}

/** Where each kind of entry keeps the PEM (base64) of the key or certificate that it was made for. */
const pemPaths: readonly (readonly (string | number)[])[] = [
  ['signature', 'publicKey', 'content'], // hashedrekord 0.0.1
  ['signatures', 0, 'verifier'], // dsse 0.0.1
  ['content', 'envelope', 'signatures', 0, 'publicKey'], // intoto 0.0.2
]
/** The same for the entries of the second Rekor, which hold the DER (base64). */
const verifierPaths: readonly (readonly (string | number)[])[] = [
  ['hashedRekordV002', 'signature', 'verifier'],
  ['dsseV002', 'signatures', 0, 'verifier'],
]

function signerOf(body: unknown): Signer {
  for (const path of pemPaths) {
    const text = textAt(body, 'spec', ...path)
    if (text === undefined) continue
    const pem = Buffer.from(text, 'base64').toString('latin1')
    return pem.includes('BEGIN CERTIFICATE')
      ? ofCertificate(pem)
      : { key: createPublicKey(pem), certificate: undefined }
  }
  for (const path of verifierPaths) {
    const verifier = at(body, 'spec', ...path)
    const certificate = textAt(verifier, 'x509Certificate', 'rawBytes')
    if (certificate !== undefined) return ofCertificate(Buffer.from(certificate, 'base64'))
    const key = textAt(verifier, 'publicKey', 'rawBytes')
    if (key === undefined) continue
    const der = Buffer.from(key, 'base64')
    return { key: createPublicKey({ key: der, format: 'der', type: 'spki' }), certificate: undefined }
  }
  throw new TypeError('the entry names no key or certificate')
}

function ofCertificate(bytes: string | Buffer): Signer {
  const certificate = new X509Certificate(bytes)
  return { key: certificate.publicKey, certificate: certificate.raw }
}
