import { createHash } from 'node:crypto'
import type { Problem } from '../../change.ts'
import type { DeliverTo } from '../../registry/port.ts'
import { safe } from '../../ui/safe-text.ts'
import type { Store, StoreCall } from '../store.ts'
import { checkText, type TextSecret, textSecrets } from './json-secret.ts'
import { openSecret, requestToken } from './secrets-manager.ts'

/** A secret of AWS Secrets Manager, made where there is none yet. */
export function awsSecretStore(place: Extract<DeliverTo, { kind: 'aws-secret' }>): Store {
  const open = (call: StoreCall): TextSecret => {
    const secret = openSecret(place, call)
    return {
      name: `secret ${place.secret}`,
      read: () => secret.read({ stage: 'AWSCURRENT' }),
      async write(text, before) {
        const print = createHash('sha256').update(text).digest('hex')
        // Sent twice it is one version; made from another version, it is another one.
        const token = requestToken(call.changeId?.('put', place.secret) ?? '', before ?? '', print)
        if (before !== undefined || (await secret.describe()) !== undefined) await secret.put(text, token)
        else await secret.create(text, token)
      },
    }
  }
  return {
    kind: 'aws-secret',
    path: place.secret,
    permissions: [
      'secretsmanager:DescribeSecret',
      'secretsmanager:GetSecretValue',
      'secretsmanager:PutSecretValue',
      'secretsmanager:CreateSecret',
    ],

    async check(call) {
      const found = await openSecret(place, call).describe()
      const problems: Problem[] = readableBySuspect(place.secret, call)
      if (found === undefined) {
        if (place.secret.startsWith('arn:'))
          problems.push({ kind: 'input', message: `there is no secret ${safe(place.secret)}` })
        return problems
      }
      if (found.deleted !== undefined)
        problems.push({
          kind: 'input',
          message: `secret ${safe(found.name)} is marked for deletion since ${found.deleted.toISOString()}`,
          hint: `aws secretsmanager restore-secret --secret-id ${safe(found.name)}`,
        })
      if (found.primaryRegion !== undefined)
        problems.push({
          kind: 'input',
          message: `secret ${safe(found.name)} is a copy of the one in ${found.primaryRegion}, which alone can be written`,
          hint: `Name region: ${found.primaryRegion} in the registry`,
        })
      return problems.length > 0 ? problems : await checkText(open(call), call)
    },

    ...textSecrets(open, `aws-secret ${place.secret}`),
  }
}

/** What an identity of the server may do in AWS cannot be told for sure from outside, so that all that live count. */
export function readableBySuspect(secret: string, call: StoreCall): Problem[] {
  return (call.target.undead ?? [])
    .filter(({ kind }) => kind === 'aws-iam-role' || kind === 'aws-iam-user')
    .map(({ id, kind }) => ({
      kind: 'refused',
      message: `the new secret would go to ${safe(secret)} in Secrets Manager, and the old ${safe(id)} (${kind}) of the server may still be able to read it`,
      hint: `Revoke it first: mcp-ir revoke ${call.target.server}`,
    }))
}
