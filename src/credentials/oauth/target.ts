import type { Call } from '../../change.ts'
import type { HttpSettings } from '../bounded-http.ts'
import type { CredentialTarget } from '../port.ts'
import type { OauthCredential } from './client.ts'

export type Target = CredentialTarget<OauthCredential>
export type OauthCall = Call<Target>

export interface OauthSettings extends HttpSettings {
  /** How often a token is tried again while a downstream still takes it: some keep the issuer's answer for a moment. */
  readonly probes: number
}
