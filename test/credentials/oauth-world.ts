import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { oauthCredentials } from '../../src/credentials/oauth.ts'
import type { CredentialOf } from '../../src/registry/port.ts'
import type { CredentialsWorld } from '../contracts/credentials.ts'
import { type Fault, type OauthServer, type OauthServerOptions, startOauthServer } from '../testbed/oauth-server.ts'

export type OauthCredential = CredentialOf<'oauth'>

export interface OauthWorld extends CredentialsWorld<OauthCredential> {
  readonly server: OauthServer
  readonly folder: string
  readonly tokenFile: string
  readonly secretFile: string
  readonly destination: string
  readonly oldToken: string
}

/** Quick to give up, as everything is on loopback. */
const quick = { timeoutMs: 300, attempts: 3, pauseMs: 1, probes: 4 }

/** A suspect in `<folder>/crm` with its token there, and a client secret that it cannot see. */
export async function startOauthWorld(
  options: OauthServerOptions & { readonly credential?: Partial<OauthCredential> } = {},
): Promise<OauthWorld> {
  const server = await startOauthServer(options)
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-oauth-'))
  await mkdir(join(folder, 'crm'))
  await mkdir(join(folder, 'run'), { mode: 0o700 })
  const tokenFile = join(folder, 'crm/token')
  const secretFile = join(folder, 'run/client-secret')
  const destination = join(folder, 'run/next.env')
  const oldToken = server.issue()
  await writeFile(tokenFile, `${oldToken}\n`)
  await writeFile(secretFile, `${server.client.secret}\n`, { mode: 0o600 })
  const credential: OauthCredential = {
    id: 'ledger-token',
    kind: 'oauth',
    tokenEndpoint: server.endpoints.token,
    revocationEndpoint: server.endpoints.revoke,
    introspectionEndpoint: server.endpoints.introspect,
    clientId: server.client.id,
    clientSecretFile: secretFile,
    tokenFile,
    probe: server.endpoints.me,
    ...options.credential,
  }
  return {
    server,
    folder,
    tokenFile,
    secretFile,
    destination,
    oldToken,
    adapter: oauthCredentials(quick),
    target: {
      server: 'io.acme/crm',
      credential,
      sharedWith: [],
      deliverTo: { kind: 'file', path: destination },
      deployments: [{ id: 'dev', kind: 'local-process', url: 'http://127.0.0.1:9/mcp', cwd: join(folder, 'crm') }],
    },
    oldWorks: () => server.accepts(oldToken),
    deliveredWorks: async () => {
      const token = parseEnv(await readFile(destination, 'utf8')).LEDGER_TOKEN
      return token !== undefined && (await server.accepts(token))
    },
    liveNew: async () => server.live().filter((token) => token !== oldToken).length,
    changingCalls: () => server.requests.filter(({ endpoint }) => endpoint === 'token' || endpoint === 'revoke').length,
    secrets: () => [...server.issued, server.client.secret],
    fault: (intent, fault, times) => {
      const faults: Record<typeof fault, Fault> = {
        lost: { kind: 'lost', status: 502 },
        'reset-before': { kind: 'reset', when: 'before' },
        'reset-after': { kind: 'reset', when: 'after' },
        '5xx': { kind: 'status', status: 500 },
        throttled: { kind: 'status', status: 429, retryAfter: '0' },
        denied: { kind: 'status', status: 403 },
      }
      server.fault(intent === 'revoke' ? 'revoke' : 'token', faults[fault], times)
    },
    stop: async () => {
      await server.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
