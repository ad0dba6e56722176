import { CreateAccessKeyCommand, DeleteAccessKeyCommand } from '@aws-sdk/client-iam'
import { awsCode } from '../../aws/clients.ts'
import type { ActionCall, Call } from '../../change.ts'
import { IrError } from '../../errors.ts'
import type { CredentialOf } from '../../registry/port.ts'
import * as deliver from '../deliver.ts'
import type { Destination, Issuing } from '../issue.ts'
import type { CredentialTarget } from '../port.ts'
import type { Store, StoreCall } from '../store.ts'
import { destinationOf } from '../stores/index.ts'
import { parsed } from '../stores/json-secret.ts'
import { mayGoOn, textField, words } from '../words.ts'
import { asked, openIam, orAbsent } from './iam.ts'
import { lastUse, readKeys } from './user.ts'

type Target = CredentialTarget<CredentialOf<'aws-iam-user'>>

/** An access key with its secret, in memory only. */
interface NewKey {
  readonly id: string
  readonly secret: string
}

/**
 * What is delivered: one text, in the form that AWS's own tools take from a program (`credential_process`), as a key is of no use without
 * its id. Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html
 */
function textOf({ id, secret }: NewKey): string {
  return JSON.stringify({ Version: 1, AccessKeyId: id, SecretAccessKey: secret })
}

/** @returns undefined for a text that is no access key */
export function keyIn(text: string): NewKey | undefined {
  const { AccessKeyId: id, SecretAccessKey: secret } = parsed(text) ?? {}
  if (typeof id !== 'string' || typeof secret !== 'string' || !/^\w{16,128}$/.test(id)) return undefined
  return { id, secret }
}

/** Where the new key goes. @throws IrError input when no place is named, or one that has room for a single value only */
export async function placeOf({ target }: { readonly target: Target }): Promise<Destination> {
  if (target.replaces !== undefined)
    throw new IrError(
      'input',
      `An access key and its id are two values: they cannot replace ${target.credential.id}.`,
      {
        hints: ['Name a place of its own for them: deliverTo in the registry.'],
      },
    )
  const { store, key } = await destinationOf({ target })
  return { store: store.kind === 'file' ? inTwoLines(store) : store, key }
}

/** How its two lines in a dotenv file are called. */
export function linesOf(credential: string): { readonly id: string; readonly secret: string } {
  const key = deliver.keyOf(credential)
  return { id: `${key}_ACCESS_KEY_ID`, secret: `${key}_SECRET_ACCESS_KEY` }
}

/** A dotenv file, as AWS's tools take the two from their environment, each under a name of its own. */
function inTwoLines(file: Store): Store {
  const lines = (key: string | undefined, call: StoreCall): readonly deliver.Destination[] => {
    const { id, secret } = linesOf(key ?? '')
    return [id, secret].map((line) => ({
      path: file.path,
      key: line,
      changeId: call.changeId?.('deliver', `${line} to ${file.path}`) ?? 'new',
    }))
  }
  return {
    ...file,
    async put(key, text, call) {
      const pair = keyIn(text)
      if (pair === undefined) throw new TypeError('no access key')
      const values = [pair.id, pair.secret]
      const staged = lines(key, call).map((line, index) => ({ line, value: values[index] ?? '' }))
      // What cannot be written shows before either of the two is where it is read.
      for (const { line, value } of staged) await deliver.stage(line, value)
      for (const { line } of staged) await deliver.finish(line)
      return {}
    },
    async get(key, call) {
      const [id, secret] = await Promise.all(lines(key, call).map(deliver.delivered))
      return id === undefined || secret === undefined ? undefined : { secret: textOf({ id, secret }) }
    },
  }
}

/** A new key is known by its id. One whose answer was lost is found in the list of keys. */
export const newKey: Issuing<Target> = {
  async issue(change, call) {
    mayGoOn(call)
    const iam = await openIam(call)
    const user = textField(change.params, 'user')
    await call.record({ there: (await readKeys(iam, user)).map(({ id }) => id) })
    call.progress(`asking IAM for a new access key of user ${user}`)
    const { AccessKey } = await asked(`Creating an access key of user ${user}`, async () => {
      try {
        return await iam.creating.send(new CreateAccessKeyCommand({ UserName: user }), iam.options)
      } catch (error) {
        if (awsCode(error)?.startsWith('LimitExceeded') === true)
          throw new IrError('partial', `user ${user} has two access keys already: AWS gives no third one`, {
            hints: ['Run the same command again: it plans with the keys that are there now'],
          })
        throw error
      }
    })
    const { AccessKeyId: id, SecretAccessKey: secret } = AccessKey ?? {}
    if (id === undefined || secret === undefined)
      throw new IrError('unreachable', 'IAM answered without a key', { ambiguous: true })
    return { secret: textOf({ id, secret }), ref: { key: id } }
  },

  async discard(ref, change, call) {
    await removeKey(call, textField(change.params, 'user'), textField(ref, 'key'))
  },

  async lost(known, change, call) {
    const before = keysBefore(call)
    // Nothing was asked for yet.
    if (before === undefined) return []
    const iam = await openIam(call)
    const others = new Set([...before, ...known.map((ref) => textField(ref, 'key'))])
    const lost: { readonly key: string }[] = []
    for (const { id } of await readKeys(iam, textField(change.params, 'user'))) {
      if (others.has(id)) continue
      // Made since we asked, its secret in nobody's hands: ours. One that was used is somebody's, and is left for the verdict to tell.
      if ((await lastUse(iam, id, [])) === 'never') lost.push({ key: id })
    }
    return lost
  },
}

/** The keys that were there when the first one was asked for. */
function keysBefore({ recorded }: ActionCall<Target>): readonly string[] | undefined {
  const first = recorded.find(({ there }) => there !== undefined)
  return first === undefined ? undefined : words(first.there)
}

export async function removeKey(call: Call<Target>, user: string, key: string): Promise<void> {
  const iam = await openIam(call)
  await orAbsent(`Deleting access key ${key}`, () =>
    iam.client.send(new DeleteAccessKeyCommand({ UserName: user, AccessKeyId: key }), iam.options),
  )
}
