import { request as http } from 'node:http'
import { request as https } from 'node:https'
import { IrError } from '../errors.ts'

export interface Probe {
  readonly answers: boolean
  /** `HTTP 200`, `ECONNREFUSED`, `nothing within 2500 ms`. Never a text that the server wrote. */
  readonly seen: string
}

/** What says that nobody is there: no connection, or one that ends without a word. */
const silence = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'ENOTFOUND',
  'EAI_AGAIN',
])
/** What only somebody who answered can cause: a broken HTTP or TLS conversation, a certificate. */
const wrongWords =
  /^(?:HPE_|EPROTO|ERR_SSL_|ERR_TLS_|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH|ERR_HTTP|INVALID_)/

const initialize = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'mcp-ir', version: '1' } },
})

/**
 * Does anything answer MCP requests at this URL? Any HTTP response counts, an error too: somebody who says no is alive.
 * So does what is not HTTP, or a certificate that is not accepted. A process that is stopped still has its connections
 * accepted by the kernel, so an open port alone is no answer. Redirects are not followed, the body is not read.
 *
 * @param options.timeoutMs for all of it
 * @throws IrError input for what is no http(s) URL; unreachable when this host cannot even ask; interrupted when the
 *   signal is aborted
 */
export async function answersMcp(
  url: string,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<Probe> {
  const target = URL.canParse(url) ? new URL(url) : undefined
  if (target?.protocol !== 'http:' && target?.protocol !== 'https:') {
    throw new IrError('input', 'Only http and https URLs can be asked whether an MCP server answers.')
  }
  const timeout = AbortSignal.timeout(options.timeoutMs)
  if (options.signal.aborted) throw new IrError('interrupted', 'Interrupted.')
  return new Promise<Probe>((resolve, reject) => {
    const request = (target.protocol === 'https:' ? https : http)(target, {
      method: 'POST',
      agent: false,
      signal: AbortSignal.any([timeout, options.signal]),
      headers: {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(initialize),
        accept: 'application/json, text/event-stream',
      },
    })
    const answered = (status: number | undefined): void => {
      resolve({ answers: true, seen: `HTTP ${status}` })
      request.destroy()
    }
    request.on('response', ({ statusCode }) => answered(statusCode))
    request.on('information', ({ statusCode }) => answered(statusCode))
    request.on('upgrade', ({ statusCode }) => answered(statusCode))
    request.on('error', (error: NodeJS.ErrnoException) => {
      if (timeout.aborted) return resolve({ answers: false, seen: `nothing within ${options.timeoutMs} ms` })
      if (options.signal.aborted) return reject(new IrError('interrupted', 'Interrupted.'))
      const code = error.code ?? error.name
      if (silence.has(code)) return resolve({ answers: false, seen: code })
      if (wrongWords.test(code)) return resolve({ answers: true, seen: `no valid HTTP (${code})` })
      reject(new IrError('unreachable', `It cannot be asked whether the URL answers (${code}).`, { cause: error }))
    })
    request.end(initialize)
  })
}
