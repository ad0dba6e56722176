import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import canonicalize from 'canonicalize'
import { bits, type Der, integer, octets, oid, sequence, setOf, tagged, time, tlv, utf8, yes } from './der.ts'

/**
 * A Sigstore instance of the test's own: certificate authority, transparency log, time-stamp authority, and a signer that
 * uses them. What it signs, when, and as whom is the test's choice, so that each thing can be wrong alone.
 */
export interface Name {
  readonly uri?: string
  readonly email?: string
  /** Fulcio's user name. */
  readonly user?: string
}

export interface CertificateOptions {
  readonly names: readonly Name[]
  readonly issuer?: string
  /** Below 1.3.6.1.4.1.57264.1, as text. */
  readonly extensions?: Readonly<Record<number, string>>
  readonly from?: Date
  readonly to?: Date
  readonly usage?: string
  /** For a key that has a certificate already. */
  readonly key?: KeyObject
  /** Calls itself an authority. */
  readonly authority?: boolean
  /** Holds the subject's names a second time: these. */
  readonly again?: readonly Name[]
}

export interface Certificate {
  readonly der: Der
  readonly key: KeyObject
}

export interface SignOptions {
  /** A certificate with its key, or a bare key. */
  readonly as: Certificate | KeyObject
  /** Signs a statement; without, the file itself. */
  readonly statement?: unknown
  readonly payloadType?: string
  readonly file: Uint8Array
  readonly version?: '0.1' | '0.2' | '0.3'
  /** When the log took it in; none without. */
  readonly logged?: Date | undefined
  /** When the time-stamp authority saw it; none without. */
  readonly stamped?: Date | undefined
  readonly entry?: Kind
  /** An entry as Rekor 2 makes it: it promises nothing and has no time of its own. */
  readonly rekor2?: boolean
  /** What the log entry says, changed. */
  readonly body?: (body: string) => string
}

const seconds = (moment: Date) => Math.floor(moment.getTime() / 1000)
const sha256 = (...parts: readonly Uint8Array[]) => createHash('sha256').update(Buffer.concat(parts)).digest()
const spki = (key: KeyObject) => key.export({ type: 'spki', format: 'der' })
const newKeys = () => generateKeyPairSync('ec', { namedCurve: 'P-256' })
const always = { start: '2020-01-01T00:00:00Z' }
const ecdsa = sequence(oid('1.2.840.10045.4.3.2'))
const sha256Algorithm = sequence(oid('2.16.840.1.101.3.4.2.1'))
const pae = (type: string, payload: Uint8Array) =>
  Buffer.concat([Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `), payload])

export const at = (text: string): Date => new Date(`2026-03-01T${text}:00Z`)
const extension = (id: string, value: Uint8Array, critical = false) =>
  sequence(oid(id), ...(critical ? [yes] : []), octets(value))
const nameOf = (text: string) => sequence(setOf(sequence(oid('2.5.4.3'), utf8(text))))

type Kind = 'dsse' | 'intoto' | 'hashedrekord'

/** What the entry of a first Rekor says. */
function spec1(kind: Kind, sig: string, digest: Buffer, payload: Buffer, as: Certificate | KeyObject): unknown {
  const pem = Buffer.from('der' in as ? certificatePem(as.der) : publicPem(as)).toString('base64')
  const hash = { algorithm: 'sha256', value: digest.toString('hex') }
  const payloadHash = { algorithm: 'sha256', value: sha256(payload).toString('hex') }
  if (kind === 'hashedrekord') return { data: { hash }, signature: { content: sig, publicKey: { content: pem } } }
  if (kind === 'dsse') return { payloadHash, signatures: [{ signature: sig, verifier: pem }] }
  const twice = Buffer.from(sig).toString('base64')
  return { content: { envelope: { signatures: [{ publicKey: pem, sig: twice }] }, payloadHash } }
}

/** What the entry of a second Rekor says. */
function spec2(kind: Kind, sig: string, digest: Buffer, payload: Buffer, as: Certificate | KeyObject): unknown {
  const rawBytes = ('der' in as ? as.der : spki(createPublicKey(as))).toString('base64')
  const signer = 'der' in as ? { x509Certificate: { rawBytes } } : { publicKey: { rawBytes } }
  const signature = { content: sig, verifier: { ...signer, keyDetails: 'PKIX_ECDSA_P256_SHA_256' } }
  const hash = (bytes: Buffer) => ({ algorithm: 'SHA2_256', digest: bytes.toString('base64') })
  return kind === 'hashedrekord'
    ? { hashedRekordV002: { data: hash(digest), signature } }
    : { dsseV002: { payloadHash: hash(sha256(payload)), signatures: [signature] } }
}

export function sigstoreWorld() {
  const authority = newKeys()
  const rekor = newKeys()
  const rootName = nameOf('authority')
  const keyId = (key: KeyObject) => createHash('sha1').update(spki(key)).digest()

  function issue(subject: Der, key: KeyObject, from: Date, to: Date, extensions: readonly Uint8Array[]): Der {
    const tbs = sequence(
      tagged(0, integer(2)),
      integer(randomBytes(8).fill(1, 0, 1)),
      ecdsa,
      rootName,
      sequence(time(from), time(to)),
      subject,
      spki(key),
      tagged(3, sequence(...extensions)),
    )
    return sequence(tbs, ecdsa, bits(sign('sha256', tbs, authority.privateKey)))
  }
  const root = issue(rootName, authority.publicKey, new Date('2020-01-01'), new Date('2040-01-01'), [
    extension('2.5.29.19', sequence(yes), true),
    extension('2.5.29.15', bits(Buffer.from([0x04]), 2), true),
    extension('2.5.29.14', octets(keyId(authority.publicKey))),
  ])
  const stamper = newKeys()
  const stamperCertificate = issue(
    nameOf('stamper'),
    stamper.publicKey,
    new Date('2020-01-01'),
    new Date('2040-01-01'),
    [extension('2.5.29.35', sequence(tlv(0x80, keyId(authority.publicKey))))],
  )

  function certificate(options: CertificateOptions): Certificate {
    const privateKey = options.key ?? newKeys().privateKey
    const publicKey = createPublicKey(privateKey)
    const fulcio = '1.3.6.1.4.1.57264.1'
    const nameOfSubject = ({ uri, email, user }: Name) =>
      uri !== undefined
        ? tlv(0x86, Buffer.from(uri, 'latin1'))
        : email !== undefined
          ? tlv(0x81, Buffer.from(email))
          : tagged(0, oid(`${fulcio}.7`), tagged(0, utf8(user ?? '')))
    const names = (all: readonly Name[]) => extension('2.5.29.17', sequence(...all.map(nameOfSubject)), true)
    const der = issue(sequence(), publicKey, options.from ?? at('10:00'), options.to ?? at('10:10'), [
      extension('2.5.29.15', bits(Buffer.from([0x80]), 7), true),
      extension('2.5.29.37', sequence(oid(options.usage ?? '1.3.6.1.5.5.7.3.3'))),
      extension('2.5.29.35', sequence(tlv(0x80, keyId(authority.publicKey)))),
      names(options.names),
      ...(options.again === undefined ? [] : [names(options.again)]),
      ...(options.authority === true ? [extension('2.5.29.19', sequence(yes), true)] : []),
      ...(options.issuer === undefined ? [] : [extension(`${fulcio}.8`, utf8(options.issuer))]),
      ...Object.entries(options.extensions ?? {}).map(([id, text]) => extension(`${fulcio}.${id}`, utf8(text))),
    ])
    return { der, key: privateKey }
  }

  /** An RFC 3161 response over a signature. */
  function stamp(signature: Uint8Array, moment: Date): Der {
    const info = sequence(
      integer(1),
      oid('1.2.3.4'),
      sequence(sha256Algorithm, octets(sha256(signature))),
      integer(7),
      time(moment),
    )
    const attributes = [
      sequence(oid('1.2.840.113549.1.9.3'), setOf(oid('1.2.840.113549.1.9.16.1.4'))),
      sequence(oid('1.2.840.113549.1.9.4'), setOf(octets(sha256(info)))),
    ]
    // The serial number as it stands in the certificate of the authority.
    const serial = stamperCertificate
      .subarray(stamperCertificate.indexOf(Buffer.from('a003020102', 'hex')) + 5)
      .subarray(0, 10)
    const signerInfo = sequence(
      integer(1),
      sequence(rootName, serial),
      sha256Algorithm,
      tagged(0, ...attributes),
      ecdsa,
      octets(sign('sha256', setOf(...attributes), stamper.privateKey)),
    )
    const signedData = sequence(
      integer(3),
      setOf(sha256Algorithm),
      sequence(oid('1.2.840.113549.1.9.16.1.4'), tagged(0, octets(info))),
      setOf(signerInfo),
    )
    return sequence(sequence(integer(0)), sequence(oid('1.2.840.113549.1.7.2'), tagged(0, signedData)))
  }

  function log(body: string, moment: Date, kind: string, version: string, promises: boolean) {
    const logId = sha256(spki(rekor.publicKey))
    const canonicalizedBody = Buffer.from(body).toString('base64')
    const promise = canonicalize({
      body: canonicalizedBody,
      integratedTime: seconds(moment),
      logIndex: 0,
      logID: logId.toString('hex'),
    })
    const rootHash = sha256(Buffer.from([0]), Buffer.from(body)).toString('base64')
    const note = `log.example - 1\n1\n${rootHash}\n`
    const noted = Buffer.concat([logId.subarray(0, 4), sign('sha256', Buffer.from(note), rekor.privateKey)])
    return {
      logIndex: '0',
      logId: { keyId: logId.toString('base64') },
      kindVersion: { kind, version },
      ...(promises
        ? {
            integratedTime: `${seconds(moment)}`,
            inclusionPromise: {
              signedEntryTimestamp: sign('sha256', Buffer.from(promise ?? ''), rekor.privateKey).toString('base64'),
            },
          }
        : {}),
      inclusionProof: {
        logIndex: '0',
        treeSize: '1',
        hashes: [],
        rootHash,
        checkpoint: { envelope: `${note}\n— log.example ${noted.toString('base64')}\n` },
      },
      canonicalizedBody,
    }
  }

  function signed(options: SignOptions) {
    const { as, statement, file, version = '0.3', payloadType = 'application/vnd.in-toto+json' } = options
    const bare = !('der' in as)
    const key = bare ? as : as.key
    const algorithm = key.asymmetricKeyType === 'ed25519' ? null : 'sha256'
    const payload = Buffer.from(JSON.stringify(statement) ?? '')
    const signature = sign(algorithm, statement === undefined ? file : pae(payloadType, payload), key)
    const sig = signature.toString('base64')
    const digest = sha256(file)
    const kind = options.entry ?? (statement === undefined ? 'hashedrekord' : 'dsse')
    const rekor2 = options.rekor2 === true
    const apiVersion = kind === 'intoto' || rekor2 ? '0.0.2' : '0.0.1'
    const spec = rekor2 ? spec2(kind, sig, digest, payload, as) : spec1(kind, sig, digest, payload, as)
    const body = canonicalize({ apiVersion, kind, spec }) ?? ''
    return {
      mediaType:
        version === '0.3'
          ? 'application/vnd.dev.sigstore.bundle.v0.3+json'
          : `application/vnd.dev.sigstore.bundle+json;version=${version}`,
      verificationMaterial: {
        ...(bare
          ? { publicKey: { hint: 'a hint that nobody should follow' } }
          : version === '0.3'
            ? { certificate: { rawBytes: as.der.toString('base64') } }
            : { x509CertificateChain: { certificates: [{ rawBytes: as.der.toString('base64') }] } }),
        tlogEntries:
          options.logged === undefined
            ? []
            : [log(options.body?.(body) ?? body, options.logged, kind, apiVersion, !rekor2)],
        ...(options.stamped === undefined
          ? {}
          : {
              timestampVerificationData: {
                rfc3161Timestamps: [{ signedTimestamp: stamp(signature, options.stamped).toString('base64') }],
              },
            }),
      },
      ...(statement === undefined
        ? {
            messageSignature: {
              messageDigest: { algorithm: 'SHA2_256', digest: digest.toString('base64') },
              signature: sig,
            },
          }
        : { dsseEnvelope: { payload: payload.toString('base64'), payloadType, signatures: [{ sig }] } }),
    }
  }

  function trustedRoot(with_: { readonly log?: boolean; readonly stamper?: boolean } = {}): object {
    const { log = true, stamper: stamping = true } = with_
    const chain = (...certificates: readonly Der[]) => ({
      certificates: certificates.map((one) => ({ rawBytes: one.toString('base64') })),
    })
    return {
      mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
      tlogs: log
        ? [
            {
              baseUrl: 'https://log.example',
              hashAlgorithm: 'SHA2_256',
              publicKey: {
                rawBytes: spki(rekor.publicKey).toString('base64'),
                keyDetails: 'PKIX_ECDSA_P256_SHA_256',
                validFor: always,
              },
              logId: { keyId: sha256(spki(rekor.publicKey)).toString('base64') },
            },
          ]
        : [],
      certificateAuthorities: [{ uri: 'https://ca.example', certChain: chain(root), validFor: always }],
      ctlogs: [],
      timestampAuthorities: stamping
        ? [{ uri: 'https://tsa.example', certChain: chain(stamperCertificate, root), validFor: always }]
        : [],
    }
  }

  return { certificate, signed, trustedRoot }
}

const certificatePem = (der: Der) =>
  `-----BEGIN CERTIFICATE-----\n${der
    .toString('base64')
    .match(/.{1,64}/g)
    ?.join('\n')}\n-----END CERTIFICATE-----\n`

const publicPem = (key: KeyObject) => createPublicKey(key).export({ type: 'spki', format: 'pem' })
