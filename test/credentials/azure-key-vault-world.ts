import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import type { KeyVaultSettings } from '../../src/credentials/stores/key-vault.ts'

/**
 * There is no emulator of Azure Key Vault to be had: this TLS server of the test's own speaks the shapes that Microsoft publishes
 * for its REST interface (get, set, list versions, update, and the login challenge), and nothing more. What Key Vault does beside
 * them, it does not.
 */
export interface KeyVaultServer {
  readonly url: string
  /** For the adapter: trusts the server's certificate, and logs in with a token of the test's own. */
  readonly settings: KeyVaultSettings
  readonly requests: { readonly method: string; readonly path: string }[]
  fault: (method: string, path: string) => KeyVaultFault | undefined
  /** Newest last. */
  readonly secrets: Map<string, KeyVaultVersion[]>
  /** The value that a reader gets, who does not name a version. */
  value(name: string): string | undefined
  put(name: string, value: string): void
  readonly stop: () => Promise<void>
}

interface KeyVaultVersion {
  readonly version: string
  readonly value: string
  enabled: boolean
  readonly created: number
  readonly contentType?: string
  readonly tags?: Record<string, string>
  readonly managed?: boolean
}

type KeyVaultFault = 'throttled' | '5xx' | 'denied' | 'reset-before' | 'reset-after'

/** Made for this file; nothing else trusts it. */
const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg0LJfj1OloKkD9o4u
QUGRSC8iHCLKzLKLBponKqLQxiGhRANCAAQzZVN0Zvk5fw+eON0uBy0EI+NuNR8K
TMARRZc2WMCqE8RpedRKmM7lgKOrHNu7sUEGSH0tWJBRL8xdkm88BA5h
-----END PRIVATE KEY-----
`
const cert = `-----BEGIN CERTIFICATE-----
MIIBojCCAUigAwIBAgIUVQEN7Fwo0XkM+q4WbInRWcjYoyMwCgYIKoZIzj0EAwIw
HTEbMBkGA1UEAwwSbG9vcGJhY2sgb2YgYSB0ZXN0MCAXDTI2MTEyMzA5NTUwOVoY
DzIxMjYxMDMwMDk1NTA5WjAdMRswGQYDVQQDDBJsb29wYmFjayBvZiBhIHRlc3Qw
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQzZVN0Zvk5fw+eON0uBy0EI+NuNR8K
TMARRZc2WMCqE8RpedRKmM7lgKOrHNu7sUEGSH0tWJBRL8xdkm88BA5ho2QwYjAd
BgNVHQ4EFgQUljPIaKH6Huf1f1l7hLZwrqXCG1cwHwYDVR0jBBgwFoAUljPIaKH6
Huf1f1l7hLZwrqXCG1cwDwYDVR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAAB
MAoGCCqGSM49BAMCA0gAMEUCIQD7fnKDGnF9CyJ8lD0Gk9FfaoFIOAMN8+FKbPEs
sAguWwIgVmcGXb0P3q1y7GrWIvUNaLWkbzcon738jjMjcSzuUaw=
-----END CERTIFICATE-----
`
const token = 'token-of-the-responder'
/** The documented limit. */
const maxValue = 25_000

interface Body {
  readonly value?: string
  readonly contentType?: string
  readonly tags?: Record<string, string>
  readonly attributes?: { readonly enabled?: boolean }
}

export async function startKeyVault(): Promise<KeyVaultServer> {
  const server = createServer({ key, cert }, (incoming, outgoing) => {
    void (async () => {
      const url = new URL(incoming.url ?? '/', vault.url)
      const method = incoming.method ?? ''
      const sent = await buffer(incoming)
      const answer = (status: number, content: object, headers: Record<string, string> = {}): void => {
        outgoing.writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers })
        outgoing.end(JSON.stringify(content))
      }
      const failure = (status: number, code: string, more: object = {}): void =>
        answer(status, { error: { code, message: `${code}: ${sent.toString('utf8')}`, ...more } })
      if (incoming.headers.authorization !== `Bearer ${token}`)
        return answer(
          401,
          { error: { code: 'Unauthorized', message: 'AKV10000: Request is missing a Bearer or PoP token.' } },
          {
            'WWW-Authenticate':
              'Bearer authorization="https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000", resource="https://vault.azure.net"',
          },
        )
      vault.requests.push({ method, path: url.pathname })
      const fault = vault.fault(method, url.pathname)
      if (fault === 'reset-before') return void incoming.socket.destroy()
      if (fault === 'throttled')
        return answer(429, { error: { code: 'Throttled', message: 'slow down' } }, { 'Retry-After': '0' })
      if (fault === '5xx') return failure(500, 'InternalServerError')
      if (fault === 'denied') return failure(403, 'Forbidden', { innererror: { code: 'ForbiddenByRbac' } })

      const [, , name = '', version = ''] = url.pathname.split('/')
      const versions = vault.secrets.get(name) ?? []
      const at = (one: KeyVaultVersion) => ({
        id: `${vault.url}/secrets/${name}/${one.version}`,
        attributes: {
          enabled: one.enabled,
          created: one.created,
          updated: one.created,
          recoveryLevel: 'Recoverable+Purgeable',
        },
        ...(one.contentType === undefined ? {} : { contentType: one.contentType }),
        ...(one.tags === undefined ? {} : { tags: one.tags }),
        ...(one.managed === undefined ? {} : { managed: one.managed }),
      })
      const done = (status: number, content: object): void => {
        if (fault === 'reset-after') incoming.socket.destroy()
        else answer(status, content)
      }
      const one = version === '' ? versions.at(-1) : versions.find((other) => other.version === version)
      if (method === 'GET' && version === 'versions')
        // In no order, as they are listed by their names.
        return done(200, {
          value: [...versions].sort((a, b) => (a.version < b.version ? -1 : 1)).map(at),
          nextLink: null,
        })
      const body = sent.length === 0 ? {} : (JSON.parse(sent.toString('utf8')) as Body)
      if (method === 'PUT') {
        if (Buffer.byteLength(body.value ?? '') > maxValue) return failure(400, 'BadParameter')
        const made: KeyVaultVersion = {
          version: randomBytes(16).toString('hex'),
          value: body.value ?? '',
          enabled: true,
          created: Math.floor(Date.now() / 1000),
          ...(body.contentType === undefined ? {} : { contentType: body.contentType }),
          ...(body.tags === undefined ? {} : { tags: body.tags }),
        }
        vault.secrets.set(name, [...versions, made])
        return done(200, { value: made.value, ...at(made) })
      }
      if (one === undefined) return failure(404, 'SecretNotFound')
      if (method === 'PATCH') {
        one.enabled = body.attributes?.enabled ?? one.enabled
        return done(200, at(one))
      }
      if (!one.enabled) return failure(403, 'Forbidden', { innererror: { code: 'SecretDisabled' } })
      done(200, { value: one.value, ...at(one) })
    })().catch(() => incoming.socket.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const vault: KeyVaultServer = {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    settings: {
      credential: { getToken: async () => ({ token, expiresOnTimestamp: Date.now() + 3_600_000 }) },
      client: {
        // It is not at vault.azure.net.
        disableChallengeResourceVerification: true,
        tlsOptions: { ca: cert },
        retryOptions: { maxRetries: 2, retryDelayInMs: 1, maxRetryDelayInMs: 2 },
      },
    },
    requests: [],
    fault: () => undefined,
    secrets: new Map(),
    value: (name) => vault.secrets.get(name)?.at(-1)?.value,
    put: (name, value) => {
      const made = { version: randomBytes(16).toString('hex'), value, enabled: true, created: 1_700_000_000 }
      vault.secrets.set(name, [...(vault.secrets.get(name) ?? []), made])
    },
    stop: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  return vault
}
