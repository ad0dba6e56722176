import { check } from './oauth/check.ts'
import { type OauthClient, type OauthCredential, oauthClient } from './oauth/client.ts'
import { issueAndDeliver } from './oauth/issue.ts'
import { verifyReinstated } from './oauth/reinstate.ts'
import { planRevoke, revokeToken, verifyRevoked } from './oauth/revoke.ts'
import { planRotate, verifyRotated } from './oauth/rotate.ts'
import type { OauthCall, OauthSettings } from './oauth/target.ts'
import type { Credentials } from './port.ts'

const defaults: OauthSettings = { timeoutMs: 10_000, attempts: 3, pauseMs: 250, probes: 4 }

/**
 * OAuth 2.0: every access token that a server may hold is revoked at its issuer (RFC 7009), and seen to be dead by asking the
 * issuer (RFC 7662) and by trying it at the downstream. The places that they are found in may have been written by the suspect:
 * a token that nobody has ever seen alive says nothing of the one in use. A new one comes from the client credentials grant.
 * Tokens are in memory only for as long as a call lasts; everywhere else stands their fingerprint.
 */
export function oauthCredentials(overrides: Partial<OauthSettings> = {}): Credentials<OauthCredential> {
  const settings: OauthSettings = { ...defaults, ...overrides }
  const client = (call: OauthCall): OauthClient => oauthClient(call.target.credential, settings, call.signal)

  return {
    permissions: [
      'oauth: revoke a token of the client (RFC 7009)',
      'oauth: introspect tokens of the client (RFC 7662)',
      'oauth: client credentials grant',
      'read tokenFile, clientSecretFile, what was delivered and the environment of the deployment',
      'write to the place of deliverTo',
    ],

    check: (call) => check(call, client(call)),

    async plan(call) {
      if (call.intent === 'revoke') return await planRevoke(call, client(call))
      return call.intent === 'rotate' ? await planRotate(call, client(call)) : []
    },

    async verify(call) {
      if (call.intent === 'revoke') return await verifyRevoked(call, client(call), settings)
      return call.intent === 'rotate'
        ? await verifyRotated(call, client(call), settings)
        : await verifyReinstated(call, client(call))
    },

    actions: {
      'revoke-token': revokeToken(client),
      'issue-and-deliver': issueAndDeliver(client),
    },
  }
}

export const adapter = oauthCredentials()
