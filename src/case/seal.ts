import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { dsse } from '@sigstore/core'
import type { Line, LineOf } from './events.ts'
import { type CaseFiles, journalName, sealName } from './files.ts'

/**
 * The seal of a case: an in-toto statement about the journal, every piece of evidence and the reports, in a DSSE envelope
 * that is signed with Ed25519, in a Sigstore bundle. So it can be checked without mcp-ir, for each file alone.
 */
const statementType = 'https://in-toto.io/Statement/v1'
const predicateType = 'urn:mcp-ir:case-seal:1'
const payloadType = 'application/vnd.in-toto+json'
const mediaType = 'application/vnd.dev.sigstore.bundle.v0.3+json'

export interface Sealed {
  readonly at: string
  readonly by: string
  /** The key that signed, as the seal itself says. */
  readonly key: string
}

interface SealStatement {
  readonly _type: string
  readonly subject: readonly { readonly name: string; readonly digest: { readonly sha256: string } }[]
  readonly predicateType: string
  readonly predicate: {
    readonly case: string
    readonly server: string
    readonly head: { readonly seq: number; readonly hash: string }
    readonly sealedAt: string
    readonly by: string
    readonly tool: string
    /** PEM: what is signed also says by whom. */
    readonly publicKey: string
  }
}

/** SHA-256 over the public key (DER), hex. */
export function keyId(key: KeyObject): string {
  return createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('hex')
}

/** What a seal covers: all but itself, and what may grow after it (receipts of an anchor) or is about an export. */
function isSealed(path: string): boolean {
  return path === journalName || path.startsWith('evidence/') || path.startsWith('report/')
}

/**
 * The text of `seal.json`. The same case and key give the same bytes.
 * @param last the journal's last line
 */
export async function sealText(
  sealing: {
    readonly case: string
    readonly server: string
    readonly tool: string
    readonly last: LineOf<'case.sealed'>
  },
  files: CaseFiles,
  privateKey: KeyObject,
): Promise<string> {
  const subject: SealStatement['subject'][number][] = []
  for (const name of files.paths.filter(isSealed)) {
    const found = await files.fingerprint(name)
    if (found !== undefined) subject.push({ name, digest: { sha256: found.sha256 } })
  }
  const publicKey = createPublicKey(privateKey)
  const { last, ...about } = sealing
  const statement: SealStatement = {
    _type: statementType,
    subject,
    predicateType,
    predicate: {
      ...about,
      head: { seq: last.seq, hash: last.hash },
      sealedAt: last.at,
      by: last.by,
      publicKey: publicKey.export({ type: 'spki', format: 'pem' }) as string,
    },
  }
  const payload = Buffer.from(JSON.stringify(statement))
  return bundleText(payload, sign(null, dsse.preAuthEncoding(payloadType, payload), privateKey), publicKey)
}

function bundleText(payload: Buffer, signature: Buffer, publicKey: KeyObject): string {
  const hint = Buffer.from(keyId(publicKey), 'hex').toString('base64')
  return `${JSON.stringify(
    {
      mediaType,
      verificationMaterial: { publicKey: { hint } },
      dsseEnvelope: {
        payload: payload.toString('base64'),
        payloadType,
        signatures: [{ sig: signature.toString('base64') }],
      },
    },
    undefined,
    2,
  )}\n`
}

type Damage = { readonly place: string; readonly what: string }

/**
 * Holds a seal against the case.
 * @param key the public key that it must be by; undefined: the one that it names, which proves only that nothing changed
 * since somebody sealed it
 * @param leftOut paths that a redacted export lacks
 */
export async function checkSeal(
  text: Buffer,
  journal: { readonly id: string; readonly lines: readonly Line[] },
  files: CaseFiles,
  key: KeyObject | undefined,
  leftOut: ReadonlySet<string>,
): Promise<{ readonly sealed: Sealed | undefined; readonly damage: readonly Damage[] }> {
  const wrong = (what: string) => ({ sealed: undefined, damage: [{ place: sealName, what }] })
  const read = readSeal(text)
  if (read === undefined) return wrong('is not a seal, or was changed')
  const { statement, publicKey, payload, signature } = read
  if (key !== undefined && !key.equals(publicKey)) return wrong(`is by another key (${keyId(publicKey)})`)
  if (!verify(null, dsse.preAuthEncoding(payloadType, payload), publicKey, signature))
    return wrong('was changed: its signature does not hold')

  const { predicate, subject } = statement
  const last = journal.lines.at(-1)
  if (predicate.case !== journal.id || last?.kind !== 'case.sealed' || last.data.key !== keyId(publicKey))
    return wrong('is not the one that the journal ends with')
  if (predicate.head?.hash !== last.hash) return wrong('was made over another journal')

  const damage: Damage[] = []
  const named = new Map(subject.map(({ name, digest }) => [name, digest?.sha256]))
  for (const [name, sha256] of named) {
    if (leftOut.has(name)) continue
    const found = await files.fingerprint(name)
    if (found === undefined) damage.push({ place: name, what: 'is missing, and was sealed' })
    else if (found.sha256 !== sha256) damage.push({ place: name, what: 'was changed since it was sealed' })
  }
  for (const name of files.paths.filter(isSealed))
    if (!named.has(name)) damage.push({ place: name, what: 'was put there after the case was sealed' })
  return { sealed: { at: last.at, by: last.by, key: keyId(publicKey) }, damage }
}

/** Undefined when it is not written exactly as we write it: another spelling of the same is a changed byte too. */
function readSeal(text: Buffer) {
  try {
    const { dsseEnvelope } = JSON.parse(text.toString('utf8'))
    const payload = Buffer.from(String(dsseEnvelope.payload), 'base64')
    const signature = Buffer.from(String(dsseEnvelope.signatures[0].sig), 'base64')
    const statement: SealStatement = JSON.parse(payload.toString('utf8'))
    const publicKey = createPublicKey(statement.predicate.publicKey)
    if (publicKey.asymmetricKeyType !== 'ed25519' || statement.predicateType !== predicateType) return undefined
    if (!Array.isArray(statement.subject) || bundleText(payload, signature, publicKey) !== text.toString('utf8'))
      return undefined
    return { statement, publicKey, payload, signature }
  } catch {
    return undefined // no JSON, or of another shape
  }
}
