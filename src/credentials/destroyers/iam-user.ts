import { DeleteAccessKeyCommand, DeleteLoginProfileCommand } from '@aws-sdk/client-iam'
import { named } from '../../aws/principal.ts'
import type { Adapter, Call, Change } from '../../change.ts'
import { IrError } from '../../errors.ts'
import type { CredentialOf } from '../../registry/port.ts'
import { callerOf, type Iam, openIam, orAbsent, otherAccount } from '../aws/iam.ts'
import { readKeys, readUser, type User } from '../aws/user.ts'
import { type CredentialTarget, stage } from '../port.ts'
import { field, mayGoOn, quoted, textField } from '../words.ts'

/** Access keys of an IAM user that this case made inactive, and the console password that it denied: until then both could be had back. */
type Target = CredentialTarget<CredentialOf<'aws-iam-user'>>

export const destroyer: Adapter<Target> = {
  permissions: [
    'sts:GetCallerIdentity',
    'iam:GetUser',
    'iam:ListAccessKeys',
    'iam:DeleteAccessKey',
    'iam:GetLoginProfile',
    'iam:DeleteLoginProfile',
  ],

  async check(call) {
    const elsewhere = otherAccount(call.target.credential.user, await callerOf(await openIam(call)))
    return elsewhere === undefined ? [] : [elsewhere]
  },

  async plan(call) {
    const iam = await openIam(call)
    const user = await readUser(call, iam, nameOf(call))
    if (user === undefined) return []
    const { account } = await callerOf(iam)
    const of = `user ${user.name} in account ${account}`
    const base = { effect: 'irreversible', priority: 'essential', after: [], stage: stage.tidy, breaks: [] } as const
    const keys = stoppedHere(call, user).map((key): Change => {
      const target = `access key ${key} of ${of}`
      return {
        ...base,
        id: call.changeId('delete-key', target),
        action: 'delete-key',
        target,
        summary: `Delete inactive access key ${key} of user ${user.name}: it cannot be made active again`,
        params: { user: user.name, key },
        command: `aws iam delete-access-key --user-name ${quoted(user.name)} --access-key-id ${quoted(key)}`,
      }
    })
    // Denied by this case: else it is not the case's business.
    if (user.password !== true || user.deny === undefined) return keys
    const target = `console password of ${of}`
    return [
      ...keys,
      {
        ...base,
        id: call.changeId('delete-password', target),
        action: 'delete-password',
        target,
        summary: `Delete the console password of user ${user.name}: it cannot be restored`,
        params: { user: user.name },
        command: `aws iam delete-login-profile --user-name ${quoted(user.name)}`,
      },
    ]
  },

  async verify(call) {
    const user = await readUser(call, await openIam(call), nameOf(call))
    const observed = call.changes.map(({ action, target, params }) => {
      const key = field(params, 'key')
      const there =
        action === 'delete-key'
          ? user?.keys.some(({ id }) => id === key) === true
          : user !== undefined && user.password !== false
      return { claim: `${target} is gone`, seen: there ? 'it is there' : 'it is gone', holds: !there }
    })
    return { state: observed.every(({ holds }) => holds) ? 'verified' : 'failed', observed, residue: [], limits: [] }
  },

  actions: {
    'delete-key': {
      async apply({ params }, call) {
        mayGoOn(call)
        const iam = await openIam(call)
        const [user, key] = [textField(params, 'user'), textField(params, 'key')]
        if ((await keyOf(iam, user, key))?.active === true)
          throw new IrError('refused', `access key ${key} was made active since: it is not deleted`)
        await orAbsent(`Deleting access key ${key}`, () =>
          iam.client.send(new DeleteAccessKeyCommand({ UserName: user, AccessKeyId: key }), iam.options),
        )
        return {}
      },
      async settle({ params }, call) {
        const found = await keyOf(await openIam(call), textField(params, 'user'), textField(params, 'key'))
        return found === undefined ? {} : undefined
      },
    },
    'delete-password': {
      async apply({ params }, call) {
        mayGoOn(call)
        const iam = await openIam(call)
        const user = textField(params, 'user')
        await orAbsent(`Deleting the console password of user ${user}`, () =>
          iam.client.send(new DeleteLoginProfileCommand({ UserName: user }), iam.options),
        )
        return {}
      },
      async settle({ params }, call) {
        const user = await readUser(call, await openIam(call), textField(params, 'user'))
        return user === undefined || user.password === false ? {} : undefined
      },
    },
  },
}

function nameOf({ target }: Call<Target>): string {
  return named(target.credential.user).name
}

async function keyOf(iam: Iam, user: string, key: string) {
  return (await readKeys(iam, user)).find(({ id }) => id === key)
}

/** Inactive because of this case: one that was inactive before is somebody's to keep. */
function stoppedHere({ target }: Call<Target>, { keys }: User): readonly string[] {
  const ours = (target.past?.() ?? [])
    .filter(({ change, receipt }) => change.action === 'stop-key' && receipt !== undefined)
    .map(({ change }) => textField(change.params, 'key'))
  return keys.filter(({ id, active }) => !active && ours.includes(id)).map(({ id }) => id)
}
