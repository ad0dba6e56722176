import * as oauth from 'oauth4webapi'
import { IrError } from '../../errors.ts'
import type { CredentialOf } from '../../registry/port.ts'
import { exchange, type Fetch, type HttpSettings, hostOf, unsafeUrl } from '../bounded-http.ts'
import { secretFromFile } from '../secret-source.ts'

export type OauthCredential = CredentialOf<'oauth'>

/** What the issuer says of a token (RFC 7662). */
export interface Introspected {
  readonly active: boolean
  /** Seconds since 1970. */
  readonly exp?: number
  readonly clientId?: string
}

interface Issued {
  readonly token: string
  /** Whether its holder alone can use it as it is; a DPoP token is bound to a key that nobody gets with it. */
  readonly bearer: boolean
  /** RFC 3339, when the issuer says it. */
  readonly expiresAt?: string
}

/** What a downstream does with a token. `unclear`: neither let in nor refused. */
export interface Probed {
  readonly answer: 'accepted' | 'refused' | 'unclear'
  readonly status: number
}

/** The authorization server and the downstream of one credential, asked with the client's own authentication. */
export interface OauthClient {
  readonly issuer: string
  /** Undefined: the registry names no introspection endpoint. @throws IrError */
  introspect(token: string): Promise<Introspected | undefined>
  /** RFC 7009. The issuer's yes says nothing yet: it answers 200 to tokens that it does not know. @throws IrError */
  revoke(token: string): Promise<void>
  /** Client credentials grant. @throws IrError */
  issue(now: Date): Promise<Issued>
  /** Undefined: the registry names no probe. @throws IrError */
  probe(token: string): Promise<Probed | undefined>
}

export function oauthClient(credential: OauthCredential, settings: HttpSettings, signal: AbortSignal): OauthClient {
  const issuer = hostOf(credential.tokenEndpoint)
  const { revocationEndpoint, introspectionEndpoint, probe } = credential
  const server: oauth.AuthorizationServer = {
    // Compared with nothing here: no response that we ask for carries an issuer.
    issuer: credential.tokenEndpoint,
    token_endpoint: credential.tokenEndpoint,
    ...(revocationEndpoint === undefined ? {} : { revocation_endpoint: revocationEndpoint }),
    ...(introspectionEndpoint === undefined ? {} : { introspection_endpoint: introspectionEndpoint }),
  }
  const client: oauth.Client = { client_id: credential.clientId }
  // Read anew each time: nothing is kept, and a secret that was put right meanwhile works.
  const authentication = async (): Promise<oauth.ClientAuth> =>
    credential.clientSecretFile === undefined
      ? oauth.None()
      : oauth.ClientSecretBasic(await secretFromFile(credential.clientSecretFile))
  // `exchange` has already refused plain http to anything but this machine.
  const options = (fetch: Fetch, url: string) => ({
    [oauth.customFetch]: fetch as never,
    [oauth.allowInsecureRequests]: new URL(url).protocol === 'http:' && unsafeUrl(url) === undefined,
  })

  return {
    issuer,

    async introspect(token) {
      if (introspectionEndpoint === undefined) return undefined
      const auth = await authentication()
      const what = { url: introspectionEndpoint, doing: 'asking about a token', nature: 'read', signal } as const
      const said = await exchange(settings, what, async (fetch) => {
        const response = await oauth.introspectionRequest(server, client, auth, token, options(fetch, what.url))
        return await oauth.processIntrospectionResponse(server, client, response)
      })
      return {
        active: said.active,
        ...(isSpan(said.exp) ? { exp: Math.floor(said.exp) } : {}),
        ...(typeof said.client_id === 'string' ? { clientId: said.client_id } : {}),
      }
    },

    async revoke(token) {
      if (revocationEndpoint === undefined)
        throw new IrError(
          'input',
          `The registry names no revocation endpoint for client ${credential.clientId} at ${issuer}`,
        )
      const auth = await authentication()
      const what = { url: revocationEndpoint, doing: 'revoking a token', nature: 'repeatable', signal } as const
      await exchange(settings, what, async (fetch) => {
        const hint = { additionalParameters: { token_type_hint: 'access_token' } }
        const response = await oauth.revocationRequest(server, client, auth, token, {
          ...options(fetch, what.url),
          ...hint,
        })
        // RFC 7009 says 200; some servers say 204 and mean it.
        if (!response.ok) await oauth.processRevocationResponse(response)
      })
    },

    async issue(now) {
      const auth = await authentication()
      const what = { url: credential.tokenEndpoint, doing: 'asking for a new token', nature: 'create', signal } as const
      const said = await exchange(settings, what, async (fetch) => {
        const response = await oauth.clientCredentialsGrantRequest(server, client, auth, {}, options(fetch, what.url))
        return await oauth.processClientCredentialsResponse(server, client, response)
      })
      return {
        token: said.access_token,
        bearer: said.token_type === 'bearer',
        ...(isSpan(said.expires_in)
          ? { expiresAt: new Date(now.getTime() + Math.floor(said.expires_in) * 1000).toISOString() }
          : {}),
      }
    },

    async probe(token) {
      if (probe === undefined) return undefined
      const what = { url: probe, doing: 'trying a token', nature: 'read', signal } as const
      const status = await exchange(settings, what, async (fetch) => {
        const response = await fetch(probe, { headers: { authorization: `Bearer ${token}` } })
        // Thrown to be repeated, as `exchange` does with every failing read.
        if (response.status === 429 || response.status >= 500) throw new Error('no answer')
        return response.status
      })
      const answer =
        status === 401 || status === 403 ? 'refused' : status >= 200 && status < 300 ? 'accepted' : 'unclear'
      return { answer, status }
    },
  }
}

/** Seconds that a date can be made of: up to the year 5138. */
export function isSpan(seconds: unknown): seconds is number {
  return typeof seconds === 'number' && seconds > 0 && seconds < 1e11
}
