import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CreateUserCommand, PutUserPolicyCommand } from '@aws-sdk/client-iam'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { userCredentials } from '../../src/credentials/aws-iam-user.ts'
import type { DoctorRow } from '../../src/doctor.ts'
import { type AwsNeed, awsRows } from '../../src/doctor-aws.ts'
import { iamPolicy } from '../../src/doctor-policy.ts'
import { serverSchema } from '../../src/registry/schema.ts'
import { drive } from '../contracts/credentials.ts'
import { type IamWorld, type Keys, quick, startIamWorld } from '../credentials/aws-iam-world.ts'
import { type AwsWorld, awsEnvironment, buildAwsWorld } from '../testbed/aws-world.ts'
import { mcpIr, type Ran, workplace } from '../testbed/cli.ts'
import { type Emulator, skipWithoutEmulators, startMoto } from '../testbed/python.ts'
import { type RecordingProxy, startRecordingProxy } from '../testbed/recording-proxy.ts'

const skip = skipWithoutEmulators('doctor of AWS')

describe.skipIf(skip)('the least policy, in an IAM that really evaluates policies', () => {
  let world: IamWorld
  beforeAll(async () => {
    world = await startIamWorld()
  })
  afterAll(() => world?.stop())

  const adapter = userCredentials(quick)

  async function responder(UserName: string, policy: unknown): Promise<Keys> {
    await world.iam.send(new CreateUserCommand({ UserName }))
    await world.iam.send(
      new PutUserPolicyCommand({ UserName, PolicyName: 'respond', PolicyDocument: JSON.stringify(policy) }),
    )
    return world.newKey(UserName)
  }

  const policyFor = (user: string) =>
    iamPolicy(
      [{ adapter: 'credentials/aws-iam-user', permissions: adapter.permissions }],
      [
        serverSchema.parse({
          name: 'io.acme/crm',
          version: '1.0.0',
          status: 'approved',
          owner: 'o',
          package: { registryType: 'npm', identifier: 'crm', version: '1.0.0' },
          deployments: [],
          credentials: [{ id: 'u', kind: 'aws-iam-user', user }],
        }),
      ],
    ).policy

  const need = (name: string): AwsNeed => ({
    id: 'bot',
    adapter: 'credentials/aws-iam-user',
    permissions: adapter.permissions,
    scope: { region: 'us-east-1' },
    about: { kind: 'user', name },
  })

  const rows = (needs: readonly AwsNeed[]): Promise<readonly DoctorRow[]> =>
    awsRows(needs, new AbortController().signal)

  it('is enough to revoke and rotate the user it is for, and of no use for another', async () => {
    const [own, other] = [await world.newUser(), await world.newUser()]
    const keys = await responder('responder', policyFor(own.name))
    world.become(keys)

    const found = await rows([need(own.name)])
    expect(found.map(({ state }) => state)).toEqual(['ok', 'ok'])
    expect(found[0]?.detail).toContain('arn:aws:iam::000000000000:user/responder, region us-east-1')

    for (const intent of ['revoke', 'rotate'] as const) {
      const { journal } = await drive({ adapter, target: own.target }, { intent })
      expect([journal.failed, journal.applied.size > 0]).toEqual([[], true])
    }
    expect(await world.works(own.key)).toBe(false)

    await expect(drive({ adapter, target: other.target }, { intent: 'revoke' })).rejects.toMatchObject({
      code: 'denied',
    })
    expect(await world.works(other.key)).toBe(true)
    expect((await rows([need(other.name)]))[1]).toMatchObject({ state: 'failed' })
  })

  it('names what is not permitted, and takes no silence for a yes', async () => {
    const { name } = await world.newUser()
    const policy = policyFor(name)
    const without = (action: string) => ({
      ...policy,
      Statement: policy.Statement.map((one) => ({
        ...one,
        Action: one.Action.filter((each) => each !== action),
      })).filter(({ Action }) => Action.length > 0),
    })
    world.become(await responder('half', without('iam:UpdateAccessKey')))
    const [, half] = await rows([need(name)])
    expect(half?.state).toBe('failed')
    expect(half?.detail).toMatch(/not permitted to .*user\/half.*: iam:UpdateAccessKey$/)

    world.become(await responder('mute', without('iam:SimulatePrincipalPolicy')))
    const [, mute] = await rows([need(name)])
    expect(mute?.state).toBe('warning')
    expect(mute?.detail).toMatch(/^credentials\/aws-iam-user: could not be asked: .*is not known$/)
    expect(mute?.detail).not.toContain('actions permitted')

    world.become({ accessKeyId: 'AKIANOBODY0000000000', secretAccessKey: 'x' })
    expect((await rows([need(name)])).map(({ state }) => state)).toEqual(['failed'])
  })
})

describe.skipIf(skip)('doctor SERVER, by the command', () => {
  let moto: Emulator
  let proxy: RecordingProxy
  let world: AwsWorld
  beforeAll(async () => {
    moto = await startMoto()
    proxy = await startRecordingProxy(moto.url)
    world = await buildAwsWorld(moto.url, 1)
  })
  afterAll(async () => {
    await proxy?.stop()
    await moto?.stop()
  })

  const registry = (more = ''): string => `
servers:
  - name: io.acme/crm
    version: 1.0.0
    status: approved
    owner: crm-team
    package: {registryType: npm, identifier: crm, version: 1.0.0}
    deployments: [{id: prod, kind: aws-ec2, autoScalingGroup: ${world.group}}]
    credentials: [{id: bot, kind: aws-iam-user, user: crm-bot}]
${more}`

  // Nothing but the configuration says where.
  const { AWS_REGION: _, ...environment } = awsEnvironment('')
  const run = (folder: string, ...args: string[]): Promise<Ran> =>
    mcpIr(args, { cwd: folder, env: { ...environment, AWS_ENDPOINT_URL: proxy.url } })
  const rowsOf = ({ json }: Ran): DoctorRow[] => json.result.checks
  const row = (ran: Ran, check: string) => rowsOf(ran).find((one) => one.check === check)

  it('says who we are and where, asks for the cut without doing it, and changes nothing', async () => {
    const folder = workplace(registry(), 'aws: {region: us-east-1}\n')
    proxy.calls.length = 0
    const ran = await run(folder, 'doctor', 'io.acme/crm', '--json', '--config', join(folder, 'mcp-ir.yaml'))
    expect(row(ran, 'AWS identity'), ran.stdout + ran.stderr).toMatchObject({
      state: 'ok',
      detail: expect.stringMatching(/^arn:aws:sts::123456789012:.*, region us-east-1$/),
    })
    // moto has no simulation: that is no answer.
    expect(row(ran, 'permissions prod')).toMatchObject({
      state: 'warning',
      detail: expect.stringContaining('could not be asked'),
    })
    // moto knows no SSM, which stops nothing.
    const states = rowsOf(ran).flatMap(({ check, state }) => (check === 'deployment prod' ? [state] : []))
    expect([states.length > 0, states.includes('failed')]).toEqual([true, false])
    expect(proxy.calls.filter(({ params }) => params.get('DryRun') === 'true').length).toBeGreaterThan(2)
    expect(proxy.calls.filter(({ changes }) => changes)).toEqual([])
  })

  it('says what EC2 denies, and what has no region', async () => {
    proxy.fault = ({ action, params }) =>
      action === 'ModifyNetworkInterfaceAttribute' && params.get('DryRun') === 'true'
        ? { deny: 'UnauthorizedOperation' }
        : undefined
    const denied = await run(workplace(registry(), 'aws: {region: us-east-1}\n'), 'doctor', 'io.acme/crm', '--json')
    proxy.fault = () => undefined
    expect(denied.code).toBe(3)
    expect(rowsOf(denied)).toContainEqual(
      expect.objectContaining({
        check: 'deployment prod',
        state: 'failed',
        detail: expect.stringContaining('ec2:ModifyNetworkInterfaceAttribute is not permitted'),
      }),
    )
    const nowhere = await run(workplace(registry()), 'doctor', 'io.acme/crm', '--json')
    expect(row(nowhere, 'AWS identity')).toMatchObject({
      state: 'failed',
      detail: expect.stringContaining('no AWS region'),
      hint: expect.stringContaining('aws.region'),
    })
  })

  it('looks at the configuration files of the clients', async () => {
    const folder = workplace(registry('    clients: [./good/mcp.json, ./bad/mcp.json, ./gone/mcp.json]\n'))
    const entry = { mcpServers: { 'io.acme/crm': { command: 'npx', args: ['crm'] } } }
    for (const [name, text] of [
      ['good', JSON.stringify(entry)],
      ['bad', '{"mcpServers": '],
    ] as const) {
      await mkdir(join(folder, name))
      await writeFile(join(folder, name, 'mcp.json'), text)
    }
    const ran = await run(folder, 'doctor', 'io.acme/crm', '--json')
    const states = rowsOf(ran)
      .filter(({ check }) => check.startsWith('client '))
      .map(({ check, state }) => [check.split('/').at(-2), state])
    expect(states).toEqual([
      ['good', 'ok'],
      ['bad', 'warning'],
      ['gone', 'warning'],
    ])
  })

  it('prints the least policy as a document that can be used as it is', async () => {
    const folder = workplace(registry())
    proxy.calls.length = 0
    const printed = await run(folder, 'doctor', 'io.acme/crm', '--iam-policy')
    expect(printed.code, printed.stderr).toBe(0)
    const policy = JSON.parse(printed.stdout)
    expect(Object.keys(policy)).toEqual(['Version', 'Statement'])
    const actions = policy.Statement.flatMap(({ Action }: { Action: string[] }) => Action)
    for (const action of actions) expect(action).toMatch(/^[a-z0-9-]+:[A-Z]\w+$/)
    expect(actions).toEqual(expect.arrayContaining(['ec2:ModifyNetworkInterfaceAttribute', 'iam:UpdateAccessKey']))
    expect(JSON.stringify(policy)).toContain('arn:aws:iam::*:user/crm-bot')
    expect(printed.stderr).toContain('iam:PassRole')

    const json = (await run(folder, 'doctor', 'io.acme/crm', '--iam-policy', '--json')).json
    expect(json).toMatchObject({ schema: 'mcp-ir/doctor/1', status: 'done', result: { policy } })
    const all = await run(folder, 'doctor', '--iam-policy')
    expect(all.stdout).toContain('CredentialsAwsIamRole')
    expect((await run(folder, 'doctor', 'io.acme/cmr', '--iam-policy')).code).toBe(2)
    expect(proxy.calls).toEqual([])
  })
})
