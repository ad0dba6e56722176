import type { Verdict } from '../../change.ts'
import type { CredentialState } from '../port.ts'
import { asJson } from '../words.ts'
import type { OauthClient } from './client.ts'
import { wasAlive } from './remember.ts'
import { held, lives } from './seen.ts'
import type { OauthCall } from './target.ts'

export async function verifyReinstated(call: OauthCall, client: OauthClient): Promise<Verdict> {
  const { credential, sharedWith } = call.target
  const { tokens, missing } = await held(call)
  const seen = await Promise.all(
    tokens.map(async ({ token, fingerprint }) => ({
      works: await lives(client, token),
      known: await wasAlive(call, fingerprint),
    })),
  )
  const works = seen.some((one) => one.works === true)
  const dead = seen.some((one) => one.known) && seen.every((one) => one.works === false)
  const state: CredentialState = {
    id: credential.id,
    kind: 'oauth',
    state: works ? 'alive' : dead ? 'dead' : 'unknown',
    proof: tokens.length === 0 ? missing : works || dead ? 'probed' : 'no token was found that was revoked here',
    sharedWith,
  }
  return {
    state: works ? 'verified' : 'residual',
    observed: [{ claim: 'what became of the old token was looked at', seen: state.state, holds: true }],
    // That it stays dead is told by the step, as open; nothing of it lives on.
    residue: [],
    limits: [],
    output: asJson(state),
  }
}
