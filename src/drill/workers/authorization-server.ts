import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { body, json, listen } from '../http.ts'
import { worker } from '../worker.ts'

export interface AuthorizationServerSettings {
  /** Client id to secret and the scope of its tokens. */
  readonly clients: Readonly<Record<string, { readonly secret: string; readonly scope: string }>>
}

interface Issued {
  readonly client: string
  readonly scope: string
  /** Seconds since the epoch. */
  readonly iat: number
  readonly exp: number
}

const lifetime = 8 * 3600

/** OAuth 2: client credentials (RFC 6749, 4.4), revocation (RFC 7009), introspection (RFC 7662). Tokens live in memory. */
worker(async ({ clients }: AuthorizationServerSettings) => {
  const tokens = new Map<string, Issued>()
  const origin = await listen(async (request, response, url) => {
    const form = new URLSearchParams(await body(request))
    const client = authenticated(request, form)
    if (request.method !== 'POST') return json(response, 405, { error: 'invalid_request' })
    if (client === undefined) return json(response, 401, { error: 'invalid_client' })
    const token = form.get('token') ?? ''
    const issued = tokens.get(token)
    const now = Math.floor(Date.now() / 1000)
    if (url.pathname === '/token') {
      if (form.get('grant_type') !== 'client_credentials')
        return json(response, 400, { error: 'unsupported_grant_type' })
      const scope = clients[client]?.scope ?? ''
      const fresh = `crm_${randomBytes(24).toString('base64url')}`
      tokens.set(fresh, { client, scope, iat: now, exp: now + lifetime })
      return json(response, 200, { access_token: fresh, token_type: 'Bearer', expires_in: lifetime, scope })
    }
    if (url.pathname === '/revoke') {
      // RFC 7009, 2.1 and 2.2: only the client's own token; an unknown one is no error.
      if (issued?.client === client) tokens.delete(token)
      return json(response, 200, {})
    }
    if (url.pathname === '/introspect') {
      if (issued === undefined || issued.exp <= now) return json(response, 200, { active: false })
      const { client: client_id, scope, iat, exp } = issued
      return json(response, 200, { active: true, token_type: 'Bearer', client_id, sub: client_id, scope, iat, exp })
    }
    if (url.pathname === '/live') {
      // Not of any standard: how many tokens of this client live, so that nothing issued can hide.
      const own = [...tokens.values()].filter((one) => one.client === client && one.exp > now)
      return json(response, 200, { live: own.length })
    }
    return json(response, 404, { error: 'not_found' })
  })
  return { origin }

  function authenticated(request: IncomingMessage, form: URLSearchParams): string | undefined {
    const encoded = /^Basic (.+)$/i.exec(request.headers.authorization ?? '')?.[1]
    const [id = '', secret = ''] =
      encoded === undefined
        ? [form.get('client_id') ?? '', form.get('client_secret') ?? '']
        : Buffer.from(encoded, 'base64')
            .toString()
            .split(':')
            .map((part) => decodeURIComponent(part))
    return Object.hasOwn(clients, id) && clients[id]?.secret === secret ? id : undefined
  }
})
