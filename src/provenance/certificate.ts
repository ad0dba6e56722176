import { isUtf8 } from 'node:buffer'
import type { X509Certificate } from '@sigstore/core'
import type { Source } from './statement.ts'

/** Who signed, by the word of the authority that issued the certificate. */
export interface SigningCertificate {
  /** URI, e-mail address or Fulcio user name; ordinarily one. */
  readonly identities: readonly string[]
  readonly issuer: string | undefined
  /** What the authority read from the build's token; `builder` is the workflow that signed. */
  readonly source: Source
  /** `github-hosted` or `self-hosted`. */
  readonly runner: string | undefined
}

/** Extensions of Fulcio, below 1.3.6.1.4.1.57264.1; github.com/sigstore/fulcio/blob/main/docs/oid-info.md. */
const fulcio = '1.3.6.1.4.1.57264.1'
const userName = `${fulcio}.7`
const codeSigning = '1.3.6.1.5.5.7.3.3'
const extendedKeyUsage = '2.5.29.37'

/**
 * Reads a certificate whose chain was already verified.
 * @throws Error when it is not one to sign code with, or is not written as it must be
 */
export function readCertificate(certificate: X509Certificate): SigningCertificate {
  const oids = certificate.extensions.map((extension) => extension.subs[0]?.toOID())
  if (new Set(oids).size !== oids.length) throw new TypeError('the certificate holds an extension twice')
  if (certificate.extBasicConstraints?.isCA) throw new TypeError('the certificate is one of an authority')
  if (certificate.extKeyUsage?.digitalSignature === false) throw new TypeError('the certificate is not for signatures')
  const usages = certificate.extension(extendedKeyUsage)?.valueObj.subs[0]?.subs.map((usage) => usage.toOID())
  if (!usages?.includes(codeSigning)) throw new TypeError('the certificate is not for signing code')

  /** Extensions up to 6 hold the bare text. */
  const plain = (number: number) => text(certificate.extension(`${fulcio}.${number}`)?.value)
  /** Those from 8 hold a DER string. */
  const coded = (number: number) => text(certificate.extension(`${fulcio}.${number}`)?.valueObj.subs[0]?.value)
  const repository = plain(5)
  return {
    identities: identities(certificate),
    issuer: coded(8) ?? plain(1),
    source: {
      repository: coded(12) ?? (repository === undefined ? undefined : `https://github.com/${repository}`),
      commit: coded(13) ?? plain(3),
      builder: coded(9),
    },
    runner: coded(11),
  }
}

function identities(certificate: X509Certificate): string[] {
  const names = certificate.extSubjectAltName?.valueObj.subs[0]?.subs ?? []
  return names.flatMap((name) => {
    if (name.tag.isContextSpecific(0x06) || name.tag.isContextSpecific(0x01)) return text(name.value) ?? []
    if (name.tag.isContextSpecific(0x00) && name.subs[0]?.toOID() === userName) {
      return text(name.subs[1]?.subs[0]?.value) ?? []
    }
    return []
  })
}

/** The library reads text as ASCII, which drops the eighth bit: another name would come out as the expected one. */
function text(bytes: Uint8Array | undefined): string | undefined {
  if (bytes === undefined) return undefined
  if (!isUtf8(bytes)) throw new TypeError('the certificate holds a name that is no text')
  return Buffer.from(bytes).toString('utf8')
}
