import { createHash, verify, X509Certificate } from 'node:crypto'
import { ASN1Obj, X509Certificate as ParsedCertificate, RFC3161Timestamp } from '@sigstore/core'

/** What an RFC 3161 time-stamp authority signed: that these bytes were there at this time. */
export interface TimeStamp {
  /** SHA-256 that was stamped, hex. */
  readonly hash: string
  /** By the authority's clock. */
  readonly at: Date
  /** What the request said, hex; undefined when it is missing. */
  readonly nonce: string | undefined
}

const nonceBytes = 8
/** version 1, SHA-256 (2.16.840.1.101.3.4.2.1) and the length of what follows: a request differs in hash and nonce only. */
const requestHead = Buffer.from('30430201013031300d060960864801650304020105000420', 'hex')
const nonceHead = Buffer.from([0x02, nonceBytes])
/** certReq: the answer is to hold the certificate that it is signed with. */
const certReq = Buffer.from([0x01, 0x01, 0xff])

/**
 * A TimeStampReq (RFC 3161, 2.4.1) for a SHA-256.
 * @param hash hex
 * @param random 8 bytes
 */
export function timeStampRequest(
  hash: string,
  random: Uint8Array,
): { readonly der: Buffer<ArrayBuffer>; readonly nonce: string } {
  const nonce = Buffer.from(random.subarray(0, nonceBytes))
  // One spelling only: a positive number of full length.
  nonce[0] = ((nonce[0] ?? 0) & 0x3f) | 0x40
  const der = Buffer.concat([requestHead, Buffer.from(hash, 'hex'), nonceHead, nonce, certReq])
  return { der, nonce: nonce.toString('hex') }
}

const oids = {
  signedData: '1.2.840.113549.1.7.2',
  tstInfo: '1.2.840.113549.1.9.16.1.4',
  messageDigest: '1.2.840.113549.1.9.4',
  contentType: '1.2.840.113549.1.9.3',
  timeStamping: '1.3.6.1.5.5.7.3.8',
  sha256: '2.16.840.1.101.3.4.2.1',
}
const digests: Readonly<Record<string, string>> = {
  [oids.sha256]: 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
}
/** Signature algorithms that name their digest; those that do not (rsaEncryption, id-ecPublicKey) take the signer's. */
const signatures: Readonly<Record<string, string | undefined>> = {
  '1.2.840.113549.1.1.1': undefined,
  '1.2.840.10045.2.1': undefined,
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
}

/**
 * Reads a TimeStampResp and checks that one of these certificates, or one that they issued, signed it. sigstore-js knows
 * its parts, but only ECDSA signatures, and most authorities use RSA.
 * @param trusted of the authority itself or above it
 * @throws Error when it is malformed, refused by the authority, or does not hold
 */
export function readTimeStamp(der: Uint8Array, trusted: readonly X509Certificate[]): TimeStamp {
  const response = RFC3161Timestamp.parse(Buffer.from(der))
  const status = Number(response.status)
  if (status !== 0 && status !== 1) throw new TypeError(`the authority refused it (status ${status})`)
  if (response.root.subs[1] === undefined) throw new TypeError('the answer holds no time-stamp')
  if (response.contentType !== oids.signedData || response.eContentType !== oids.tstInfo)
    throw new TypeError('the answer is no signed time-stamp')
  const info = ASN1Obj.parseBuffer(Buffer.from(response.tstInfo.raw))
  const imprint = part(info.subs[2])
  if (imprint.subs[0]?.subs[0]?.toOID() !== oids.sha256) throw new TypeError('the time-stamp is not over a SHA-256')

  const signedData = part(response.root.subs[1].subs.find((sub) => sub.tag.isContextSpecific(0x00))?.subs[0])
  checkSignature(response, signedData, trusted)
  return {
    hash: part(imprint.subs[1]).value.toString('hex'),
    at: response.signingTime,
    nonce: info.subs
      .slice(5)
      .find((sub) => sub.tag.isInteger())
      ?.value.toString('hex'),
  }
}

function checkSignature(response: RFC3161Timestamp, signedData: ASN1Obj, trusted: readonly X509Certificate[]): void {
  const signer = part(signedData.subs.at(-1)?.subs[0])
  const attributes = part(signer.subs.find((sub) => sub.tag.isContextSpecific(0x00)))
  const attribute = (oid: string) => attributes.subs.find((sub) => sub.subs[0]?.toOID() === oid)?.subs[1]?.subs[0]
  const digest = digests[signer.subs[2]?.subs[0]?.toOID() ?? '']
  const algorithm = signer.subs[4]?.subs[0]?.toOID() ?? ''
  if (digest === undefined || !(algorithm in signatures))
    throw new TypeError('the time-stamp is signed in a way that is not supported')
  if (attribute(oids.contentType)?.toOID() !== oids.tstInfo)
    throw new TypeError('the signature is over something that is no time-stamp')
  const content = createHash(digest).update(response.tstInfo.raw).digest()
  if (!attribute(oids.messageDigest)?.value.equals(content))
    throw new TypeError('the signature is over another time-stamp')

  const embedded = signedData.subs.find((sub) => sub.tag.isContextSpecific(0x00))?.subs ?? []
  const brought = embedded.slice(0, 16).map((one) => new X509Certificate(one.toDER()))
  const certificate = [...trusted, ...brought].find((one) => isSigner(one, response))
  if (certificate === undefined) throw new TypeError('the certificate that signed it is missing')
  if (!certificate.keyUsage?.includes(oids.timeStamping)) throw new TypeError('its certificate is not for time-stamps')
  if (!leadsTo(certificate, trusted, brought, response.signingTime))
    throw new TypeError('it is not by the expected authority, or its certificate was not valid then')
  const signed = Buffer.from(attributes.toDER())
  // Signed as the SET that it is, not under its tag in the message (RFC 5652, 5.4).
  signed[0] = 0x31
  if (!verify(signatures[algorithm] ?? digest, signed, certificate.publicKey, response.signatureValue))
    throw new TypeError('the signature does not hold')
}

function isSigner(certificate: X509Certificate, response: RFC3161Timestamp): boolean {
  const { issuer, serialNumber } = ParsedCertificate.parse(Buffer.from(certificate.raw))
  return issuer.equals(response.signerIssuer) && serialNumber.equals(response.signerSerialNumber)
}

/** Whether a chain of valid certificates leads from this one to one that is trusted. */
function leadsTo(
  certificate: X509Certificate,
  trusted: readonly X509Certificate[],
  brought: readonly X509Certificate[],
  at: Date,
  depth = 0,
): boolean {
  if (at < certificate.validFromDate || at > certificate.validToDate) return false
  if (trusted.some((one) => one.raw.equals(certificate.raw))) return true
  if (depth === 4) return false
  return [...trusted, ...brought].some(
    (issuer) =>
      issuer.ca &&
      certificate.checkIssued(issuer) &&
      certificate.verify(issuer.publicKey) &&
      leadsTo(issuer, trusted, brought, at, depth + 1),
  )
}

function part(found: ASN1Obj | undefined): ASN1Obj {
  if (found === undefined) throw new TypeError('the time-stamp is malformed')
  return found
}
