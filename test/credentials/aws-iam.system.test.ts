import { readdirSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  CreateTagsCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  EC2Client,
  RunInstancesCommand,
} from '@aws-sdk/client-ec2'
import {
  AddRoleToInstanceProfileCommand,
  CreateInstanceProfileCommand,
  CreateLoginProfileCommand,
  CreateRoleCommand,
  CreateServiceLinkedRoleCommand,
  CreateUserCommand,
  CreateVirtualMFADeviceCommand,
  DeleteAccessKeyCommand,
  EnableMFADeviceCommand,
  GetLoginProfileCommand,
  GetRolePolicyCommand,
  IAMClient,
  ListMFADevicesCommand,
  ListSigningCertificatesCommand,
  ListSSHPublicKeysCommand,
  PutRolePolicyCommand,
  PutUserPolicyCommand,
  UpdateAccessKeyCommand,
  UploadSigningCertificateCommand,
  UploadSSHPublicKeyCommand,
} from '@aws-sdk/client-iam'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { JsonObject } from '../../src/change.ts'
import { roleCredentials } from '../../src/credentials/aws-iam-role.ts'
import { userCredentials } from '../../src/credentials/aws-iam-user.ts'
import { type CredentialTarget, stage } from '../../src/credentials/port.ts'
import type { CredentialOf } from '../../src/registry/port.ts'
import { callFor, drive, emptyJournal, everything } from '../contracts/credentials.ts'
import { mcpIr, workplace } from '../testbed/cli.ts'
import { type Emulator, skipWithoutEmulators, startMoto } from '../testbed/python.ts'
import { type RecordingProxy, startRecordingProxy } from '../testbed/recording-proxy.ts'
import { anybody, type IamWorld, type Keys, quick, root, startIamWorld, withoutPauses } from './aws-iam-world.ts'

const user = userCredentials(quick)
const role = roleCredentials(quick)

describe.skipIf(skipWithoutEmulators('aws-iam'))(
  'IAM users and roles, in an IAM that really evaluates policies',
  () => {
    let world: IamWorld
    beforeAll(async () => {
      world = await startIamWorld()
    })
    afterAll(() => world.stop())

    describe('a user', () => {
      it('worked with its key and a session, is refused with both after, and nothing is left to do', async () => {
        const { target, key, name } = await world.newUser()
        const stolen = await world.session(key)
        expect([await world.works(key), await world.works(stolen)]).toEqual([true, true])

        const { verdict, state, journal } = await drive({ adapter: user, target }, { intent: 'revoke' })
        expect(journal.failed).toEqual([])
        expect(journal.planned?.map(({ action, effect }) => [action, effect])).toEqual([
          ['deny-user', 'reversible'],
          ['stop-key', 'reversible'],
        ])
        expect([await world.works(key), await world.works(stolen)]).toEqual([false, false])
        expect(verdict).toMatchObject({ state: 'verified', residue: [] })
        expect(state).toMatchObject({ id: 'crm-user', kind: 'aws-iam-user', state: 'dead', sharedWith: [] })
        expect(state.proof).toBe('issuer says so (inactive, denied)')

        const again = await drive({ adapter: user, target }, { intent: 'revoke' })
        expect(again.journal.planned).toEqual([])
        expect([again.verdict.state, again.state.state]).toEqual(['verified', 'dead'])
        expect(await world.policies(name)).toHaveLength(2)
      })

      it('with two keys in use loses both, and every session of either', async () => {
        const { target, key, name } = await world.newUser()
        const both = [key, await world.newKey(name)]
        const all = [...both, ...(await Promise.all(both.map((one) => world.session(one))))]
        const work = () => Promise.all(all.map((one) => world.works(one)))
        expect(await work()).toEqual([true, true, true, true])
        const { verdict, journal } = await drive({ adapter: user, target }, { intent: 'revoke' })
        expect(journal.planned?.map(({ action }) => action)).toEqual(['deny-user', 'stop-key', 'stop-key'])
        expect(verdict.state).toBe('verified')
        expect(await work()).toEqual([false, false, false, false])
      })

      it('is not called dead before, nor when only one of both holds', async () => {
        const { target, key, name } = await world.newUser()
        const look = () => user.verify(callFor(target, 'revoke'))
        expect(await look()).toMatchObject({ state: 'failed', output: { state: 'alive' } })
        const change = { UserName: name, AccessKeyId: key.accessKeyId }
        await world.iam.send(new UpdateAccessKeyCommand({ ...change, Status: 'Inactive' }))
        expect(await look()).toMatchObject({ state: 'failed', output: { state: 'alive' } })
        await drive({ adapter: user, target }, { intent: 'revoke' })
        expect(await look()).toMatchObject({ state: 'verified', output: { state: 'dead' } })
        await world.iam.send(new UpdateAccessKeyCommand({ ...change, Status: 'Active' }))
        expect(await look()).toMatchObject({ state: 'failed', output: { state: 'alive' } })
      })

      it('changes nothing by checking and planning, plans the same again, and names those who break', async () => {
        const { target, key, name } = await world.newUser()
        const call = callFor({ ...target, sharedWith: ['io.acme/billing'] }, 'revoke')
        expect(await user.check(call)).toEqual([])
        const plan = await user.plan(call)
        expect(plan).toEqual(await user.plan(call))
        expect(plan.every(({ breaks }) => breaks.includes('io.acme/billing'))).toBe(true)
        expect(plan.map(({ facts }) => facts?.['last used'])).toContain('never')
        expect(await world.works(key)).toBe(true)
        expect(await world.policies(name)).toEqual(['allow'])
      })

      it('a key made by an attacker in the meantime is found by the second look, and stopped by the next run', async () => {
        const { target, name } = await world.newUser()
        const journal = emptyJournal()
        let made: Keys | undefined
        const watched = {
          ...user,
          verify: async (call: Parameters<typeof user.verify>[0]) => {
            made ??= await world.newKey(name)
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
        expect(await world.active(name)).toEqual([])
      })

      it('who may not deny stops the keys all the same, and it is not called dead', async () => {
        const { target, key, name } = await world.newUser()
        const responder = await world.newUser()
        await world.iam.send(
          new PutUserPolicyCommand({
            UserName: responder.name,
            PolicyName: 'no-policies',
            PolicyDocument: JSON.stringify({
              Version: '2012-10-17',
              Statement: [{ Effect: 'Deny', Action: 'iam:PutUserPolicy', Resource: '*' }],
            }),
          }),
        )
        world.become(responder.key)
        try {
          const { journal, verdict, state } = await drive({ adapter: user, target }, { intent: 'revoke' })
          expect(journal.failed.map(({ change, error }) => [change.action, (error as { code?: string }).code])).toEqual(
            [['deny-user', 'denied']],
          )
          expect(journal.failed[0]?.change.command).toContain(`aws iam put-user-policy --user-name ${name}`)
          expect([verdict.state, state.state]).toEqual(['failed', 'alive'])
          expect(await world.works(key)).toBe(false)
        } finally {
          world.become(root)
        }
      })

      it('the responder’s own user is refused, with its key and with a session of it; an unknown one is told', async () => {
        const own = await world.newUser()
        for (const keys of [own.key, await world.session(own.key)]) {
          world.become(keys)
          const problems = await user.check(callFor(own.target, 'revoke')).finally(() => world.become(root))
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
        const { target, key, name } = await world.newUser()
        const stolen = await world.session(key)
        await drive({ adapter: user, target }, { intent: 'revoke' })
        expect(await user.check(callFor(target, 'rotate'))).toEqual([])
        const { verdict, state, journal } = await drive({ adapter: user, target }, { intent: 'rotate' })
        expect(journal.failed).toEqual([])
        expect(verdict).toMatchObject({ state: 'verified', residue: [] })
        expect(state).toMatchObject({ state: 'dead', delivered: { kind: 'file' } })
        const fresh = world.delivered(target)
        expect([await world.works(fresh), await world.works(key), await world.works(stolen)]).toEqual([
          true,
          false,
          false,
        ])
        expect(await world.active(name)).toEqual([fresh.accessKeyId])
        expect(everything(journal, verdict)).not.toContain(fresh.secretAccessKey)

        // Neither another rotation nor another revocation in this case touches the delivered one.
        for (const intent of ['rotate', 'revoke'] as const) {
          const again = await drive({ adapter: user, target }, { intent })
          expect(again.journal.planned).toEqual([])
          expect(again.verdict.state).toBe('verified')
        }
        expect(await world.works(fresh)).toBe(true)
      })

      it('is not called rotated while the old key works, and says how to revoke', async () => {
        const { target, key } = await world.newUser()
        const { verdict, state } = await drive({ adapter: user, target }, { intent: 'rotate' })
        expect([await world.works(world.delivered(target)), await world.works(key)]).toEqual([true, true])
        expect([verdict.state, state.state]).toEqual(['failed', 'alive'])
        expect(state.proof).toContain('mcp-ir revoke')
      })

      it('with two keys: the one that was inactive before goes; of two that were active nothing is guessed', async () => {
        const { target, name, key } = await world.newUser()
        const idle = await world.newKey(name)
        await world.iam.send(
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
        expect((await world.keysListed(name)).map(({ AccessKeyId }) => AccessKeyId).sort()).toEqual(
          [key.accessKeyId, world.delivered(target).accessKeyId].sort(),
        )

        const both = await world.newUser()
        await world.newKey(both.name)
        expect(await user.check(callFor(both.target, 'rotate'))).toMatchObject([{ kind: 'input' }])
        await drive({ adapter: user, target: both.target }, { intent: 'revoke' })
        expect(await user.check(callFor(both.target, 'rotate'))).toMatchObject([
          { kind: 'input', hint: expect.stringContaining('aws iam delete-access-key') },
        ])
      })

      it('has a destination that it can be delivered to, else nothing is issued', async () => {
        const { target } = await world.newUser()
        const none = { ...target, deliverTo: undefined }
        const field = { ...target, replaces: { field: 'value' } }
        for (const one of [none, field]) {
          expect(await user.check(callFor(one, 'rotate'))).toMatchObject([{ kind: 'input' }])
          await expect(user.plan(callFor(one, 'rotate'))).rejects.toMatchObject({ code: 'input' })
        }
      })

      it('is given back once no stolen session can live, not before', async () => {
        const { target, key, name } = await world.newUser()
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
        expect(await world.works(key)).toBe(false)

        // As it is two days later: the policy says since when.
        const policy = (await world.policies(name)).find((one) => one.startsWith('mcp-ir-')) ?? ''
        const since = new Date(Date.now() - 48 * 3_600_000).toISOString().replace(/[-:]|\.\d+/g, '')
        await world.iam.send(
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
        expect(await world.works(key)).toBe(true)
        expect(await user.verify(callFor(target, 'reinstate'))).toMatchObject({
          state: 'verified',
          output: { state: 'alive' },
        })
      })
    })

    describe('a role', () => {
      it('that only this server uses is denied everything; rotation lets fresh sessions in and no old one', async () => {
        const { target, name, arn, session: old } = await world.newRole()
        expect(await world.works(old)).toBe(true)
        expect(await role.check(callFor(target, 'revoke'))).toEqual([])
        const { verdict, state, journal } = await drive({ adapter: role, target }, { intent: 'revoke' })
        expect(journal.planned).toMatchObject([{ action: 'deny-role', effect: 'reversible' }])
        expect([await world.works(old), await world.works(await world.assume(arn))]).toEqual([false, false])
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
        expect(await world.works(old)).toBe(false)
        expect(await world.rolePolicies(name)).toEqual(['allow', 'AWSRevokeOlderSessions'])
        expect((await drive({ adapter: role, target }, { intent: 'revoke' })).journal.planned).toEqual([])
        expect((await drive({ adapter: role, target }, { intent: 'rotate' })).journal.planned).toEqual([])
      })

      it('that others use loses its old sessions only: one assumed after the cutoff works', async () => {
        const { target, name, arn, session: old } = await world.newRole(['io.acme/billing'])
        expect(await world.works(old)).toBe(true)
        const { verdict, journal } = await drive({ adapter: role, target }, { intent: 'revoke' })
        expect(journal.planned).toMatchObject([
          { action: 'cut-sessions', effect: 'irreversible', breaks: ['io.acme/billing'] },
        ])
        expect(journal.planned?.[0]?.summary).toContain('io.acme/billing')
        expect(verdict.state).toBe('verified')
        expect(await world.works(old)).toBe(false)
        const found = await world.iam.send(
          new GetRolePolicyCommand({ RoleName: name, PolicyName: 'AWSRevokeOlderSessions' }),
        )
        const document = decodeURIComponent(found.PolicyDocument ?? '')
        const cutoff = /"aws:TokenIssueTime":"([^"]+)"/.exec(document)?.[1] ?? ''
        const applied = [...journal.applied.values()][0]?.output
        expect(applied).toEqual({ cutoff })
        expect(Date.parse(cutoff)).toBeGreaterThan(Date.now())
        // As it is half a minute later.
        await world.iam.send(
          new PutRolePolicyCommand({
            RoleName: name,
            PolicyName: 'AWSRevokeOlderSessions',
            PolicyDocument: document.replaceAll(cutoff, new Date().toISOString()),
          }),
        )
        await new Promise((resolve) => setTimeout(resolve, 1_100)) // sessions are dated in whole seconds
        expect([await world.works(await world.assume(arn)), await world.works(old)]).toEqual([true, false])
        expect((await drive({ adapter: role, target }, { intent: 'revoke' })).journal.planned).toEqual([])
      })

      it('is not called dead while its sessions work, revoked or rotated', async () => {
        const { target } = await world.newRole()
        for (const intent of ['revoke', 'rotate'] as const)
          expect(await role.verify(callFor(target, intent))).toMatchObject({
            state: 'failed',
            output: { state: 'alive' },
          })
      })

      it('that we are ourselves is refused; one that AWS lets nobody edit is told with words', async () => {
        const own = await world.newRole()
        world.become(own.session)
        const problems = await role.check(callFor(own.target, 'revoke')).finally(() => world.become(root))
        expect(problems).toMatchObject([{ kind: 'refused', message: expect.stringContaining(own.name) }])
        const { Role } = await world.iam.send(
          new CreateServiceLinkedRoleCommand({ AWSServiceName: 'elasticbeanstalk.amazonaws.com' }),
        )
        await world.iam.send(new CreateRoleCommand({ RoleName: 'AWSReservedSSO_x', AssumeRolePolicyDocument: anybody }))
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
        const { target } = await world.newRole()
        await drive({ adapter: role, target }, { intent: 'revoke' })
        expect(await role.check(callFor(target, 'reinstate'))).toMatchObject([
          { kind: 'refused', message: expect.stringContaining('12 hours') },
        ])
      })
    })

    describe('in a service that has machines and all kinds of credentials', () => {
      let moto: Emulator
      beforeAll(async () => {
        moto = await startMoto()
      })
      afterAll(() => moto.stop())

      it('a shared role has the metadata service of its machines closed before its sessions are cut, also where only the cut was made', async () => {
        const proxy = await startRecordingProxy(moto.url)
        const at = { ...world.config(root), endpoint: moto.url }
        const ec2 = new EC2Client(at)
        const own = new IAMClient(at)
        world.become(root)
        world.become(root, proxy.url)
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
              { id: 'prod', kind: 'aws-ec2', region: 'us-east-1', autoScalingGroup: 'crm', cut: 'auto', allow: [] },
            ],
          }
          // As isolation leaves them: out of their group, and marked.
          const { caseId } = callFor(target, 'revoke')
          const Tags = [{ Key: 'mcp-ir:case', Value: caseId }]
          await ec2.send(new CreateTagsCommand({ Resources: [holder, other], Tags }))
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
          world.become(root)
          await proxy.stop()
        }
      })

      it('stops what else a user can authenticate with, keeps its MFA device, and says what it could not list', async () => {
        const proxy = await startRecordingProxy(moto.url)
        world.become(root, proxy.url)
        try {
          const own = new IAMClient({ ...world.config(root), endpoint: moto.url })
          const UserName = 'crm'
          await own.send(new CreateUserCommand({ UserName }))
          await own.send(
            new UploadSSHPublicKeyCommand({ UserName, SSHPublicKeyBody: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 test' }),
          )
          await own.send(new UploadSigningCertificateCommand({ UserName, CertificateBody: certificate }))
          await own.send(new CreateLoginProfileCommand({ UserName, Password: 'canary-Pw-1' }))
          const { VirtualMFADevice } = await own.send(
            new CreateVirtualMFADeviceCommand({ VirtualMFADeviceName: 'crm' }),
          )
          const SerialNumber = VirtualMFADevice?.SerialNumber
          await own.send(
            new EnableMFADeviceCommand({
              UserName,
              SerialNumber,
              AuthenticationCode1: '123456',
              AuthenticationCode2: '654321',
            }),
          )
          const target: CredentialTarget<CredentialOf<'aws-iam-user'>> = {
            server: 'io.acme/crm',
            credential: { id: 'crm-user', kind: 'aws-iam-user', user: UserName },
            sharedWith: [],
          }
          // That server answers with a page instead of a list, which is asked for again and again.
          withoutPauses()
          const blind = await drive({ adapter: user, target }, { intent: 'revoke' })
          expect(blind.journal.failed).toEqual([])
          expect(blind.journal.planned?.map(({ action, priority }) => [action, priority])).toEqual([
            ['deny-user', 'essential'],
            ['stop-other', 'best-effort'],
            ['stop-other', 'best-effort'],
          ])
          expect(blind.verdict.state).toBe('residual')
          expect(blind.verdict.residue).toEqual([
            expect.stringContaining('service-specific credentials could not be listed'),
          ])
          const { SSHPublicKeys } = await own.send(new ListSSHPublicKeysCommand({ UserName }))
          expect(SSHPublicKeys?.map(({ Status }) => Status)).toEqual(['Inactive'])
          const { Certificates } = await own.send(new ListSigningCertificatesCommand({ UserName }))
          expect(Certificates?.map(({ Status }) => Status)).toEqual(['Inactive'])

          // No emulator has service-specific credentials: answers as the API reference of IAM gives them.
          const services = new Map([['ACCAEXAMPLE123EXAMPLE', 'Active']])
          proxy.calls.length = 0
          proxy.fault = ({ action, params }) => {
            if (action === 'UpdateServiceSpecificCredential')
              services.set(params.get('ServiceSpecificCredentialId') ?? '', params.get('Status') ?? '')
            else if (action !== 'ListServiceSpecificCredentials') return undefined
            return { xml: serviceCredentials(action, UserName, services) }
          }
          const { journal, verdict } = await drive({ adapter: user, target }, { intent: 'revoke' })
          expect(journal.planned?.map(({ summary }) => summary)).toEqual([
            'Make service-specific credential ACCAEXAMPLE123EXAMPLE of user crm inactive',
          ])
          expect([...services.values()]).toEqual(['Inactive'])
          expect(verdict).toMatchObject({ state: 'verified', residue: [] })
          expect(verdict.limits.join()).toContain('aws iam delete-login-profile --user-name crm')
          expect((await drive({ adapter: user, target }, { intent: 'revoke' })).journal.planned).toEqual([])

          // The password is only denied, the device only told of: neither is taken away.
          expect((await own.send(new GetLoginProfileCommand({ UserName }))).LoginProfile?.UserName).toBe(UserName)
          const { MFADevices } = await own.send(new ListMFADevicesCommand({ UserName }))
          expect(MFADevices?.map((one) => one.SerialNumber)).toEqual([SerialNumber])
          expect(JSON.stringify(blind.journal.planned?.[0]?.params)).toContain(SerialNumber)

          // Given back in the end, those that were stopped.
          proxy.calls.length = 0
          for (const change of [...(blind.journal.planned ?? []), ...(journal.planned ?? [])]) {
            const back = user.actions[change.action]?.undo
            const call = { ...callFor(target, 'reinstate'), recorded: [], record: async (_: JsonObject) => undefined }
            expect(await back?.drift(change, {}, call)).toEqual([])
          }
          expect(proxy.calls.filter(({ changes }) => changes)).toEqual([])
        } finally {
          proxy.fault = () => undefined
          world.become(root)
          await proxy.stop()
          vi.restoreAllMocks()
        }
      })
    })

    describe('with faults in between', () => {
      let proxy: RecordingProxy
      beforeAll(async () => {
        proxy = await startRecordingProxy(world.emulator.url)
      })
      afterAll(() => proxy.stop())

      it('denies before it stops the keys, and changes nothing by looking', async () => {
        const { target } = await world.newUser()
        world.become(root, proxy.url)
        try {
          proxy.calls.length = 0
          for (const intent of ['revoke', 'rotate'] as const) {
            await user.check(callFor(target, intent))
            await user.plan(callFor(target, intent))
            await user.verify(callFor(target, intent))
          }
          expect(proxy.calls.filter(({ changes }) => changes)).toEqual([])
          // The runner begins a stage once all of the earlier ones has ended, well or not.
          const plan = await user.plan(callFor(target, 'revoke'))
          expect(plan.map(({ action, stage: of }) => [action, of])).toEqual([
            ['deny-user', stage.mint],
            ['stop-key', stage.end],
          ])
        } finally {
          world.become(root)
        }
      })

      it('asks in the region of the configuration, which the environment does not name', async () => {
        const { target } = await world.newUser()
        world.become(root, proxy.url)
        try {
          for (const [aws, wanted] of [
            [{}, 'us-east-1'],
            [{ region: 'eu-central-1' }, 'eu-central-1'],
          ] as const) {
            proxy.calls.length = 0
            await user.check(callFor({ ...target, aws }, 'revoke'))
            expect(proxy.calls.length).toBeGreaterThan(3)
            expect([...new Set(proxy.calls.map(({ region }) => region))]).toEqual([wanted])
          }
        } finally {
          world.become(root)
        }
      })

      it('keep what was there, and what it was last used for, as evidence', async () => {
        const { target, name, key } = await world.newUser()
        const used = await world.newRole()
        for (const { adapter, target: of, has } of [
          { adapter: user, target, has: key.accessKeyId },
          { adapter: role, target: used.target, has: '"trust"' },
        ]) {
          const call = callFor(of as never, 'revoke')
          const plan = await adapter.plan(call as never)
          const kept = new Map<string, string>()
          const evidence = {
            ...call.evidence,
            put: async (file: string, mediaType: string, content: unknown) => {
              kept.set(file, String(content))
              return { name: file, sha256: '', bytes: 0, mediaType }
            },
          }
          await adapter.collect?.({ ...call, changes: plan, evidence } as never)
          const start = adapter === user ? `aws-iam-user-${name}` : `aws-iam-role-${used.name}`
          expect([...kept.keys()]).toEqual([`${start}-before.json`, `${start}-last-accessed.json`])
          expect(kept.get(`${start}-before.json`)).toContain(has)
          const last = JSON.parse(kept.get(`${start}-last-accessed.json`) ?? '')
          expect(last).toMatchObject({ of: expect.stringContaining(start.split('-').slice(3).join('-')), unread: [] })
          // Nothing to say where nothing is changed.
          kept.clear()
          await adapter.collect?.({ ...call, changes: [], evidence } as never)
          expect([...kept.keys()]).toEqual([])
        }
      })

      it('call nothing that they do not declare', async () => {
        const { target } = await world.newUser()
        const used = await world.newRole()
        world.become(root, proxy.url)
        try {
          for (const one of [
            { adapter: user, target },
            { adapter: role, target: used.target },
          ]) {
            proxy.calls.length = 0
            for (const intent of ['revoke', 'rotate'] as const) {
              const call = callFor(one.target as never, intent) as never
              await one.adapter.check(call)
              const { journal } = await drive(one as never, { intent })
              const evidence = { put: async () => ({}) }
              await one.adapter.collect?.(Object.assign(call, { changes: journal.planned ?? [], evidence }))
            }
            const called = new Set(proxy.calls.map(({ service, action }) => `${service}:${action}`))
            expect(called.size).toBeGreaterThan(4)
            expect([...called].filter((name) => !one.adapter.permissions.includes(name))).toEqual([])
          }
        } finally {
          world.become(root)
        }
      })

      it('tells no secret when a key cannot be delivered, and takes it back', async () => {
        const { target, name } = await world.newUser()
        await drive({ adapter: user, target }, { intent: 'revoke' })
        const journal = emptyJournal()
        const path = (target.deliverTo as { path: string }).path
        const planned = await user.plan(callFor(target, 'rotate'))
        journal.planned = planned
        await rm(join(path, '..'), { recursive: true })
        const { verdict } = await drive({ adapter: user, target }, { intent: 'rotate', journal })
        expect(journal.failed.map(({ change }) => change.action)).toContain('issue-and-deliver')
        expect(verdict.state).toBe('failed')
        expect(await world.active(name)).toEqual([])
      })
    })

    describe('by the built command', () => {
      const registry = (users: string, more: string, shared: string) => `
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
  - name: io.acme/ledger
    version: 1.0.0
    status: approved
    owner: platform
    package: {registryType: npm, identifier: ledger, version: 1.0.0}
    deployments: []
    credentials:
      - {id: common-role, kind: aws-iam-role, role: ${shared}}
`
      it('revokes and rotates, tells what was made while it waited, and refuses our own with code 4', async () => {
        const one = await world.newUser()
        const used = await world.newRole()
        const shared = await world.newRole()
        const place = workplace(
          registry(
            `      - {id: crm-user, kind: aws-iam-user, user: ${one.name}}
      - {id: crm-role, kind: aws-iam-role, role: ${used.name}}
      - {id: common-role, kind: aws-iam-role, role: ${shared.name}}`,
            `    deliverTo: {kind: file, path: ${world.folder}/cli.env}`,
            shared.name,
          ),
          'aws: {region: eu-west-1}\n',
        )
        const run = (args: readonly string[], keys = root) =>
          mcpIr([...args, '--config', join(place, 'mcp-ir.yaml')], { cwd: place, env: world.environment(keys) })

        const dry = await run(['revoke', 'io.acme/crm', '--dry-run', '--json'])
        expect(dry.code, dry.stderr).toBe(0)
        expect(await world.works(one.key)).toBe(true)

        for (const keys of [one.key, await world.session(one.key), used.session]) {
          const own = await run(['revoke', 'io.acme/crm', '--yes', '--json'], keys)
          expect(own.code, own.stdout).toBe(4)
        }
        expect([await world.works(one.key), await world.works(shared.session)]).toEqual([true, true])

        const { hash } = dry.json.result.plan
        const running = run(['revoke', 'io.acme/crm', '--yes', '--json', '--expect', hash])
        // In the minute between the change and the second look.
        while (await world.works(one.key)) await new Promise((resolve) => setTimeout(resolve, 200))
        const attackers = await world.newKey(one.name)
        const revoked = await running
        expect(revoked.code, revoked.stderr).toBe(3)
        expect(revoked.stdout).toContain(attackers.accessKeyId)
        expect(revoked.json.result.output.credentials).toMatchObject([
          { id: 'crm-user', state: 'alive' },
          { id: 'crm-role', state: 'dead' },
          { id: 'common-role', state: 'dead', sharedWith: ['io.acme/ledger'] },
        ])
        const old = [one.key, used.session, shared.session]
        const work = () => Promise.all(old.map((keys) => world.works(keys)))
        expect(await work()).toEqual([false, false, false])
        // The minute that it waited is longer than the half a minute which the cutoff lies ahead.
        expect(await world.works(await world.assume(shared.arn))).toBe(true)

        const again = await run(['revoke', 'io.acme/crm', '--dry-run', '--json'])
        expect(again.json.result.plan.changes).toMatchObject([
          { action: 'deny-user' },
          { action: 'stop-key', target: expect.stringContaining(attackers.accessKeyId) },
        ])
        const evidence = join(place, 'cases', readdirSync(join(place, 'cases'))[0] ?? '', 'evidence')
        const kept = readdirSync(evidence).map((name) => readFileSync(join(evidence, name), 'utf8'))
        expect(kept.some((text) => text.includes('"lastUsed"') && text.includes(one.key.accessKeyId))).toBe(true)
        expect(kept.some((text) => text.includes('"trust"'))).toBe(true)

        await world.iam.send(new DeleteAccessKeyCommand({ UserName: one.name, AccessKeyId: attackers.accessKeyId }))
        const rotated = await run(['rotate', 'io.acme/crm', '--yes', '--json'])
        expect(rotated.code, rotated.stdout).toBe(0)
        const fresh = world.delivered({ deliverTo: { path: join(world.folder, 'cli.env') } })
        expect([await world.works(fresh), await work()]).toEqual([true, [false, false, false]])
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

/** Self-signed for these tests; its key was thrown away. */
const certificate = `-----BEGIN CERTIFICATE-----
MIIBfTCCASOgAwIBAgIUEnyeVxlZ3JUR85zMgQYNFXqNk14wCgYIKoZIzj0EAwIw
EzERMA8GA1UEAwwIY3JtLnRlc3QwIBcNMjYxMTIzMDkzNDE4WhgPMjEyNjEwMzAw
OTM0MThaMBMxETAPBgNVBAMMCGNybS50ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAElSNy4ZYH5byImJc7oMtldCQiyzi3KJiXTL3dLTl/VlgpJiz0dkiFORiD
I2DbB1MVko9b1LS6HG1JnPYgs8MO/KNTMFEwHQYDVR0OBBYEFIbF90oLK1o9zRX9
SRqlDTA4rt8DMB8GA1UdIwQYMBaAFIbF90oLK1o9zRX9SRqlDTA4rt8DMA8GA1Ud
EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAJvDStnTzRho3/VjRQ7aVfLi
TWPeKmdqHCqnClc9D49/AiAc3UBrv3VxLEeB5BSRR8EZ19TbCa0laeLs8Mir6T7/
GQ==
-----END CERTIFICATE-----
`

/** After https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListServiceSpecificCredentials.html */
function serviceCredentials(action: string, user: string, services: ReadonlyMap<string, string>): string {
  const members = [...services].map(
    ([id, status]) =>
      `<member><ServiceUserName>${user}-at-123456789012</ServiceUserName><Status>${status}</Status><ServiceName>codecommit.amazonaws.com</ServiceName><UserName>${user}</UserName><CreateDate>2026-01-05T12:00:00Z</CreateDate><ServiceSpecificCredentialId>${id}</ServiceSpecificCredentialId></member>`,
  )
  const result =
    action === 'ListServiceSpecificCredentials'
      ? `<${action}Result><ServiceSpecificCredentials>${members.join('')}</ServiceSpecificCredentials></${action}Result>`
      : ''
  return `<${action}Response xmlns="https://iam.amazonaws.com/doc/2010-05-08/">${result}<ResponseMetadata><RequestId>test</RequestId></ResponseMetadata></${action}Response>`
}
