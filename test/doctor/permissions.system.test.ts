import { SetInstanceProtectionCommand } from '@aws-sdk/client-auto-scaling'
import { CreateTagsCommand, DescribeImagesCommand, EC2Client, RunInstancesCommand } from '@aws-sdk/client-ec2'
import { AddRoleToInstanceProfileCommand, CreateInstanceProfileCommand } from '@aws-sdk/client-iam'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Adapter } from '../../src/change.ts'
import { awsEc2 } from '../../src/containment/aws-ec2.ts'
import type { Containment, ContainmentTarget } from '../../src/containment/port.ts'
import { roleCredentials } from '../../src/credentials/aws-iam-role.ts'
import { userCredentials } from '../../src/credentials/aws-iam-user.ts'
import type { Credentials, CredentialTarget } from '../../src/credentials/port.ts'
import { isIamAction } from '../../src/doctor-policy.ts'
import type { Credential, Deployment } from '../../src/registry/port.ts'
import { operate } from '../contracts/containment.ts'
import { callFor, drive } from '../contracts/credentials.ts'
import { type IamWorld, quick, root, startIamWorld } from '../credentials/aws-iam-world.ts'
import { awsEnvironment, buildAwsWorld } from '../testbed/aws-world.ts'
import { type Emulator, skipWithoutEmulators, startMoto } from '../testbed/python.ts'
import { type RecordingProxy, startRecordingProxy } from '../testbed/recording-proxy.ts'

type AwsCall = RecordingProxy['calls'][number]

/**
 * What IAM asks for a call. The action's own name, under the name that its service signs with, and what the service
 * authorization reference lists as dependent actions: https://docs.aws.amazon.com/service-authorization/latest/reference/
 */
function needs({ service, action, params }: AwsCall): readonly string[] {
  const tags = [...params.keys()].some((key) => key.startsWith('TagSpecification.'))
  const passes = /^((Associate|Replace)IamInstanceProfile|AddRoleToInstanceProfile)/.test(action)
  return [
    `${service}:${action}`,
    ...(service === 'ec2' && tags ? ['ec2:CreateTags'] : []),
    ...(passes ? ['iam:PassRole'] : []),
  ]
}

/**
 * Nothing is asked for that is not declared, and nothing declared but what is asked for.
 * @param unreached what these runs do not come to, with the reason
 */
function expectDeclared(
  calls: readonly AwsCall[],
  { permissions }: Pick<Adapter<never>, 'permissions'>,
  unreached: Readonly<Record<string, string>>,
): void {
  const asked = new Set(calls.flatMap(needs))
  expect({
    undeclared: [...asked].filter((one) => !permissions.includes(one)).sort(),
    unused: permissions.filter((one) => isIamAction(one) && !asked.has(one)).sort(),
  }).toEqual({ undeclared: [], unused: Object.keys(unreached).sort() })
}

describe.skipIf(skipWithoutEmulators('permissions'))('what AWS adapters call', () => {
  const before = { ...process.env }
  afterAll(() => {
    process.env = before
  })

  describe('containment aws-ec2', () => {
    let moto: Emulator
    let proxy: RecordingProxy
    beforeAll(async () => {
      moto = await startMoto()
      proxy = await startRecordingProxy(moto.url)
      Object.assign(process.env, awsEnvironment(proxy.url))
    })
    afterAll(async () => {
      await proxy?.stop()
      await moto?.stop()
    })

    type Ec2 = Omit<Extract<Deployment, { kind: 'aws-ec2' }>, 'kind' | 'allow'>

    async function isolateAndRelease(deployment: Ec2): Promise<void> {
      const target: ContainmentTarget = {
        server: 'io.acme/crm',
        owner: 'crm-team',
        consumers: [],
        deployment: { kind: 'aws-ec2', allow: ['10.9.8.7/32'], ...deployment },
      }
      const run = operate({ adapter: awsEc2 as unknown as Containment, target })
      await run.check()
      const changes = await run.plan()
      await run.apply(changes)
      await run.collect()
      await run.verify()
      await run.drift(changes)
      expect((await run.undo(changes)).state).toBe('verified')
    }

    it('is what it declares', async () => {
      const { aws, group, instances } = await buildAwsWorld(moto.url, 1)
      const [instance = ''] = instances
      await aws.ec2.send(
        new CreateTagsCommand({ Resources: [instance], Tags: [{ Key: 'mcp-ir:case', Value: 'an-earlier-one' }] }),
      )
      await aws.scaling.send(
        new SetInstanceProtectionCommand({
          AutoScalingGroupName: group,
          InstanceIds: [instance],
          ProtectedFromScaleIn: true,
        }),
      )
      // moto knows no sessions: one that lives until it is ended.
      let sessions = [{ SessionId: 'mallory-1', Target: instance, Status: 'Connected' }]
      proxy.fault = ({ action }) => {
        if (action === 'TerminateSession') sessions = []
        return /Session/.test(action)
          ? { xml: JSON.stringify({ Sessions: sessions, SessionId: 'mallory-1' }) }
          : undefined
      }
      await isolateAndRelease({
        id: 'all',
        region: 'us-east-1',
        role: 'arn:aws:iam::123456789012:role/responder',
        autoScalingGroup: group,
        cut: 'hop',
        elasticIp: 'disassociate',
      })
      const other = await buildAwsWorld(moto.url, 1)
      await isolateAndRelease({ id: 'subnet', instances: [...other.instances], cut: 'nacl' })
      expectDeclared(proxy.calls, awsEc2, {
        'autoscaling:EnterStandby': 'only for an instance that was on standby before',
        'ec2:AssociateAddress': 'only for an interface that has an elastic address',
        'ec2:DeleteNetworkAclEntry': 'only when somebody put an entry into the network ACL that cuts off',
        'ec2:DisassociateAddress': 'only for an interface that has an elastic address',
        'ec2:AssociateIamInstanceProfile': 'only for an instance that lost its profile meanwhile',
        'ec2:DisassociateIamInstanceProfile': 'only where IAM lets us make no profile that denies everything',
        'ec2:RevokeSecurityGroupIngress': 'only when somebody put a rule into the isolation group',
      })
    })
  })

  describe('credentials of IAM', () => {
    let world: IamWorld
    let proxy: RecordingProxy
    beforeAll(async () => {
      world = await startIamWorld()
      proxy = await startRecordingProxy(world.emulator.url)
      world.become(root, proxy.url)
    })
    afterAll(async () => {
      await proxy?.stop()
      await world?.stop()
    })

    async function revokeAndRotate<C extends Credential>(
      adapter: Credentials<C>,
      target: CredentialTarget<C>,
    ): Promise<readonly AwsCall[]> {
      proxy.calls.length = 0
      for (const intent of ['revoke', 'rotate'] as const) {
        const call = callFor(target, intent)
        await adapter.check(call)
        const { journal } = await drive({ adapter, target }, { intent })
        // Which ministack lacks; that it was asked for is what counts here.
        expect(journal.failed.filter(({ change }) => change.action !== 'close-metadata')).toEqual([])
        const evidence = {
          ...call.evidence,
          put: async (name: string) => ({ name, sha256: '', bytes: 0, mediaType: '' }),
        }
        await adapter.collect?.({ ...call, evidence, changes: journal.planned ?? [], receipts: journal.applied })
      }
      await adapter.check(callFor(target, 'reinstate'))
      return [...proxy.calls]
    }

    it('is what aws-iam-user declares', async () => {
      const adapter = userCredentials(quick)
      const { target } = await world.newUser()
      const emulated = 'the emulator has none'
      expectDeclared(await revokeAndRotate(adapter, target), adapter, {
        'iam:DeleteAccessKey': 'only for a new key that could not be delivered',
        'iam:DeleteUserPolicy': 'only by undoing, which is refused while a stolen session could live',
        'iam:UpdateSSHPublicKey': emulated,
        'iam:UpdateServiceSpecificCredential': emulated,
        'iam:UpdateSigningCertificate': emulated,
      })
    })

    it('is what aws-iam-role declares', async () => {
      const adapter = roleCredentials(quick)
      const { target, name } = await world.newRole(['io.acme/mail'])
      await world.iam.send(new CreateInstanceProfileCommand({ InstanceProfileName: name }))
      await world.iam.send(new AddRoleToInstanceProfileCommand({ InstanceProfileName: name, RoleName: name }))
      const ec2 = new EC2Client(world.config(root))
      const { Images } = await ec2.send(new DescribeImagesCommand({}))
      const { Instances } = await ec2.send(
        new RunInstancesCommand({
          ImageId: Images?.[0]?.ImageId,
          MinCount: 1,
          MaxCount: 1,
          IamInstanceProfile: { Name: name },
        }),
      )
      const deployment: Deployment = {
        id: 'prod',
        kind: 'aws-ec2',
        region: 'us-east-1',
        instances: [Instances?.[0]?.InstanceId ?? ''],
        cut: 'auto',
        allow: [],
      }
      expectDeclared(await revokeAndRotate(adapter, { ...target, deployments: [deployment] }), adapter, {
        'iam:DeleteRolePolicy': 'only by undoing, which is refused while a stolen session could live',
      })
    })
  })
})
