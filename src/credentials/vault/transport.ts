import { readFileSync } from 'node:fs'
import { Agent as HttpAgent, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { type AgentOptions, Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { IrError, systemCode } from '../../errors.ts'
import { environment } from './environment.ts'

/** One HTTP exchange: bounded in time and size, can be aborted, follows no redirect. */
export interface Exchange {
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  /** Filled in by the transport. */
  seen?: { status: number; retryAfterMs: number | undefined }
}

interface Options {
  readonly method: string
  readonly uri: string
  readonly headers: Record<string, string>
  readonly json?: object
  readonly exchange: Exchange
}

/** As node-vault wants it. */
interface Response {
  readonly statusCode: number
  readonly body: unknown
  readonly request: { readonly path: string }
}

/** A list of half a million accessors is 20 MB. */
const maxBody = 64 * 1024 * 1024

const plain = new HttpAgent({ keepAlive: true })
let secure: HttpsAgent | undefined

/** The TLS settings of Vault's own command line. */
function tls(): AgentOptions {
  const file = (name: string): Buffer | undefined => {
    const path = environment(name)
    if (path === undefined) return undefined
    try {
      return readFileSync(path)
    } catch (error) {
      throw new IrError('input', `VAULT_${name} names a file that cannot be read (${systemCode(error) ?? 'unknown'})`)
    }
  }
  const ca = file('CACERT')
  const cert = file('CLIENT_CERT')
  const key = file('CLIENT_KEY')
  const servername = environment('TLS_SERVER_NAME')
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(servername === undefined ? {} : { servername }),
    ...(/^(1|t|true)$/i.test(environment('SKIP_VERIFY') ?? '') ? { rejectUnauthorized: false } : {}),
  }
}

export async function transport({ method, uri, headers, json, exchange }: Options): Promise<Response> {
  const url = new URL(uri)
  const { timeoutMs, signal } = exchange
  const https = url.protocol === 'https:'
  if (https) secure ??= new HttpsAgent({ keepAlive: true, ...tls() })
  const payload = json === undefined ? undefined : Buffer.from(JSON.stringify(json))
  // Signals made for each exchange (AbortSignal.any, .timeout) would live on until the next great collection of garbage.
  let stop: (() => void) | undefined
  let timer: NodeJS.Timeout | undefined
  const { status, received, body } = await new Promise<{ status: number; received: IncomingHttpHeaders; body: Buffer }>(
    (resolve, reject) => {
      const sent = (https ? httpsRequest : httpRequest)(
        url,
        {
          method,
          agent: https ? secure : plain,
          headers: {
            accept: 'application/json',
            'X-Vault-Request': 'true',
            ...(payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': payload.length }),
            ...headers,
          },
        },
        (response) => {
          const parts: Buffer[] = []
          let size = 0
          response.on('data', (part: Buffer) => {
            size += part.length
            if (size > maxBody) response.destroy(new RangeError(`more than ${maxBody} bytes`))
            else parts.push(part)
          })
          response.on('error', reject)
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, received: response.headers, body: Buffer.concat(parts) }),
          )
        },
      )
      sent.on('error', reject)
      stop = () => void sent.destroy(new DOMException('Interrupted.', 'AbortError'))
      timer = setTimeout(() => sent.destroy(new DOMException('No answer in time.', 'TimeoutError')), timeoutMs)
      if (signal?.aborted === true) stop()
      signal?.addEventListener('abort', stop, { once: true })
      sent.end(payload)
    },
  ).finally(() => {
    clearTimeout(timer)
    if (stop !== undefined) signal?.removeEventListener('abort', stop)
  })
  const wait = Number(received['retry-after'])
  exchange.seen = { status, retryAfterMs: Number.isFinite(wait) && wait > 0 ? wait * 1000 : undefined }
  return { statusCode: status, body: parsed(body), request: { path: url.pathname } }
}

/** Errors of a proxy in between are not JSON: the status says enough. */
function parsed(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
}
