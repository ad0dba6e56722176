import { randomBytes, X509Certificate } from 'node:crypto'
import { IrError, systemCode } from '../errors.ts'
import { readRegular } from '../owned-file.ts'
import { safe } from '../ui/safe-text.ts'
import type { Anchor, KnownHead } from './port.ts'
import { readTimeStamp, type TimeStamp, timeStampRequest } from './time-stamp.ts'

/** Time-stamps with a chain of certificates have a few kilobytes. */
const maxBytes = 64 * 1024
const maxCertificates = 1024 ** 2

/**
 * A time-stamp authority (RFC 3161). It keeps nothing: the signed times are the receipts in the case folder, and what they
 * are over is the hash of a journal line, so that `openssl ts -verify -digest HASH` checks them too.
 */
export function timeStampAnchor(config: { readonly url: string; readonly certificate: string }): Anchor {
  const host = new URL(config.url).host
  return {
    name: `time-stamp authority ${safe(host)}`,
    async put(head, signal) {
      const trusted = await certificatesIn(config.certificate)
      const { der, nonce } = timeStampRequest(head.hash, randomBytes(8))
      const token = await ask(config.url, host, der, signal)
      const stamp = stampIn(token, trusted, host)
      if (stamp.hash !== head.hash || stamp.nonce !== nonce)
        throw new IrError('unreachable', `${host} answered with a time-stamp of something else`)
      return { token: token.toString('base64'), at: stamp.at.toISOString() }
    },
    async known(_caseId, receipts) {
      const trusted = await certificatesIn(config.certificate)
      const heads: KnownHead[] = []
      const wrong: string[] = []
      for (const { head, receipt } of receipts) {
        try {
          const { hash, at } = stampIn(Buffer.from(String(receipt.token), 'base64'), trusted, host)
          // What is signed counts, not what the receipt says that it is about.
          heads.push({ ...head, hash, seenAt: at.toISOString() })
        } catch (error) {
          if (!(error instanceof IrError)) throw error
          wrong.push(`the time-stamp of line ${head.seq}: ${error.message}`)
        }
      }
      return { heads, wrong }
    },
  }
}

async function ask(url: string, host: string, body: Buffer<ArrayBuffer>, signal: AbortSignal): Promise<Buffer> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/timestamp-query', accept: 'application/timestamp-reply' },
      body,
      redirect: 'manual',
      signal,
    })
    if (response.status !== 200) throw new IrError('unreachable', `${host} answers with ${response.status}`)
    const parts: Uint8Array[] = []
    let size = 0
    for await (const part of response.body ?? []) {
      size += part.byteLength
      if (size > maxBytes) throw new IrError('unreachable', `${host} answers with more than ${maxBytes} bytes`)
      parts.push(part)
    }
    return Buffer.concat(parts)
  } catch (error) {
    if (error instanceof IrError) throw error
    const cause = error instanceof Error ? error.cause : undefined
    throw new IrError(
      'unreachable',
      `${host} does not answer (${systemCode(cause) ?? systemCode(error) ?? 'no connection'})`,
    )
  }
}

function stampIn(token: Buffer, trusted: readonly X509Certificate[], host: string): TimeStamp {
  try {
    return readTimeStamp(token, trusted)
  } catch (error) {
    // Malformed in whatever way: the parser throws what it throws.
    const why = error instanceof Error ? safe(error.message, 200) : 'malformed'
    throw new IrError('refused', `it does not count as one of ${host}: ${why}`, { cause: error })
  }
}

/** @throws IrError input when it cannot be read or holds none */
async function certificatesIn(file: string): Promise<readonly X509Certificate[]> {
  const text = Buffer.from((await readRegular(file, maxCertificates)).bytes).toString('latin1')
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  try {
    if (blocks.length > 0) return blocks.map((pem) => new X509Certificate(pem))
  } catch (error) {
    throw new IrError('input', `${safe(file)} holds a malformed certificate`, { cause: error })
  }
  throw new IrError('input', `${safe(file)} holds no certificate in PEM form`)
}
