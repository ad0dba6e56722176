import { readFile } from 'node:fs/promises'
import { finished, type Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClientOptions } from '@elastic/elasticsearch'
import { IrError, systemCode } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'

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
const pauseMs = 250
/** Small answers; field capabilities of a very wide mapping are the largest. */
const longestAnswer = 64 << 20
/** What most answers fit into. */
const smallAnswer = 16 << 10
const again = new Set([429, 502, 503, 504])

/**
 * Secrets come from the environment alone, never from the configuration; see docs/logs.md. What they are for is the client's own
 * affair: we ask plainly (`application/json`), which clusters of version 8 and 9 both understand.
 */
export async function connect(node: string, signal: AbortSignal, env: Env = process.env): Promise<Cluster> {
  const { Client } = await import('@elastic/elasticsearch')
  const url = new URL(node)
  const client = new Client({ node, maxRetries: 0, requestTimeout: timeoutMs, ...(await secretsOf(url, env)) })
  const name = safe(url.host)

  const once = async (method: string, path: string, body: Json | undefined, longest: number, room?: Buffer) => {
    const headers = {
      accept: 'application/json',
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    }
    const { statusCode, body: stream } = await client.transport.request<Readable>(
      { method, path, ...(body === undefined ? {} : { body: body as Record<string, unknown> }) },
      { asStream: true, meta: true, signal, headers },
    )
    return { status: statusCode ?? 0, bytes: await collected(stream, longest, room) }
  }
  const exchange = async (method: string, path: string, body: Json | undefined, longest: number, room?: Buffer) => {
    for (let attempt = 1; ; attempt += 1) {
      const last = attempt === attempts
      try {
        const answer = await once(method, path, body, longest, room)
        if (answer.status < 400) return answer.bytes
        if (last || !again.has(answer.status)) throw refusal(name, answer.status, answer.bytes)
      } catch (error) {
        if (signal.aborted) throw new IrError('interrupted', `Asking Elasticsearch at ${name} was interrupted.`)
        if (error instanceof IrError) throw error
        if (last || !isLoss(error)) throw lost(name, error)
      }
      await sleep(pauseMs * 2 ** (attempt - 1), undefined, { signal }).catch(() => undefined)
    }
  }
  return {
    name,
    bytes: (path, body, longest, room) => exchange('POST', path, body, longest, room),
    async ask(method, path, body) {
      const bytes = await exchange(method, path, body, longestAnswer)
      try {
        return JSON.parse(bytes?.toString('utf8') ?? '') as Json
      } catch (error) {
        throw new IrError('unreachable', `Elasticsearch at ${name} answers with what is no JSON.`, { cause: error })
      }
    },
    close: () => client.close(),
  }
}

async function secretsOf(url: URL, env: Env): Promise<ClientOptions> {
  const apiKey = env.ELASTICSEARCH_API_KEY
  const username = env.ELASTICSEARCH_USERNAME
  const password = env.ELASTICSEARCH_PASSWORD
  const authorities = env.ELASTICSEARCH_CA
  const caFingerprint = env.ELASTICSEARCH_CA_FINGERPRINT
  const auth = apiKey ? { apiKey } : username && password ? { username, password } : undefined
  const local = ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)
  if (auth !== undefined && url.protocol === 'http:' && !local)
    throw new IrError('refused', `Elasticsearch at ${safe(url.host)} would get its key over plain HTTP.`, {
      hints: ['Name it with https:// in mcp-ir.yaml; ELASTICSEARCH_CA names the file of its certificate authority.'],
    })
  return {
    ...(auth === undefined ? {} : { auth }),
    ...(authorities && url.protocol === 'https:' ? { tls: { ca: await certificates(authorities) } } : {}),
    ...(caFingerprint && url.protocol === 'https:' ? { caFingerprint } : {}),
  }
}

/** Whether a secret would go to the address of the configuration. */
export function sendsSecret(env: Env = process.env): boolean {
  return Boolean(env.ELASTICSEARCH_API_KEY || (env.ELASTICSEARCH_USERNAME && env.ELASTICSEARCH_PASSWORD))
}

async function certificates(file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (error) {
    throw new IrError(
      'input',
      `ELASTICSEARCH_CA: ${safe(file)} cannot be read (${systemCode(error) ?? 'unknown error'}).`,
    )
  }
}

function collected(stream: Readable, longest: number, room?: Buffer): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    let into = room ?? Buffer.allocUnsafeSlow(smallAnswer)
    let size = 0
    // An answer of megabytes comes in some hundred pieces: to await each of them would cost more than to copy it.
    stream.on('data', (piece: Buffer) => {
      if (size + piece.length > longest) {
        resolve(undefined)
        stream.destroy()
        return
      }
      if (size + piece.length > into.length) {
        const larger = Buffer.allocUnsafeSlow(Math.max(size + piece.length, into.length * 2))
        into.copy(larger, 0, 0, size)
        into = larger
      }
      piece.copy(into, size)
      size += piece.length
    })
    finished(stream, (error) => {
      if (error) reject(error)
      else resolve(into.subarray(0, size))
    })
  })
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

/** Whether the answer got lost on the way, so that asking again can help. */
function isLoss(error: unknown): boolean {
  return (
    error instanceof Error &&
    (error.name === 'ConnectionError' || error.name === 'TimeoutError' || systemCode(error) !== undefined)
  )
}

function lost(cluster: string, error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const known = /^(ConnectionError|TimeoutError|ProductNotSupportedError|RequestAbortedError)$/.test(error.name)
  if (!known && systemCode(error) === undefined) return error
  const what = error.name === 'ProductNotSupportedError' ? 'is not Elasticsearch' : 'does not answer'
  return new IrError(
    'unreachable',
    `Elasticsearch at ${cluster} ${what} (${systemCode(error.cause) ?? systemCode(error) ?? error.name}).`,
    { cause: error },
  )
}
