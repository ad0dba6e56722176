import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClientOptions } from '@elastic/elasticsearch'
import { IrError, systemCode } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import { type Answer, certificatesOf, LargeAnswers } from './large-answers.ts'
import { Room } from './room.ts'

type Env = Readonly<Record<string, string | undefined>>
export type Json = Readonly<Record<string, unknown>>

/** An Elasticsearch that is asked plainly. */
export interface Cluster {
  readonly name: string
  /** An answer that is small. @throws IrError unreachable, denied; Refused when it says no to the request itself */
  ask(method: 'GET' | 'POST' | 'DELETE', path: string, body?: Json): Promise<Json>
  /**
   * The bytes of an answer; undefined when it has more than `longest`. They are put into `room` where they fit, so that whoever
   * asks for many large ones can use the memory again.
   *
   * @throws as `ask`
   */
  bytes(path: string, body: Json, longest: number, room?: Buffer): Promise<Buffer | undefined>
  close(): Promise<void>
}

/** The cluster refuses a request: an index that is not there, a view that has expired. Its own words are hostile, its codes are not. */
export class Refused extends IrError {
  readonly status: number
  /** `index_not_found_exception`. */
  readonly type: string

  constructor(cluster: string, status: number, type: string) {
    super('unreachable', `Elasticsearch at ${cluster} refuses to answer (${status}, ${type}).`)
    this.status = status
    this.type = type
  }
}

const timeoutMs = 120_000
const attempts = 5
/** Before it is asked again; twice as long each time. */
const firstPauseMs = 250
/** Small answers; field capabilities of a very wide mapping are the largest. */
const longestAnswer = 64 << 20
const busy = new Set([429, 502, 503, 504])

/**
 * Secrets come from the environment alone, never from the configuration; see docs/logs.md. What they are for is the client's own
 * affair: we ask plainly (`application/json`), which clusters of version 8 and 9 both understand.
 */
export async function connect(
  node: string,
  signal: AbortSignal,
  env: Env = process.env,
  pauseMs = firstPauseMs,
): Promise<Cluster> {
  const { Client } = await import('@elastic/elasticsearch')
  const url = new URL(node)
  const name = safe(url.host)
  /** Asked again while only the way there and back is at fault, or the cluster is busy. */
  const patiently = async <T>(ask: () => Promise<T>): Promise<T> => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await ask()
      } catch (error) {
        if (signal.aborted) throw new IrError('interrupted', `Asking Elasticsearch at ${name} was interrupted.`)
        const passes = error instanceof IrError ? isBusy(error) : isLoss(error)
        if (attempt === attempts || !passes) throw lost(name, error)
      }
      await sleep(pauseMs * 2 ** (attempt - 1), undefined, { signal }).catch(() => undefined)
    }
  }
  const shown = () => patiently(() => certificatesOf(url, timeoutMs, signal))
  const client = new Client({ node, maxRetries: 0, requestTimeout: timeoutMs, ...(await optionsOf(url, env, shown)) })

  const once = async (method: string, path: string, body: Json | undefined, longest: number): Promise<Answer> => {
    const headers = {
      accept: 'application/json',
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    }
    const { statusCode, body: stream } = await client.transport.request<Readable>(
      { method, path, ...(body === undefined ? {} : { body: body as Record<string, unknown> }) },
      { asStream: true, meta: true, signal, headers },
    )
    return { status: statusCode ?? 0, bytes: await collected(stream, longest) }
  }
  const exchange = (ask: () => Promise<Answer>) =>
    patiently(async () => {
      const { status, bytes } = await ask()
      if (status >= 400) throw refusal(name, status, bytes)
      return bytes
    })
  const [connection] = client.connectionPool.connections
  if (connection === undefined) throw new Error('the client was given an address')
  const large = new LargeAnswers(connection, timeoutMs, signal)
  return {
    name,
    bytes: (path, body, longest, room) => exchange(() => large.post(path, body, longest, room)),
    async ask(method, path, body) {
      const bytes = await exchange(() => once(method, path, body, longestAnswer))
      try {
        return JSON.parse(bytes?.toString('utf8') ?? '') as Json
      } catch (error) {
        throw new IrError('unreachable', `Elasticsearch at ${name} answers with what is no JSON.`, { cause: error })
      }
    },
    async close() {
      large.close()
      await client.close()
    },
  }
}

/** @param shown the certificates that the server shows, unverified */
async function optionsOf(url: URL, env: Env, shown: () => Promise<readonly X509Certificate[]>): Promise<ClientOptions> {
  const apiKey = env.ELASTICSEARCH_API_KEY
  const username = env.ELASTICSEARCH_USERNAME
  const password = env.ELASTICSEARCH_PASSWORD
  const auth = apiKey ? { apiKey } : username && password ? { username, password } : undefined
  if (apiKey && /[^!-~]/.test(apiKey))
    throw new IrError('input', 'ELASTICSEARCH_API_KEY is no key: it has spaces, ends of lines or other odd characters.')
  const local = ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)
  if (auth !== undefined && url.protocol === 'http:' && !local)
    throw new IrError('refused', `Elasticsearch at ${safe(url.host)} would get its key over plain HTTP.`, {
      hints: ['Name it with https:// in mcp-ir.yaml; ELASTICSEARCH_CA names the file of its certificate authority.'],
    })
  const ca = url.protocol === 'https:' ? await authorityOf(url, env, shown) : undefined
  return { ...(auth === undefined ? {} : { auth }), ...(ca === undefined ? {} : { tls: { ca } }) }
}

/** Whether a secret would go to the address of the configuration. */
export function sendsSecret(env: Env = process.env): boolean {
  return Boolean(env.ELASTICSEARCH_API_KEY || (env.ELASTICSEARCH_USERNAME && env.ELASTICSEARCH_PASSWORD))
}

/**
 * The authorities that are trusted; undefined: those of the system. Of the file, or else of what the server sends along with its
 * own certificate, the one with the fingerprint, if there is one: nobody can make another of the same. What it has signed is
 * verified as ever. (The client's own `caFingerprint` needs the verification of signatures and names switched off.)
 */
async function authorityOf(
  url: URL,
  env: Env,
  shown: () => Promise<readonly X509Certificate[]>,
): Promise<string | Buffer | undefined> {
  const file = env.ELASTICSEARCH_CA
  const given = env.ELASTICSEARCH_CA_FINGERPRINT
  if (!given) return file ? authoritiesIn(file) : undefined
  const wanted = plain(given)
  if (!/^[0-9a-f]{64}$/.test(wanted))
    throw new IrError('input', 'ELASTICSEARCH_CA_FINGERPRINT is no SHA-256 fingerprint (64 hexadecimal digits).')
  const all = file ? certificatesIn(await authoritiesIn(file), file) : await shown()
  const found = all.find(({ fingerprint256 }) => plain(fingerprint256) === wanted)
  if (found !== undefined) return found.toString()
  if (file)
    throw new IrError('input', `No certificate in ${safe(file)} has the fingerprint of ELASTICSEARCH_CA_FINGERPRINT.`)
  throw new IrError('refused', `Elasticsearch at ${safe(url.host)} shows no certificate of this fingerprint.`, {
    hints: [
      "It may be another server. If it is not: it has to send its authority's certificate along, or ELASTICSEARCH_CA names that as a file.",
    ],
  })
}

async function authoritiesIn(file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (error) {
    throw new IrError(
      'input',
      `ELASTICSEARCH_CA: ${safe(file)} cannot be read (${systemCode(error) ?? 'unknown error'}).`,
    )
  }
}

function certificatesIn(pem: Buffer, file: string): readonly X509Certificate[] {
  const texts = pem.toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  try {
    return texts.map((text) => new X509Certificate(text))
  } catch (error) {
    throw new IrError('input', `ELASTICSEARCH_CA: ${safe(file)} holds what is no certificate.`, { cause: error })
  }
}

/** A fingerprint without what only parts it. */
function plain(fingerprint: string): string {
  return fingerprint.replaceAll(':', '').toLowerCase()
}

async function collected(stream: Readable, longest: number): Promise<Buffer | undefined> {
  const room = new Room(longest)
  for await (const piece of stream) if (!room.add(piece as Buffer)) return undefined
  return room.bytes
}

/** Of an error's answer only its type is repeated, and only when it looks like one. */
function refusal(cluster: string, status: number, bytes: Buffer | undefined): IrError {
  let type = 'unknown error'
  try {
    const { error } = JSON.parse(bytes?.toString('utf8') ?? '') as { error?: { type?: string } | string }
    if (typeof error === 'object' && /^[a-z_]{1,80}$/.test(error.type ?? '')) type = error.type ?? type
  } catch {
    // Whoever stands before the cluster answers as it likes.
  }
  if (status === 401 || status === 403) {
    return new IrError('denied', `Elasticsearch at ${cluster} does not permit it (${status}, ${type}).`, {
      hints: [
        'Give a key that may do it: ELASTICSEARCH_API_KEY, or ELASTICSEARCH_USERNAME and ELASTICSEARCH_PASSWORD.',
      ],
    })
  }
  return new Refused(cluster, status, type)
}

function isBusy(error: IrError): boolean {
  return error instanceof Refused && busy.has(error.status)
}

/** Whether the answer got lost on the way, so that asking again can help. */
function isLoss(error: unknown): boolean {
  return (
    error instanceof Error &&
    !isDistrust(error) &&
    (error.name === 'ConnectionError' || error.name === 'TimeoutError' || systemCode(error) !== undefined)
  )
}

/** Why we say no to TLS is told by the client in words alone; an alert is what the server says. */
function isDistrust(error: Error): boolean {
  return /certificate/i.test(error.message) && !/alert/i.test(error.message)
}

function lost(cluster: string, error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof IrError) return error
  if (isDistrust(error))
    return new IrError('unreachable', `Elasticsearch at ${cluster} shows a certificate that is not trusted.`, {
      hints: [
        'ELASTICSEARCH_CA names the file of its authority, ELASTICSEARCH_CA_FINGERPRINT the SHA-256 fingerprint of that.',
        'A certificate that has expired, or is for another name than that in mcp-ir.yaml, is not trusted either.',
      ],
      cause: error,
    })
  const known = /^(ConnectionError|TimeoutError|ProductNotSupportedError|RequestAbortedError)$/.test(error.name)
  if (!known && systemCode(error) === undefined) return error
  const what = error.name === 'ProductNotSupportedError' ? 'is not Elasticsearch' : 'does not answer'
  return new IrError(
    'unreachable',
    `Elasticsearch at ${cluster} ${what} (${systemCode(error.cause) ?? systemCode(error) ?? error.name}).`,
    { cause: error },
  )
}
