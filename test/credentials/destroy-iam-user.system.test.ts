import {
  CreateLoginProfileCommand,
  GetLoginProfileCommand,
  ListAccessKeysCommand,
  UpdateAccessKeyCommand,
} from '@aws-sdk/client-iam'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { userCredentials } from '../../src/credentials/aws-iam-user.ts'
import { destroyer } from '../../src/credentials/destroyers/iam-user.ts'
import { callFor, drive } from '../contracts/credentials.ts'
import { skipWithoutEmulators } from '../testbed/python.ts'
import { type IamWorld, quick, startIamWorld } from './aws-iam-world.ts'

describe.skipIf(skipWithoutEmulators('destroy-iam-user'))(
  'destroying what was left of an IAM user, in ministack',
  () => {
    let world: IamWorld
    beforeAll(async () => {
      world = await startIamWorld()
    })
    afterAll(() => world.stop())

    it('takes the keys that the case made inactive and the password that it denied, and nothing that was there before', async () => {
      const { target, name, key } = await world.newUser()
      const kept = await world.newKey(name)
      await world.iam.send(
        new UpdateAccessKeyCommand({ UserName: name, AccessKeyId: kept.accessKeyId, Status: 'Inactive' }),
      )
      await world.iam.send(new CreateLoginProfileCommand({ UserName: name, Password: 'Pa55word!of-the-test' }))
      // Before anything was revoked there is nothing to destroy.
      expect(await destroyer.plan(callFor(target, 'revoke'))).toEqual([])

      const { journal } = await drive({ adapter: userCredentials(quick), target }, { intent: 'revoke' })
      const past = () =>
        (journal.planned ?? []).map((change) => ({ change, receipt: journal.applied.get(change.id), recorded: [] }))
      const call = callFor({ ...target, past }, 'revoke')
      const changes = await destroyer.plan(call)
      expect(changes.map(({ action, effect }) => [action, effect])).toEqual([
        ['delete-key', 'irreversible'],
        ['delete-password', 'irreversible'],
      ])
      expect((await destroyer.verify({ ...call, changes })).state).toBe('failed')
      for (const change of changes) {
        const acting = { ...call, recorded: [], record: async () => undefined }
        expect(await destroyer.actions[change.action]?.settle(change, acting)).toBeUndefined()
        await destroyer.actions[change.action]?.apply(change, acting)
        expect(await destroyer.actions[change.action]?.settle(change, acting)).toEqual({})
      }
      expect((await destroyer.verify({ ...call, changes })).state).toBe('verified')
      const { AccessKeyMetadata = [] } = await world.iam.send(new ListAccessKeysCommand({ UserName: name }))
      expect(AccessKeyMetadata.map(({ AccessKeyId }) => AccessKeyId)).toEqual([kept.accessKeyId])
      expect(key.accessKeyId).not.toBe(kept.accessKeyId)
      await expect(world.iam.send(new GetLoginProfileCommand({ UserName: name }))).rejects.toThrow()
      expect(await destroyer.plan(call)).toEqual([])
    })
  },
)
