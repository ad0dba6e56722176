import { createHmac, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * A small real authorization server on loopback: client credentials grant, revocation (RFC 7009), introspection (RFC 7662), and a
 * downstream that demands a live token. It counts what it issues and is told to misbehave per endpoint.
 */
type Endpoint = 'token' | 'revoke' | 'introspect' | 'me'

export type Fault =
  | { readonly kind: 'status'; readonly status: number; readonly retryAfter?: string }
  /** The connection is reset, before or after the request had its effect. */
  | { readonly kind: 'reset'; readonly when: 'before' | 'after' }
  /** Had its effect, answers 5xx. */
  | { readonly kind: 'lost'; readonly status: number }
  /** Never answers; the request has its effect or not. */
  | { readonly kind: 'hang'; readonly effect: boolean }
  /** Answers 200 and has no effect. */
  | { readonly kind: 'ignore' }
  | { readonly kind: 'redirect'; readonly to: string }
  | { readonly kind: 'body'; readonly body: string; readonly type?: string }

export interface OauthServer {
  readonly url: string
  readonly endpoints: Readonly<Record<Endpoint, string>>
  readonly client: { readonly id: string; readonly secret: string }
  /** Requests so far, in order. */
  readonly requests: readonly { readonly endpoint: Endpoint; readonly method: string }[]
  /** Issues a token as the issuer's own administrator would: not counted as a request. */
  issue(clientId?: string): string
  /** All tokens that were ever issued, and those that are alive now. */
  readonly issued: readonly string[]
  live(): readonly string[]
  /** Whether the downstream takes the token, seen by a client of its own. */
  accepts(token: string): Promise<boolean>
  /** The next `times` requests to the endpoint misbehave. */
  fault(endpoint: Endpoint, fault: Fault, times?: number): void
  stop(): Promise<void>
}

export interface OauthServerOptions {
  /** The tokens are JWTs, and the downstream reads them without asking the issuer. */
  readonly selfContained?: boolean
  /** The downstream takes a revoked token this many more times, as one that keeps answers for a while does. */
  readonly stale?: number
  /** Lifetime of a token in seconds. */
  readonly expiresIn?: number
  /** The grant gives out the live token again. */
  readonly reuses?: boolean
}

export async function startOauthServer(options: OauthServerOptions = {}): Promise<OauthServer> {
  const client = { id: 'crm-mcp', secret: `cs-${randomBytes(18).toString('base64url')}` }
  const key = randomBytes(32)
  const expiresIn = options.expiresIn ?? 3600
  const tokens = new Map<string, { readonly client: string; readonly exp: number; alive: boolean }>()
  const requests: { endpoint: Endpoint; method: string }[] = []
  const faults = new Map<Endpoint, Fault[]>()
  let stale = options.stale ?? 0

  const issue = (clientId = client.id): string => {
    const exp = Math.floor(Date.now() / 1000) + expiresIn
    const token =
      options.selfContained === true ? jwt({ sub: clientId, exp }) : `at-${randomBytes(24).toString('base64url')}`
    tokens.set(token, { client: clientId, exp, alive: true })
    return token
  }
  const jwt = (claims: object): string => {
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    const body = `${part({ alg: 'HS256', typ: 'at+jwt' })}.${part({ ...claims, jti: randomBytes(6).toString('hex') })}`
    return `${body}.${createHmac('sha256', key).update(body).digest('base64url')}`
  }
  const isLive = (token: string): boolean => {
    const found = tokens.get(token)
    return found?.alive === true && found.exp * 1000 > Date.now()
  }
  const accepted = (token: string): boolean => {
    if (isLive(token)) return true
    if (options.selfContained === true) return (tokens.get(token)?.exp ?? 0) * 1000 > Date.now()
    return tokens.has(token) && stale-- > 0
  }

  const authenticated = (request: IncomingMessage, form: URLSearchParams): boolean => {
    const [scheme, value] = (request.headers.authorization ?? '').split(' ')
    if (scheme !== 'Basic') return form.get('client_id') === 'public'
    const [id = '', secret = ''] = Buffer.from(value ?? '', 'base64')
      .toString('utf8')
      .split(':')
      .map(decodeURIComponent)
    return id === client.id && secret === client.secret
  }

  /** What the request does and answers, without any fault. `effect: false` leaves the world as it is. */
  const serve = (
    endpoint: Endpoint,
    request: IncomingMessage,
    form: URLSearchParams,
    effect: boolean,
  ): [number, object?] => {
    if (endpoint === 'me') {
      const token = (request.headers.authorization ?? '').replace(/^Bearer /, '')
      return accepted(token) ? [200, { me: 'crm' }] : [401, { error: 'invalid_token' }]
    }
    if (request.method !== 'POST') return [405]
    if (!authenticated(request, form)) return [401, { error: 'invalid_client' }]
    const found = tokens.get(form.get('token') ?? '')
    switch (endpoint) {
      case 'token': {
        if (form.get('grant_type') !== 'client_credentials') return [400, { error: 'unsupported_grant_type' }]
        if (!effect) return [200, {}]
        const again = options.reuses === true ? [...tokens.keys()].find(isLive) : undefined
        return [200, { access_token: again ?? issue(), token_type: 'Bearer', expires_in: expiresIn }]
      }
      case 'revoke':
        if (found !== undefined && effect) found.alive = false
        return [200]
      case 'introspect':
        return isLive(form.get('token') ?? '')
          ? [200, { active: true, client_id: found?.client, exp: found?.exp }]
          : [200, { active: false }]
    }
  }

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const endpoint = (request.url ?? '').slice(1) as Endpoint
    if (!['token', 'revoke', 'introspect', 'me'].includes(endpoint)) {
      response.writeHead(404).end()
      return
    }
    const own = request.headers['x-own-client'] === 'yes'
    if (!own) requests.push({ endpoint, method: request.method ?? '' })
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const form = new URLSearchParams(Buffer.concat(parts).toString('utf8'))
    const fault = own ? undefined : faults.get(endpoint)?.shift()
    const answer = ([status, body]: [number, object?], headers: Record<string, string> = {}): void => {
      const challenge = status === 401 ? { 'www-authenticate': 'Bearer realm="test"' } : {}
      response.writeHead(status, { 'content-type': 'application/json', ...challenge, ...headers })
      response.end(body === undefined ? '' : JSON.stringify(body))
    }
    switch (fault?.kind) {
      case undefined:
        return answer(serve(endpoint, request, form, true))
      case 'status':
        return answer([fault.status], fault.retryAfter === undefined ? {} : { 'retry-after': fault.retryAfter })
      case 'reset':
        if (fault.when === 'after') serve(endpoint, request, form, true)
        request.socket.resetAndDestroy()
        return
      case 'lost':
        serve(endpoint, request, form, true)
        return answer([fault.status])
      case 'hang':
        if (fault.effect) serve(endpoint, request, form, true)
        return
      case 'ignore':
        return answer(serve(endpoint, request, form, false))
      case 'redirect':
        return answer([302], { location: fault.to })
      case 'body':
        return void response.writeHead(200, { 'content-type': fault.type ?? 'application/json' }).end(fault.body)
    }
  }

  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const endpoints = { token: `${url}/token`, revoke: `${url}/revoke`, introspect: `${url}/introspect`, me: `${url}/me` }

  return {
    url,
    endpoints,
    client,
    requests,
    issue,
    get issued() {
      return [...tokens.keys()]
    },
    live: () => [...tokens.keys()].filter(isLive),
    async accepts(token) {
      const headers = { authorization: `Bearer ${token}`, 'x-own-client': 'yes' }
      const response = await fetch(endpoints.me, { headers })
      await response.body?.cancel()
      return response.ok
    },
    fault(endpoint, fault, times = 1) {
      faults.set(endpoint, [...(faults.get(endpoint) ?? []), ...Array.from({ length: times }, () => fault)])
    },
    async stop() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
