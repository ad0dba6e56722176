import { setTimeout as sleep } from 'node:timers/promises'
import { IrError, systemCode } from '../errors.ts'

/** How patiently an adapter talks HTTP. */
export interface HttpSettings {
  /** For one exchange, its body included. */
  readonly timeoutMs: number
  /** Exchanges in all, the first one included, where asking again is harmless. */
  readonly attempts: number
  /** Before the second exchange; doubled for each further one. */
  readonly pauseMs: number
}

/**
 * What asking again would do. `read`: nothing. `repeatable`: a change that may be made twice, so that it is repeated when the
 * server says that it did not make it. `create`: makes something new each time, and is never cut off by Ctrl-C, as its
 * answer would be lost.
 */
type Nature = 'read' | 'repeatable' | 'create'

export interface Exchange {
  readonly url: string
  /** Completes "… while" in messages: `revoking the token`. */
  readonly doing: string
  readonly nature: Nature
  readonly signal: AbortSignal
}

export type Fetch = (url: string | URL, init?: RequestInit) => Promise<Response>

const maxBody = 256 * 1024
const maxPauseMs = 10_000
/** The server was never asked, so that a change cannot have happened. */
const neverSent = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
])
/** RFC 6749, 7009 and 6750 error codes: the only text of a response that a message repeats. */
const knownErrors = new Set([
  'invalid_request',
  'invalid_client',
  'invalid_grant',
  'unauthorized_client',
  'unsupported_grant_type',
  'unsupported_token_type',
  'invalid_scope',
  'invalid_token',
  'insufficient_scope',
  'access_denied',
])

/** Host of a URL, for messages: never its path, query or user. */
export function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : 'an invalid address'
}

/** Why a secret must not be sent there; undefined when it may. */
export function unsafeUrl(url: string): string | undefined {
  if (!URL.canParse(url)) return 'is not a valid URL'
  const { protocol, hostname, username, password } = new URL(url)
  if (username !== '' || password !== '') return 'holds a user name or password'
  if (protocol === 'https:') return undefined
  if (protocol !== 'http:') return 'is neither https nor http'
  return isLoopback(hostname) ? undefined : 'is plain http to another host: secrets are only sent over https'
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname)
}

/** Whether nothing at all answered, so that another address of the same server would not either. */
export class NotReachable extends IrError {}

/**
 * One exchange with a system, bounded in time and size, no redirect followed (it would carry the secret elsewhere).
 * `work` gets the `fetch` to use. Throttled and failing reads are repeated a few times.
 * @throws IrError unreachable (ambiguous where a change may have happened), denied, refused, interrupted. Messages hold
 * the host, the status and a code of the standard, never a token or a body; nothing is attached as `cause`.
 */
export async function exchange<T>(
  settings: HttpSettings,
  what: Exchange,
  work: (fetch: Fetch) => Promise<T>,
): Promise<T> {
  const { url, doing, nature, signal } = what
  const host = hostOf(url)
  const unsafe = unsafeUrl(url)
  if (unsafe !== undefined) throw new IrError('refused', `${host} is not asked while ${doing}: its address ${unsafe}`)
  for (let attempt = 1; ; attempt++) {
    interruptedBy(signal, false, doing)
    const seen: { status?: number; retryAfterMs?: number; error?: string } = {}
    const boundedFetch: Fetch = async (target, init) => {
      const limits = [AbortSignal.timeout(settings.timeoutMs), ...(nature === 'create' ? [] : [signal])]
      const response = await fetch(target, { ...init, redirect: 'manual', signal: AbortSignal.any(limits) })
      seen.status = response.status
      const wait = retryAfter(response)
      if (wait !== undefined) seen.retryAfterMs = wait
      const body = await bounded(response)
      if (response.status >= 400) {
        const code = errorCode(body)
        if (code !== undefined) seen.error = code
      }
      const empty = body.length === 0 || [204, 205, 304].includes(response.status)
      return new Response(empty ? null : body, { status: response.status, headers: response.headers })
    }
    try {
      return await work(boundedFetch)
    } catch (error) {
      if (error instanceof IrError) throw error
      if (nature !== 'create') interruptedBy(signal, nature !== 'read', doing)
      if (attempt < settings.attempts && mayRepeat(nature, seen.status, error)) {
        const pause = Math.min(seen.retryAfterMs ?? settings.pauseMs * 2 ** (attempt - 1), maxPauseMs)
        await sleep(pause, undefined, { signal }).catch(() => interruptedBy(signal, false, doing))
        continue
      }
      throw asIrError(error, seen, nature, host, doing)
    }
  }
}

function interruptedBy(signal: AbortSignal, ambiguous: boolean, doing: string): void {
  if (signal.aborted) throw new IrError('interrupted', `Interrupted while ${doing}`, { ambiguous })
}

function mayRepeat(nature: Nature, status: number | undefined, error: unknown): boolean {
  // 429 says that nothing was done (RFC 6585, section 4); 503 says so for a revocation (RFC 7009, section 2.2.1).
  if (status === 429) return true
  if (nature === 'repeatable') return status === 503
  if (nature === 'create') return false
  if (status !== undefined) return status >= 500
  return networkCode(error) !== 'time-out'
}

function asIrError(
  error: unknown,
  seen: { readonly status?: number; readonly error?: string },
  nature: Nature,
  host: string,
  doing: string,
): IrError {
  const { status } = seen
  const change = nature !== 'read'
  if (status === undefined) {
    const code = networkCode(error)
    const message = `${host} does not answer (${code}) while ${doing}`
    return new NotReachable('unreachable', message, { ambiguous: change && !neverSent.has(code) })
  }
  const code = seen.error === undefined ? '' : `, ${seen.error}`
  if (status === 429 || status >= 500)
    return new IrError('unreachable', `${host} answers with ${status} while ${doing}`, {
      ambiguous: change && !(nature === 'create' && status === 429),
    })
  if (status >= 400) return new IrError('denied', `${host} does not permit it (${status}${code}) while ${doing}`)
  if (status >= 300)
    return new IrError(
      'unreachable',
      `${host} answers with a redirect (${status}), which is not followed, while ${doing}`,
    )
  return new IrError('unreachable', `${host} answers with something unexpected (${status}) while ${doing}`, {
    ambiguous: change,
  })
}

function networkCode(error: unknown): string {
  if (error instanceof Error && (error.name === 'TimeoutError' || error.name === 'AbortError')) return 'time-out'
  const cause = error instanceof Error ? error.cause : undefined
  return systemCode(cause) ?? systemCode(error) ?? 'no connection'
}

/** Milliseconds from a Retry-After header (seconds or an HTTP date). */
function retryAfter(response: Response): number | undefined {
  const value = response.headers.get('retry-after')
  if (value === null) return undefined
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now()
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined
}

function errorCode(body: Uint8Array): string | undefined {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(body).toString('utf8'))
    if (typeof parsed !== 'object' || parsed === null || !('error' in parsed)) return undefined
    return typeof parsed.error === 'string' && knownErrors.has(parsed.error) ? parsed.error : undefined
  } catch {
    return undefined // not JSON: the status says enough
  }
}

async function bounded(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of response.body ?? []) {
    size += part.byteLength
    if (size > maxBody) throw new RangeError(`more than ${maxBody} bytes`)
    parts.push(part)
  }
  return new Uint8Array(Buffer.concat(parts))
}
