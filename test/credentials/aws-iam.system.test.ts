import { mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { DescribeImagesCommand, DescribeInstancesCommand, EC2Client, RunInstancesCommand } from '@aws-sdk/client-ec2'
import {
  AddRoleToInstanceProfileCommand,
  CreateAccessKeyCommand,
  CreateInstanceProfileCommand,
  CreateRoleCommand,
  CreateServiceLinkedRoleCommand,
  CreateUserCommand,
  DeleteAccessKeyCommand,
  GetRolePolicyCommand,
  IAMClient,
  ListAccessKeysCommand,
  ListRolePoliciesCommand,
  ListSSHPublicKeysCommand,
  ListUserPoliciesCommand,
  ListUsersCommand,
  PutRolePolicyCommand,
  PutUserPolicyCommand,
  UpdateAccessKeyCommand,
  UploadSSHPublicKeyCommand,
} from '@aws-sdk/client-iam'
import { AssumeRoleCommand, type Credentials, GetSessionTokenCommand, STSClient } from '@aws-sdk/client-sts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { JsonObject } from '../../src/change.ts'
import { roleCredentials } from '../../src/credentials/aws-iam-role.ts'
import { userCredentials } from '../../src/credentials/aws-iam-user.ts'
import type { CredentialTarget } from '../../src/credentials/port.ts'
import type { CredentialOf } from '../../src/registry/port.ts'
import { Crash, callFor, drive, emptyJournal, everything } from '../contracts/credentials.ts'
import { mcpIr, workplace } from '../testbed/cli.ts'
import { type Emulator, skipWithoutEmulators, startMinistack, startMoto } from '../testbed/python.ts'
import { type RecordingProxy, startRecordingProxy } from '../testbed/recording-proxy.ts'

interface Keys {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string | undefined
}

const root: Keys = { accessKeyId: 'test', secretAccessKey: 'test' }
const settings = { secondLookMs: 0, probes: 3, pauseMs: 10 }
const user = userCredentials(settings)
const role = roleCredentials(settings)
const anything = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }],
})
const anybody = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { AWS: '*' }, Action: 'sts:AssumeRole' }],
})

describe.skipIf(skipWithoutEmulators('aws-iam'))(
  'IAM users and roles, in an IAM that really evaluates policies',
  () => {
    let emulator: Emulator
    let folder: string
    let iam: IAMClient
    let count = 0
    const before = { ...process.env }

    beforeAll(async () => {
      emulator = await startMinistack({ auth: true })
      folder = mkdtempSync(join(tmpdir(), 'mcp-ir-iam-'))
      become(root)
      iam = new IAMClient(config(root))
    })
    afterAll(async () => {
      await emulator.stop()
      await rm(folder, { recursive: true, force: true })
      process.env = before
    })

    /** Whom the adapter finds in the environment. */
    function become({ accessKeyId, secretAccessKey, sessionToken }: Keys): void {
      for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name]
      Object.assign(process.env, environment({ accessKeyId, secretAccessKey, sessionToken }))
    }

    const environment = (keys: Keys): Record<string, string> => ({
      AWS_ENDPOINT_URL: emulator.url,
      AWS_ACCESS_KEY_ID: keys.accessKeyId,
      AWS_SECRET_ACCESS_KEY: keys.secretAccessKey,
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_CONFIG_FILE: '/nonexistent',
      AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
      ...(keys.sessionToken === undefined ? {} : { AWS_SESSION_TOKEN: keys.sessionToken }),
    })

    const config = (credentials: Keys) => ({
      region: 'us-east-1',
      endpoint: emulator.url,
      maxAttempts: 1,
      credentials: credentials as { accessKeyId: string; secretAccessKey: string },
    })

    /** By a call that policies govern. */
    async function works(keys: Keys): Promise<boolean> {
      try {
        await new IAMClient(config(keys)).send(new ListUsersCommand({}))
        return true
      } catch (error) {
        if (['AccessDenied', 'InvalidClientTokenId'].includes((error as Error).name)) return false
        throw error
      }
    }

    async function newKey(UserName: string): Promise<Keys> {
      const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName }))
      return { accessKeyId: AccessKey?.AccessKeyId ?? '', secretAccessKey: AccessKey?.SecretAccessKey ?? '' }
    }

    async function newUser(): Promise<{
      name: string
      key: Keys
      target: CredentialTarget<CredentialOf<'aws-iam-user'>>
    }> {
      const name = `crm-${++count}`
      await iam.send(new CreateUserCommand({ UserName: name, Path: '/mcp/' }))
      await iam.send(new PutUserPolicyCommand({ UserName: name, PolicyName: 'allow', PolicyDocument: anything }))
      const run = join(folder, name)
      await mkdir(run, { mode: 0o700 })
      return {
        name,
        key: await newKey(name),
        target: {
          server: 'io.acme/crm',
          credential: { id: 'crm-user', kind: 'aws-iam-user', user: name },
          sharedWith: [],
          deliverTo: { kind: 'file', path: join(run, 'next.env') },
          deployments: [],
        },
      }
    }

    async function session(of: Keys): Promise<Keys> {
      const { Credentials } = await new STSClient(config(of)).send(new GetSessionTokenCommand({}))
      return keysOf(Credentials)
    }

    const keysOf = (found: Partial<Credentials> = {}): Keys => ({
      accessKeyId: found.AccessKeyId ?? '',
      secretAccessKey: found.SecretAccessKey ?? '',
      sessionToken: found.SessionToken,
    })

    async function newRole(sharedWith: readonly string[] = []) {
      const name = `crm-role-${++count}`
      const { Role } = await iam.send(
        new CreateRoleCommand({ RoleName: name, Path: '/mcp/', AssumeRolePolicyDocument: anybody }),
      )
      await iam.send(new PutRolePolicyCommand({ RoleName: name, PolicyName: 'allow', PolicyDocument: anything }))
      const target: CredentialTarget<CredentialOf<'aws-iam-role'>> = {
        server: 'io.acme/crm',
        credential: { id: 'crm-role', kind: 'aws-iam-role', role: name },
        sharedWith,
      }
      return { name, arn: Role?.Arn ?? '', target, session: await assume(Role?.Arn ?? '') }
    }

    async function assume(RoleArn: string): Promise<Keys> {
      const sts = new STSClient(config(root))
      return keysOf((await sts.send(new AssumeRoleCommand({ RoleArn, RoleSessionName: 'crm' }))).Credentials)
    }

    const keysListed = async (UserName: string) =>
      (await iam.send(new ListAccessKeysCommand({ UserName }))).AccessKeyMetadata ?? []
    const active = async (UserName: string) =>
      (await keysListed(UserName)).filter(({ Status }) => Status === 'Active').map(({ AccessKeyId }) => AccessKeyId)
    const policies = async (UserName: string) =>
      (await iam.send(new ListUserPoliciesCommand({ UserName }))).PolicyNames ?? []
    const rolePolicies = async (RoleName: string) =>
      (await iam.send(new ListRolePoliciesCommand({ RoleName }))).PolicyNames ?? []

    function delivered(target: { deliverTo?: unknown }): Keys {
      const env = parseEnv(readFileSync((target.deliverTo as { path: string }).path, 'utf8'))
      return {
        accessKeyId: env.CRM_USER_ACCESS_KEY_ID ?? '',
        secretAccessKey: env.CRM_USER_SECRET_ACCESS_KEY ?? '',
      }
    }

    describe('a user', () => {
      it('worked with its key and a session, is refused with both after, and nothing is left to do', async () => {
        const { target, key, name } = await newUser()
        const stolen = await session(key)
        expect([await works(key), await works(stolen)]).toEqual([true, true])

        const { verdict, state, journal } = await drive({ adapter: user, target }, { intent: 'revoke' })
        expect(journal.failed).toEqual([])
        expect(journal.planned?.map(({ action, effect }) => [action, effect])).toEqual([
          ['deny-user', 'reversible'],
          ['stop-key', 'reversible'],
        ])
        expect([await works(key), await works(stolen)]).toEqual([false, false])
        expect(verdict).toMatchObject({ state: 'verified', residue: [] })
        expect(state).toMatchObject({ id: 'crm-user', kind: 'aws-iam-user', state: 'dead', sharedWith: [] })
        expect(state.proof).toBe('issuer says so (inactive, denied)')

        const again = await drive({ adapter: user, target }, { intent: 'revoke' })
        expect(again.journal.planned).toEqual([])
        expect([again.verdict.state, again.state.state]).toEqual(['verified', 'dead'])
        expect(await policies(name)).toHaveLength(2)
      })

      it('is not called dead before, nor when only one of both holds', async () => {
        const { target, key, name } = await newUser()
        const look = () => user.verify(callFor(target, 'revoke'))
        expect(await look()).toMatchObject({ state: 'failed', output: { state: 'alive' } })
        const change = { UserName: name, AccessKeyId: key.accessKeyId }
        await iam.send(new UpdateAccessKeyCommand({ ...change, Status: 'Inactive' }))
        expect(await look()).toMatchObject({ state: 'failed', output: { state: 'alive' } })
        await drive({ adapter: user, target }, { intent: 'revoke' })
        expect(await look()).toMatchObject({ state: 'verified', output: { state: 'dead' } })
        await iam.send(new UpdateAccessKeyCommand({ ...change, Status: 'Active' }))
        expect(await look()).toMatchObject({ state: 'failed', output: { state: 'alive' } })
      })

      it('changes nothing by checking and planning, plans the same again, and names those who break', async () => {
        const { target, key, name } = await newUser()
        const call = callFor({ ...target, sharedWith: ['io.acme/billing'] }, 'revoke')
        expect(await user.check(call)).toEqual([])
        const plan = await user.plan(call)
        expect(plan).toEqual(await user.plan(call))
        expect(plan.every(({ breaks }) => breaks.includes('io.acme/billing'))).toBe(true)
        expect(plan.map(({ facts }) => facts?.['last used'])).toContain('never')
        expect(await works(key)).toBe(true)
        expect(await policies(name)).toEqual(['allow'])
      })

      it('a key made by an attacker in the meantime is found by the second look, and stopped by the next run', async () => {
        const { target, name } = await newUser()
        const journal = emptyJournal()
        let made: Keys | undefined
        const watched = {
          ...user,
          verify: async (call: Parameters<typeof user.verify>[0]) => {
            made ??= await newKey(name)
            return await user.verify(call)
          },
        }
        const { verdict, state } = await drive({ adapter: watched, target }, { intent: 'revoke', journal })
        expect(verdict.state).toBe('failed')
        expect(state.state).toBe('alive')
        expect(verdict.observed.filter(({ holds }) => !holds)).toEqual([
          {
            claim: `access key ${made?.accessKeyId} is inactive`,
            seen: expect.stringContaining('made or switched on since the plan'),
            holds: false,
          },
        ])
        const next = await drive({ adapter: user, target }, { intent: 'revoke' })
        expect(next.journal.planned?.map(({ action }) => action)).toEqual(['deny-user', 'stop-key'])
        expect(next.verdict.state).toBe('verified')
        expect(await active(name)).toEqual([])
      })

      it('who may not deny stops the keys all the same, and it is not called dead', async () => {
        const { target, key, name } = await newUser()
        const responder = await newUser()
        await iam.send(
          new PutUserPolicyCommand({
            UserName: responder.name,
            PolicyName: 'no-policies',
            PolicyDocument: JSON.stringify({
              Version: '2012-10-17',
              Statement: [{ Effect: 'Deny', Action: 'iam:PutUserPolicy', Resource: '*' }],
            }),
          }),
        )
        become(responder.key)
        try {
          const { journal, verdict, state } = await drive({ adapter: user, target }, { intent: 'revoke' })
          expect(journal.failed.map(({ change, error }) => [change.action, (error as { code?: string }).code])).toEqual(
            [['deny-user', 'denied']],
          )
          expect(journal.failed[0]?.change.command).toContain(`aws iam put-user-policy --user-name ${name}`)
          expect([verdict.state, state.state]).toEqual(['failed', 'alive'])
          expect(await works(key)).toBe(false)
        } finally {
          become(root)
        }
      })

      it('the responder’s own user is refused, with its key and with a session of it; an unknown one is told', async () => {
        const own = await newUser()
        for (const keys of [own.key, await session(own.key)]) {
          become(keys)
          const problems = await user.check(callFor(own.target, 'revoke')).finally(() => become(root))
          expect(problems).toMatchObject([{ kind: 'refused', message: expect.stringContaining(own.name) }])
        }
        const missing = { ...own.target, credential: { ...own.target.credential, user: 'nobody' } }
        expect(await user.check(callFor(missing, 'revoke'))).toMatchObject([{ kind: 'input' }])
        const elsewhere = {
          ...own.target,
          credential: { ...own.target.credential, user: 'arn:aws:iam::111111111111:user/x' },
        }
        expect(await user.check(callFor(elsewhere, 'revoke'))).toMatchObject([{ kind: 'input' }])
      })

      it('gets a new key, delivered and working, while old key and old sessions stay refused', async () => {
        const { target, key, name } = await newUser()
        const stolen = await session(key)
        await drive({ adapter: user, target }, { intent: 'revoke' })
        expect(await user.check(callFor(target, 'rotate'))).toEqual([])
        const { verdict, state, journal } = await drive({ adapter: user, target }, { intent: 'rotate' })
        expect(journal.failed).toEqual([])
        expect(verdict).toMatchObject({ state: 'verified', residue: [] })
        expect(state).toMatchObject({ state: 'dead', delivered: { kind: 'file' } })
        const fresh = delivered(target)
        expect([await works(fresh), await works(key), await works(stolen)]).toEqual([true, false, false])
        expect(await active(name)).toEqual([fresh.accessKeyId])
        expect(everything(journal, verdict)).not.toContain(fresh.secretAccessKey)

        // Neither another rotation nor another revocation in this case touches the delivered one.
        for (const intent of ['rotate', 'revoke'] as const) {
          const again = await drive({ adapter: user, target }, { intent })
          expect(again.journal.planned).toEqual([])
          expect(again.verdict.state).toBe('verified')
        }
        expect(await works(fresh)).toBe(true)
      })

      it('is not called rotated while the old key works, and says how to revoke', async () => {
        const { target, key } = await newUser()
        const { verdict, state } = await drive({ adapter: user, target }, { intent: 'rotate' })
        expect([await works(delivered(target)), await works(key)]).toEqual([true, true])
        expect([verdict.state, state.state]).toEqual(['failed', 'alive'])
        expect(state.proof).toContain('mcp-ir revoke')
      })

      it('with two keys: the one that was inactive before goes; of two that were active nothing is guessed', async () => {
        const { target, name, key } = await newUser()
        const idle = await newKey(name)
        await iam.send(
          new UpdateAccessKeyCommand({ UserName: name, AccessKeyId: idle.accessKeyId, Status: 'Inactive' }),
        )
        await drive({ adapter: user, target }, { intent: 'revoke' })
        const { journal, verdict } = await drive({ adapter: user, target }, { intent: 'rotate' })
        expect(journal.planned?.map(({ action }) => action)).toEqual([
          'delete-idle-key',
          'issue-and-deliver',
          'let-new-key-in',
        ])
        expect(journal.planned?.[0]).toMatchObject({ target: expect.stringContaining(idle.accessKeyId) })
        expect(verdict.state).toBe('verified')
        expect((await keysListed(name)).map(({ AccessKeyId }) => AccessKeyId).sort()).toEqual(
          [key.accessKeyId, delivered(target).accessKeyId].sort(),
        )

        const both = await newUser()
        await newKey(both.name)
        expect(await user.check(callFor(both.target, 'rotate'))).toMatchObject([{ kind: 'input' }])
        await drive({ adapter: user, target: both.target }, { intent: 'revoke' })
        expect(await user.check(callFor(both.target, 'rotate'))).toMatchObject([
          { kind: 'input', hint: expect.stringContaining('aws iam delete-access-key') },
        ])
      })

      it('whatever append the process dies at, exactly one new key lives in the end, the delivered one', async () => {
        const first = await newUser()
        await drive({ adapter: user, target: first.target }, { intent: 'revoke' })
        const whole = (await drive({ adapter: user, target: first.target }, { intent: 'rotate' })).journal.appends
        expect(whole).toBeGreaterThanOrEqual(7)
        for (const when of ['before', 'after'] as const)
          for (let at = 1; at <= whole; at++) {
            const { target, name } = await newUser()
            await drive({ adapter: user, target }, { intent: 'revoke' })
            const journal = emptyJournal()
            const dying = drive({ adapter: user, target }, { intent: 'rotate', journal, crash: { at, when } })
            await expect(dying).rejects.toThrow(Crash)
            const { verdict } = await drive({ adapter: user, target }, { intent: 'rotate', journal })
            const fresh = delivered(target)
            expect([when, at, await active(name), await works(fresh), verdict.state]).toEqual([
              when,
              at,
              [fresh.accessKeyId],
              true,
              'verified',
            ])
          }
      })

      it('has a destination that it can be delivered to, else nothing is issued', async () => {
        const { target } = await newUser()
        const none = { ...target, deliverTo: undefined }
        const vault = { ...target, deliverTo: { kind: 'vault-kv' as const, mount: 'secret', path: 'crm' } }
        for (const one of [none, vault]) {
          expect(await user.check(callFor(one, 'rotate'))).toMatchObject([{ kind: 'input' }])
          await expect(user.plan(callFor(one, 'rotate'))).rejects.toMatchObject({ code: 'input' })
        }
      })

      it('is given back once no stolen session can live, not before', async () => {
        const { target, key, name } = await newUser()
        const { journal } = await drive({ adapter: user, target }, { intent: 'revoke' })
        expect(await user.check(callFor(target, 'reinstate'))).toMatchObject([
          { kind: 'refused', message: expect.stringContaining('36 hours') },
        ])
        const call = { ...callFor(target, 'reinstate'), recorded: [], record: async (_: JsonObject) => undefined }
        const undo = async () => {
          for (const change of [...(journal.planned ?? [])].reverse()) {
            const back = user.actions[change.action]?.undo
            const receipt = journal.applied.get(change.id) ?? {}
            expect(await back?.drift(change, receipt, call)).toEqual([])
            await back?.apply(change, receipt, call)
            expect(await back?.settle(change, receipt, call)).toBeDefined()
          }
        }
        await expect(undo()).rejects.toMatchObject({ code: 'refused' })
        expect(await works(key)).toBe(false)

        // As it is two days later: the policy says since when.
        const policy = (await policies(name)).find((one) => one.startsWith('mcp-ir-')) ?? ''
        const since = new Date(Date.now() - 48 * 3_600_000).toISOString().replace(/[-:]|\.\d+/g, '')
        await iam.send(
          new PutUserPolicyCommand({
            UserName: name,
            PolicyName: policy,
            PolicyDocument: JSON.stringify({
              Version: '2012-10-17',
              Statement: [{ Sid: `Since${since}`, Effect: 'Deny', Action: ['*'], Resource: ['*'] }],
            }),
          }),
        )
        expect(await user.check(callFor(target, 'reinstate'))).toEqual([])
        await undo()
        expect(await works(key)).toBe(true)
        expect(await user.verify(callFor(target, 'reinstate'))).toMatchObject({
          state: 'verified',
          output: { state: 'alive' },
        })
      })
    })

    describe('a role', () => {
      it('that only this server uses is denied everything; rotation lets fresh sessions in and no old one', async () => {
        const { target, name, arn, session: old } = await newRole()
        expect(await works(old)).toBe(true)
        expect(await role.check(callFor(target, 'revoke'))).toEqual([])
        const { verdict, state, journal } = await drive({ adapter: role, target }, { intent: 'revoke' })
        expect(journal.planned).toMatchObject([{ action: 'deny-role', effect: 'reversible' }])
        expect([await works(old), await works(await assume(arn))]).toEqual([false, false])
        expect(verdict).toMatchObject({ state: 'verified', residue: [] })
        expect(state).toMatchObject({
          kind: 'aws-iam-role',
          state: 'dead',
          proof: expect.stringContaining('issuer says'),
        })
        expect((await drive({ adapter: role, target }, { intent: 'revoke' })).journal.planned).toEqual([])

        const rotated = await drive({ adapter: role, target }, { intent: 'rotate' })
        expect(rotated.journal.planned?.map(({ action }) => action)).toEqual(['let-fresh-sessions-in', 'lift-deny'])
        expect(rotated.verdict.state).toBe('verified')
        expect(await works(old)).toBe(false)
        expect(await rolePolicies(name)).toEqual(['allow', 'AWSRevokeOlderSessions'])
        expect((await drive({ adapter: role, target }, { intent: 'revoke' })).journal.planned).toEqual([])
        expect((await drive({ adapter: role, target }, { intent: 'rotate' })).journal.planned).toEqual([])
      })

      it('that others use loses its old sessions only: one assumed after the cutoff works', async () => {
        const { target, name, arn, session: old } = await newRole(['io.acme/billing'])
        expect(await works(old)).toBe(true)
        const { verdict, journal } = await drive({ adapter: role, target }, { intent: 'revoke' })
        expect(journal.planned).toMatchObject([
          { action: 'cut-sessions', effect: 'irreversible', breaks: ['io.acme/billing'] },
        ])
        expect(journal.planned?.[0]?.summary).toContain('io.acme/billing')
        expect(verdict.state).toBe('verified')
        expect(await works(old)).toBe(false)
        const found = await iam.send(new GetRolePolicyCommand({ RoleName: name, PolicyName: 'AWSRevokeOlderSessions' }))
        const document = decodeURIComponent(found.PolicyDocument ?? '')
        const cutoff = /"aws:TokenIssueTime":"([^"]+)"/.exec(document)?.[1] ?? ''
        const applied = [...journal.applied.values()][0]?.output
        expect(applied).toEqual({ cutoff })
        expect(Date.parse(cutoff)).toBeGreaterThan(Date.now())
        // As it is half a minute later.
        await iam.send(
          new PutRolePolicyCommand({
            RoleName: name,
            PolicyName: 'AWSRevokeOlderSessions',
            PolicyDocument: document.replaceAll(cutoff, new Date().toISOString()),
          }),
        )
        await new Promise((resolve) => setTimeout(resolve, 1_100)) // sessions are dated in whole seconds
        expect([await works(await assume(arn)), await works(old)]).toEqual([true, false])
        expect((await drive({ adapter: role, target }, { intent: 'revoke' })).journal.planned).toEqual([])
      })

      it('is not called dead while its sessions work, revoked or rotated', async () => {
        const { target } = await newRole()
        for (const intent of ['revoke', 'rotate'] as const)
          expect(await role.verify(callFor(target, intent))).toMatchObject({
            state: 'failed',
            output: { state: 'alive' },
          })
      })

      it('that we are ourselves is refused; one that AWS lets nobody edit is told with words', async () => {
        const own = await newRole()
        become(own.session)
        const problems = await role.check(callFor(own.target, 'revoke')).finally(() => become(root))
        expect(problems).toMatchObject([{ kind: 'refused', message: expect.stringContaining(own.name) }])
        const { Role } = await iam.send(
          new CreateServiceLinkedRoleCommand({ AWSServiceName: 'elasticbeanstalk.amazonaws.com' }),
        )
        await iam.send(new CreateRoleCommand({ RoleName: 'AWSReservedSSO_x', AssumeRolePolicyDocument: anybody }))
        for (const [name, word] of [
          [Role?.RoleName ?? '', 'service-linked'],
          ['AWSReservedSSO_x', 'Identity Center'],
        ] as const) {
          const target = { ...own.target, credential: { ...own.target.credential, role: name } }
          expect(await role.check(callFor(target, 'revoke'))).toMatchObject([
            { kind: 'denied', message: expect.stringContaining(word) },
          ])
        }
      })

      it('is given back after twelve hours, not before', async () => {
        const { target } = await newRole()
        await drive({ adapter: role, target }, { intent: 'revoke' })
        expect(await role.check(callFor(target, 'reinstate'))).toMatchObject([
          { kind: 'refused', message: expect.stringContaining('12 hours') },
        ])
      })
    })

    describe('a shared role on machines of the server', () => {
      let moto: Emulator
      beforeAll(async () => {
        moto = await startMoto()
      })
      afterAll(() => moto.stop())

      it('has their metadata service closed before its sessions are cut, also where only the cut was made', async () => {
        const proxy = await startRecordingProxy(moto.url)
        const at = { ...config(root), endpoint: moto.url }
        const ec2 = new EC2Client(at)
        const own = new IAMClient(at)
        become(root)
        process.env.AWS_ENDPOINT_URL = proxy.url
        try {
          await own.send(new CreateRoleCommand({ RoleName: 'crm', AssumeRolePolicyDocument: anybody }))
          await own.send(new CreateInstanceProfileCommand({ InstanceProfileName: 'crm-profile' }))
          await own.send(new AddRoleToInstanceProfileCommand({ InstanceProfileName: 'crm-profile', RoleName: 'crm' }))
          const start = async (IamInstanceProfile?: { Name: string }) => {
            const { Images } = await ec2.send(new DescribeImagesCommand({}))
            const started = await ec2.send(
              new RunInstancesCommand({
                ImageId: Images?.[0]?.ImageId,
                MinCount: 1,
                MaxCount: 1,
                IamInstanceProfile,
              }),
            )
            return started.Instances?.[0]?.InstanceId ?? ''
          }
          const holder = await start({ Name: 'crm-profile' })
          const other = await start()
          const endpoint = async (id: string) => {
            const found = await ec2.send(new DescribeInstancesCommand({ InstanceIds: [id] }))
            return found.Reservations?.[0]?.Instances?.[0]?.MetadataOptions?.HttpEndpoint
          }
          const target: CredentialTarget<CredentialOf<'aws-iam-role'>> = {
            server: 'io.acme/crm',
            credential: { id: 'crm-role', kind: 'aws-iam-role', role: 'crm' },
            sharedWith: ['io.acme/billing'],
            deployments: [
              { id: 'prod', kind: 'aws-ec2', region: 'us-east-1', instances: [holder, other], cut: 'auto', allow: [] },
            ],
          }
          // Who may not close it still cuts the sessions, and it is not called dead.
          proxy.fault = ({ action }) =>
            action === 'ModifyInstanceMetadataOptions' ? { deny: 'UnauthorizedOperation' } : undefined
          const denied = await drive({ adapter: role, target }, { intent: 'revoke' })
          expect(denied.journal.planned?.map(({ action }) => action)).toEqual(['close-metadata', 'cut-sessions'])
          expect(denied.journal.failed).toMatchObject([
            { change: { action: 'close-metadata' }, error: { code: 'denied' } },
          ])
          expect([denied.verdict.state, denied.state.state]).toEqual(['failed', 'alive'])
          expect(denied.state.proof).toContain(holder)

          proxy.fault = () => undefined
          proxy.calls.length = 0
          const { verdict, state } = await drive({ adapter: role, target }, { intent: 'revoke' })
          expect(proxy.calls.filter(({ changes }) => changes).map(({ action }) => action)).toEqual([
            'ModifyInstanceMetadataOptions',
            'PutRolePolicy',
          ])
          expect([verdict.state, state.state]).toEqual(['verified', 'dead'])
          expect([await endpoint(holder), await endpoint(other)]).toEqual(['disabled', 'enabled'])
          expect((await drive({ adapter: role, target }, { intent: 'revoke' })).journal.planned).toEqual([])
        } finally {
          become(root)
          await proxy.stop()
        }
      })
    })

    it('stops what else a user can authenticate with, and says what it could not list', async () => {
      const moto = await startMoto()
      become(root)
      process.env.AWS_ENDPOINT_URL = moto.url
      try {
        const own = new IAMClient({ ...config(root), endpoint: moto.url })
        await own.send(new CreateUserCommand({ UserName: 'crm' }))
        await own.send(
          new UploadSSHPublicKeyCommand({ UserName: 'crm', SSHPublicKeyBody: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 test' }),
        )
        const target: CredentialTarget<CredentialOf<'aws-iam-user'>> = {
          server: 'io.acme/crm',
          credential: { id: 'crm-user', kind: 'aws-iam-user', user: 'crm' },
          sharedWith: [],
        }
        const { journal, verdict } = await drive({ adapter: user, target }, { intent: 'revoke' })
        expect(journal.failed).toEqual([])
        expect(journal.planned?.map(({ action, priority }) => [action, priority])).toEqual([
          ['deny-user', 'essential'],
          ['stop-other', 'best-effort'],
        ])
        const { SSHPublicKeys } = await own.send(new ListSSHPublicKeysCommand({ UserName: 'crm' }))
        expect(SSHPublicKeys?.map(({ Status }) => Status)).toEqual(['Inactive'])
        // That server answers with a page instead of a list.
        expect(verdict.state).toBe('residual')
        expect(verdict.residue).toEqual([expect.stringContaining('service-specific credentials could not be listed')])
      } finally {
        become(root)
        await moto.stop()
      }
    })

    describe('with faults in between', () => {
      let proxy: RecordingProxy
      beforeAll(async () => {
        proxy = await startRecordingProxy(emulator.url)
      })
      afterAll(() => proxy.stop())

      it('denies before it stops the keys, and changes nothing by looking', async () => {
        const { target } = await newUser()
        process.env.AWS_ENDPOINT_URL = proxy.url
        try {
          proxy.calls.length = 0
          for (const intent of ['revoke', 'rotate'] as const) {
            await user.check(callFor(target, intent))
            await user.plan(callFor(target, intent))
            await user.verify(callFor(target, intent))
          }
          expect(proxy.calls.filter(({ changes }) => changes)).toEqual([])
          // As the runner does, side by side.
          const call = callFor(target, 'revoke')
          const plan = await user.plan(call)
          const acting = { ...call, changes: plan, recorded: [], record: async (_: JsonObject) => undefined }
          await Promise.all(plan.map((change) => user.actions[change.action]?.apply(change, acting)))
          expect(proxy.calls.filter(({ changes }) => changes).map(({ action }) => action)).toEqual([
            'PutUserPolicy',
            'UpdateAccessKey',
          ])
        } finally {
          become(root)
        }
      })

      it.each(['throttle', 'error', 'reset', 'lost'] as const)(
        'ends the same when every changing call is at first: %s',
        async (fault) => {
          const { target, key, name } = await newUser()
          process.env.AWS_ENDPOINT_URL = proxy.url
          try {
            const hit = new Set<string>()
            proxy.fault = ({ changes, action }) => {
              if (!changes || hit.has(action)) return undefined
              hit.add(action)
              return fault
            }
            const revoked = await drive({ adapter: user, target }, { intent: 'revoke' })
            expect([revoked.journal.failed, revoked.verdict.state]).toEqual([[], 'verified'])
            hit.clear()
            const { journal, verdict } = await drive({ adapter: user, target }, { intent: 'rotate' })
            expect([journal.failed, verdict.state]).toEqual([[], 'verified'])
            expect(hit).toContain('CreateAccessKey')
            const fresh = delivered(target)
            expect(await active(name)).toEqual([fresh.accessKeyId])
            expect([await works(fresh), await works(key)]).toEqual([true, false])
          } finally {
            proxy.fault = () => undefined
            become(root)
          }
        },
      )

      it('call nothing that they do not declare', async () => {
        const { target } = await newUser()
        const used = await newRole()
        process.env.AWS_ENDPOINT_URL = proxy.url
        try {
          for (const world of [
            { adapter: user, target },
            { adapter: role, target: used.target },
          ]) {
            proxy.calls.length = 0
            for (const intent of ['revoke', 'rotate'] as const) {
              await world.adapter.check(callFor(world.target as never, intent))
              await drive(world as never, { intent })
            }
            const called = new Set(proxy.calls.map(({ service, action }) => `${service}:${action}`))
            expect(called.size).toBeGreaterThan(4)
            expect([...called].filter((one) => !world.adapter.permissions.includes(one))).toEqual([])
          }
        } finally {
          become(root)
        }
      })

      it('tells no secret when a key cannot be delivered, and takes it back', async () => {
        const { target, name } = await newUser()
        await drive({ adapter: user, target }, { intent: 'revoke' })
        const journal = emptyJournal()
        const path = (target.deliverTo as { path: string }).path
        const planned = await user.plan(callFor(target, 'rotate'))
        journal.planned = planned
        await rm(join(path, '..'), { recursive: true })
        const { verdict } = await drive({ adapter: user, target }, { intent: 'rotate', journal })
        expect(journal.failed.map(({ change }) => change.action)).toContain('issue-and-deliver')
        expect(verdict.state).toBe('failed')
        expect(await active(name)).toEqual([])
      })
    })

    describe('by the built command', () => {
      const registry = (users: string, more = '') => `
servers:
  - name: io.acme/crm
    version: 1.0.0
    status: approved
    owner: platform
    package: {registryType: npm, identifier: crm, version: 1.0.0}
    deployments: []
${more}
    credentials:
${users}
`
      it('revokes and rotates, tells what was made while it waited, and refuses our own with code 4', async () => {
        const one = await newUser()
        const used = await newRole()
        const place = workplace(
          registry(
            `      - {id: crm-user, kind: aws-iam-user, user: ${one.name}}
      - {id: crm-role, kind: aws-iam-role, role: ${used.name}}`,
            `    deliverTo: {kind: file, path: ${folder}/cli.env}`,
          ),
        )
        const run = (args: readonly string[], keys = root) =>
          mcpIr([...args, '--config', join(place, 'mcp-ir.yaml')], { cwd: place, env: environment(keys) })

        const dry = await run(['revoke', 'io.acme/crm', '--dry-run', '--json'])
        expect(dry.code, dry.stderr).toBe(0)
        expect(await works(one.key)).toBe(true)

        const own = await run(['revoke', 'io.acme/crm', '--yes', '--json'], one.key)
        expect(own.code, own.stdout).toBe(4)
        expect(await works(one.key)).toBe(true)

        const { hash } = dry.json.result.plan
        const running = run(['revoke', 'io.acme/crm', '--yes', '--json', '--expect', hash])
        // In the minute between the change and the second look.
        while (await works(one.key)) await new Promise((resolve) => setTimeout(resolve, 200))
        const attackers = await newKey(one.name)
        const revoked = await running
        expect(revoked.code, revoked.stderr).toBe(3)
        expect(revoked.stdout).toContain(attackers.accessKeyId)
        expect(revoked.json.result.output.credentials).toMatchObject([
          { id: 'crm-user', state: 'alive' },
          { id: 'crm-role', state: 'dead' },
        ])
        expect([await works(one.key), await works(used.session)]).toEqual([false, false])

        const again = await run(['revoke', 'io.acme/crm', '--dry-run', '--json'])
        expect(again.json.result.plan.changes).toMatchObject([
          { action: 'deny-user' },
          { action: 'stop-key', target: expect.stringContaining(attackers.accessKeyId) },
        ])
        const evidence = join(place, 'cases', readdirSync(join(place, 'cases'))[0] ?? '', 'evidence')
        const kept = readdirSync(evidence).map((name) => readFileSync(join(evidence, name), 'utf8'))
        expect(kept.some((text) => text.includes('"lastUsed"') && text.includes(one.key.accessKeyId))).toBe(true)
        expect(kept.some((text) => text.includes('"trust"'))).toBe(true)

        await iam.send(new DeleteAccessKeyCommand({ UserName: one.name, AccessKeyId: attackers.accessKeyId }))
        const rotated = await run(['rotate', 'io.acme/crm', '--yes', '--json'])
        expect(rotated.code, rotated.stdout).toBe(0)
        const fresh = delivered({ deliverTo: { path: join(folder, 'cli.env') } })
        expect([await works(fresh), await works(one.key), await works(used.session)]).toEqual([true, false, false])
        expect(rotated.stdout + rotated.stderr).not.toContain(fresh.secretAccessKey)
        const files = readdirSync(join(place, 'cases'), { recursive: true, withFileTypes: true })
        const written = files.filter((file) => file.isFile()).map((file) => join(file.parentPath, file.name))
        expect(written.filter((file) => readFileSync(file, 'latin1').includes(fresh.secretAccessKey))).toEqual([])

        const early = await run(['reinstate', 'io.acme/crm', '--yes', '--json'])
        expect(early.code, early.stdout).toBe(4)
        const check = await run(['case', 'check'])
        expect(check.code, check.stderr).toBe(0)
      }, 300_000)
    })
  },
)
