import { stat } from 'node:fs/promises'
import * as deliver from '../deliver.ts'
import type { OauthCredential } from './client.ts'
import type { Target } from './target.ts'

/** Why revoking the token alone may not be enough; undefined when nothing says so. */
export async function canMint({ credential, deployments }: Target): Promise<string | undefined> {
  const { clientSecretFile, clientId } = credential
  if (clientSecretFile === undefined) return undefined
  const told = `${credential.id}: the secret of client ${clientId} was readable to the server`
  const advice = 'whoever has it can ask for new tokens; rotate it at the issuer'
  for (const folder of foldersOf(deployments)) {
    if (await deliver.isInside(clientSecretFile, folder)) return `${told} (it lies in ${folder}): ${advice}`
  }
  const info = await stat(clientSecretFile).catch(() => undefined) // that it is missing is told by check
  if (info !== undefined && (info.mode & 0o044) !== 0) return `${told} (its mode lets others read it): ${advice}`
  return undefined
}

export function foldersOf(deployments: Target['deployments']): readonly string[] {
  return (deployments ?? []).flatMap((one) => (one.kind === 'local-process' && one.cwd !== undefined ? [one.cwd] : []))
}

export function limitsOf(credential: OauthCredential, issuer: string): readonly string[] {
  const limits = [
    `${credential.id}: only tokens that were found are revoked; others that ${issuer} issued to client ${credential.clientId} cannot be listed and live until they expire`,
  ]
  if (credential.clientSecretFile !== undefined)
    limits.push(
      `${credential.id}: who has the secret of client ${credential.clientId} can ask for new tokens; whether a process of the same user read it cannot be seen`,
    )
  if (credential.probe === undefined)
    limits.push(`${credential.id}: the registry names no probe, so that no downstream was tried`)
  return limits
}
