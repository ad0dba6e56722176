import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import {
  AddUserToGroupCommand,
  AttachUserPolicyCommand,
  CreateGroupCommand,
  CreatePolicyCommand,
  CreateRoleCommand,
  CreateUserCommand,
  IAMClient,
  PutGroupPolicyCommand,
  PutRolePolicyCommand,
  PutUserPermissionsBoundaryCommand,
  PutUserPolicyCommand,
} from '@aws-sdk/client-iam'
import {
  AttachPolicyCommand,
  CreateAccountCommand,
  CreatePolicyCommand as CreateControlPolicyCommand,
  CreateOrganizationCommand,
  EnablePolicyTypeCommand,
  ListRootsCommand,
  OrganizationsClient,
} from '@aws-sdk/client-organizations'
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { CouldReach } from '../../src/blast-radius/port.ts'
import { userCredentials } from '../../src/credentials/aws-iam-user.ts'
import { drive } from '../contracts/credentials.ts'
import { anybody, quick, root, startIamWorld, type UserTarget } from '../credentials/aws-iam-world.ts'
import { awsEnvironment } from '../testbed/aws-world.ts'
import { mcpIr, workplace } from '../testbed/cli.ts'
import { startOpenbao } from '../testbed/openbao.ts'
import { skipWithoutEmulators, startMoto } from '../testbed/python.ts'
import { freePort } from '../testbed/server-everything.ts'

const policy = (...Statement: object[]) => JSON.stringify({ Version: '2012-10-17', Statement })
const allow = (Action: string | string[], Resource: string | string[] = '*', more: object = {}) => ({
  Effect: 'Allow',
  Action,
  Resource,
  ...more,
})

const server = (name: string, credentials: string, more = '') => `
  - name: ${name}
    version: 1.0.0
    status: approved
    owner: ${name}-team
    knownGood: 2026-11-20T00:00:00Z
    package: {registryType: npm, identifier: x, version: 1.0.0}
    deployments: []
    credentials: [${credentials}]${more}`

function placeOf(registry: string): string {
  const folder = workplace(
    `servers:${registry}\n`,
    'invocations: {kind: files, path: "./logs/*.ndjson", format: otel}\n',
  )
  mkdirSync(join(folder, 'logs'))
  writeFileSync(join(folder, 'logs', 'a.ndjson'), '', { mode: 0o600 })
  return folder
}

/** `group: actions on resources`, entry by entry. */
const told = ({ permissions = [] }: CouldReach) =>
  permissions.map(
    ({ group, actions, resources, except = [], condition }) =>
      `${group}: ${actions.join(' ')} on ${resources.join(' ')}${except.length === 0 ? '' : ` but ${except.join(' ')}`}${condition === undefined ? '' : ` if ${condition}`}`,
  )

interface Output {
  readonly code: number
  readonly couldReach: readonly CouldReach[]
  readonly owners: readonly string[]
  readonly gaps: readonly string[]
}

async function reachOf(folder: string, env: Readonly<Record<string, string>>): Promise<Output> {
  const ran = await mcpIr(['blast-radius', 'crm', '--json'], { cwd: folder, env })
  expect(ran.stderr).not.toMatch(/ {4}at /)
  return { ...ran.json.result.output, code: ran.code }
}

describe('an issuer that nobody set up', () => {
  it.each([
    ['AWS', '{id: bot, kind: aws-iam-user, user: crm-bot}'],
    ['Vault', '{id: bot, kind: vault-approle, mount: approle, role: crm}'],
  ])('%s: is a gap, as the registry stands alone', async (_, credential) => {
    const reaches = '\n    reaches: [{system: mail-relay, kind: smtp, via: bot, access: write}]'
    const folder = placeOf(server('crm', credential, reaches))
    const { code, couldReach, gaps } = await reachOf(folder, {
      AWS_REGION: 'us-east-1',
      AWS_EC2_METADATA_DISABLED: 'true',
    })
    expect(code).toBe(0)
    expect(couldReach.map(({ system }) => system)).toEqual(['mail-relay'])
    expect(gaps).toContainEqual(expect.stringMatching(/^What bot opens could not be asked/))
  })
})

describe('an issuer that is down', () => {
  it.each([
    ['AWS', '{id: bot, kind: aws-iam-user, user: crm-bot}', 'AWS_ENDPOINT_URL'],
    ['Vault', '{id: bot, kind: vault-approle, mount: approle, role: crm}', 'VAULT_ADDR'],
  ])('%s: what is in the registry is listed, and that nobody was asked is loud', async (_, credential, address) => {
    const reaches = '\n    reaches: [{system: mail-relay, kind: smtp, via: bot, access: write}]'
    const folder = placeOf(server('crm', credential, reaches))
    // Where nothing listens: a port that was just free.
    const env = {
      ...awsEnvironment(`http://127.0.0.1:${await freePort()}`),
      VAULT_TOKEN: 'x',
      [address]: `http://127.0.0.1:${await freePort()}`,
    }
    const { code, couldReach, gaps } = await reachOf(folder, env)
    expect(code).toBe(3)
    expect(couldReach.map(({ system }) => system)).toEqual(['mail-relay'])
    const told = /^What bot opens could not be asked \(.*\): only what the registry says is listed\.$/
    expect(gaps).toContainEqual(expect.stringMatching(told))
  })
})

describe.skipIf(skipWithoutEmulators('what a credential opens'))('what AWS says that a credential opens', () => {
  let world: Awaited<ReturnType<typeof startIamWorld>>
  beforeAll(async () => {
    world = await startIamWorld()
  })
  afterAll(() => world?.stop())

  it('is that of its policies, groups and boundary, and the same after it was revoked', async () => {
    const { iam } = world
    const UserName = 'crm-bot'
    await iam.send(new CreateUserCommand({ UserName }))
    const mfa = { Condition: { Bool: { 'aws:MultiFactorAuthPresent': 'true' } } }
    const own = policy(
      allow('s3:GetObject', 'arn:aws:s3:::crm/*'),
      allow('s3:DeleteObject', 'arn:aws:s3:::crm/*', mfa),
      allow('iam:CreateAccessKey', '*'),
    )
    await iam.send(new PutUserPolicyCommand({ UserName, PolicyName: 'own', PolicyDocument: own }))
    await iam.send(new CreateGroupCommand({ GroupName: 'mcp' }))
    const ofGroup = policy(allow('sqs:SendMessage'), {
      ...allow('s3:GetObject', 'arn:aws:s3:::crm/hr/*'),
      Effect: 'Deny',
    })
    await iam.send(new PutGroupPolicyCommand({ GroupName: 'mcp', PolicyName: 'group', PolicyDocument: ofGroup }))
    await iam.send(new AddUserToGroupCommand({ GroupName: 'mcp', UserName }))
    const managed = async (PolicyName: string, PolicyDocument: string) =>
      (await iam.send(new CreatePolicyCommand({ PolicyName, PolicyDocument }))).Policy?.Arn ?? ''
    const PolicyArn = await managed('crm-data', policy(allow(['dynamodb:GetItem', 'ec2:RunInstances'])))
    await iam.send(new AttachUserPolicyCommand({ UserName, PolicyArn }))
    const PermissionsBoundary = await managed('mcp-limits', policy(allow(['s3:*', 'sqs:*', 'dynamodb:*', 'iam:*'])))
    await iam.send(new PutUserPermissionsBoundaryCommand({ UserName, PermissionsBoundary }))
    await world.newKey(UserName)

    const folder = placeOf(server('crm', `{id: bot, kind: aws-iam-user, user: ${UserName}}`))
    const env = { ...world.environment(root), AWS_REGION: 'us-east-1' }
    const before = await reachOf(folder, env)
    expect(before.code).toBe(0)
    const expected = [
      'escalate: iam:CreateAccessKey on *',
      'persist: iam:CreateAccessKey on *',
      'read data: dynamodb:GetItem on *',
      'read data: s3:GetObject on arn:aws:s3:::crm/* but arn:aws:s3:::crm/hr/*',
      'change: sqs:SendMessage on *',
      'change: s3:DeleteObject on arn:aws:s3:::crm/* if aws:MultiFactorAuthPresent is true',
    ]
    expect(before.couldReach).toMatchObject([
      { system: 'AWS account 000000000000', kind: 'aws', via: 'bot', access: 'read-write' },
    ])
    expect(before.couldReach.map(told)).toEqual([expected])
    expect(before.gaps.join('\n')).toContain('were not read')

    const target: UserTarget = {
      server: 'crm',
      credential: { id: 'bot', kind: 'aws-iam-user', user: UserName },
      sharedWith: [],
    }
    // The adapter itself, which does not look again after a minute here.
    const { journal } = await drive({ adapter: userCredentials(quick), target }, { intent: 'revoke' })
    expect(journal.failed).toEqual([])
    expect((await world.policies(UserName)).length).toBe(2)
    expect((await reachOf(folder, env)).couldReach.map(told)).toEqual([expected])
  })

  it('goes on to what others keep in a secret that a role may read; a role that is gone is a gap', async () => {
    const { iam } = world
    await iam.send(new CreateRoleCommand({ RoleName: 'crm-role', AssumeRolePolicyDocument: anybody }))
    const PolicyDocument = policy(
      allow('secretsmanager:GetSecretValue', 'arn:aws:secretsmanager:us-east-1:000000000000:secret:mcp/*'),
    )
    await iam.send(new PutRolePolicyCommand({ RoleName: 'crm-role', PolicyName: 'secrets', PolicyDocument }))
    const folder = placeOf(
      server(
        'crm',
        '{id: role, kind: aws-iam-role, role: crm-role}, {id: gone, kind: aws-iam-role, role: no-such-role}',
      ) +
        server(
          'billing',
          '{id: smtp, kind: aws-secret, secret: mcp/smtp}, {id: hr, kind: aws-secret, secret: hr/db}',
          '\n    reaches: [{system: mail-relay, kind: smtp, via: smtp, access: write, data: [invoices]}]',
        ),
    )
    const found = await reachOf(folder, { ...world.environment(root), AWS_REGION: 'us-east-1' })
    expect(found.couldReach.map(({ system, via }) => `${system}: ${via}`)).toEqual([
      'AWS account 000000000000: role',
      'whatever gone opens: gone',
      'mail-relay: role → AWS secret mcp/smtp → smtp of billing',
    ])
    expect(found.owners).toEqual(['crm-team', 'billing-team'])
    expect(found.gaps.join('\n')).toContain('There is no role no-such-role')
  })

  it('is a gap when AWS does not let us read it', async () => {
    const { iam } = world
    await iam.send(new CreateUserCommand({ UserName: 'blind-responder' }))
    const only = policy(allow(['iam:GetRole', 'iam:ListRolePolicies', 'sts:GetCallerIdentity']))
    await iam.send(new PutUserPolicyCommand({ UserName: 'blind-responder', PolicyName: 'only', PolicyDocument: only }))
    const keys = await world.newKey('blind-responder')
    const folder = placeOf(server('crm', '{id: role, kind: aws-iam-role, role: crm-role}'))
    const found = await reachOf(folder, { ...world.environment(keys), AWS_REGION: 'us-east-1' })
    const gaps = found.gaps.join('\n')
    expect(found.code).toBe(3)
    expect(gaps).toMatch(/policy secrets of role crm-role could not be read \(AccessDenied/)
    expect(gaps).toMatch(/the list of attached policies of role crm-role could not be read/)
  })
})

/** moto knows no delegated administrator of an organization: whoever asks here, asks as its own account. */
async function asOrganization(url: string): Promise<{ readonly url: string; readonly stop: () => Promise<void> }> {
  const proxy = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const headers = new Headers()
    for (const [name, value] of Object.entries(request.headers))
      if (typeof value === 'string' && !/^(host|connection|content-length|x-amz-security-token)$/.test(name))
        headers.set(name, value.replace(/Credential=[^/]+/, 'Credential=test'))
    const answer = await fetch(url, { method: 'POST', headers, body: Buffer.concat(chunks) })
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' })
    response.end(Buffer.from(await answer.arrayBuffer()))
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    stop: () => new Promise((resolve) => proxy.close(() => resolve())),
  }
}

describe.skipIf(skipWithoutEmulators('what a credential opens in an organization'))('in an organization', () => {
  it('policies of every level above the account bind', async () => {
    const moto = await startMoto()
    try {
      const config = {
        endpoint: moto.url,
        region: 'us-east-1',
        credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
      }
      const organizations = new OrganizationsClient(config)
      await organizations.send(new CreateOrganizationCommand({ FeatureSet: 'ALL' }))
      const { Roots } = await organizations.send(new ListRootsCommand({}))
      const RootId = Roots?.[0]?.Id ?? ''
      await organizations.send(new EnablePolicyTypeCommand({ RootId, PolicyType: 'SERVICE_CONTROL_POLICY' }))
      const { CreateAccountStatus } = await organizations.send(
        new CreateAccountCommand({ AccountName: 'work', Email: 'work@acme.example' }),
      )
      const account = CreateAccountStatus?.AccountId ?? ''
      const { Policy } = await organizations.send(
        new CreateControlPolicyCommand({
          Name: 'no-ec2',
          Description: 'none',
          Type: 'SERVICE_CONTROL_POLICY',
          Content: policy({ ...allow('ec2:*'), Effect: 'Deny' }),
        }),
      )
      await organizations.send(new AttachPolicyCommand({ PolicyId: Policy?.PolicySummary?.Id, TargetId: account }))
      const { Credentials } = await new STSClient(config).send(
        new AssumeRoleCommand({ RoleArn: `arn:aws:iam::${account}:role/responder`, RoleSessionName: 'ir' }),
      )
      const env = {
        ...awsEnvironment(moto.url),
        AWS_ACCESS_KEY_ID: Credentials?.AccessKeyId ?? '',
        AWS_SECRET_ACCESS_KEY: Credentials?.SecretAccessKey ?? '',
        AWS_SESSION_TOKEN: Credentials?.SessionToken ?? '',
      }
      const there = new IAMClient({
        ...config,
        credentials: {
          accessKeyId: env.AWS_ACCESS_KEY_ID,
          secretAccessKey: env.AWS_SECRET_ACCESS_KEY,
          sessionToken: env.AWS_SESSION_TOKEN,
        },
      })
      await there.send(new CreateRoleCommand({ RoleName: 'crm', AssumeRolePolicyDocument: anybody }))
      const PolicyDocument = policy(allow(['ec2:RunInstances', 's3:GetObject']))
      await there.send(new PutRolePolicyCommand({ RoleName: 'crm', PolicyName: 'own', PolicyDocument }))
      const folder = placeOf(server('crm', '{id: role, kind: aws-iam-role, role: crm}'))
      // Who is in the account and nothing more, may not read them.
      const blind = await reachOf(folder, env)
      expect(blind.gaps.join('\n')).toMatch(
        /service control policies of the organization of role crm could not be read/,
      )
      expect(blind.couldReach).toMatchObject([{ system: `AWS account ${account}`, access: 'read-write' }])

      const delegated = await asOrganization(moto.url)
      const found = await reachOf(folder, { ...env, AWS_ENDPOINT_URL_ORGANIZATIONS: delegated.url })
      await delegated.stop()
      expect(found.couldReach).toMatchObject([{ system: `AWS account ${account}`, access: 'read' }])
      expect(found.couldReach.map(told)).toEqual([['read data: s3:GetObject on *']])
    } finally {
      await moto.stop()
    }
  })
})

describe.skipIf(skipWithoutEmulators('what a Vault login opens'))('what Vault says that a login opens', () => {
  it('is followed to the credentials of others, and is the same after it was revoked', async () => {
    const bao = await startOpenbao()
    try {
      await bao.ok('POST', 'sys/auth/approle', { type: 'approle' })
      const rules = `
        path "secret/data/crm/*" { capabilities = ["read"] }
        path "secret/data/+/smtp" { capabilities = ["read", "update"] }
        path "secret/data/hr/*" { capabilities = ["deny"] }
        path "auth/approle/role/billing/secret-id" { capabilities = ["update"] }`
      await bao.ok('PUT', 'sys/policies/acl/crm', { policy: rules })
      await bao.ok('PUT', 'sys/policies/acl/billing', {
        policy: 'path "database/creds/ledger" { capabilities = ["read"] }',
      })
      for (const role of ['crm', 'billing'])
        await bao.ok('POST', `auth/approle/role/${role}`, { token_policies: [role], token_ttl: '1h' })
      const { data } = await bao.ok('GET', 'auth/approle/role/crm/role-id')
      const made = await bao.ok('POST', 'auth/approle/role/crm/secret-id')
      await bao.ok('POST', 'auth/approle/login', { role_id: data.role_id, secret_id: made.data.secret_id }, '')

      const folder = placeOf(
        server('crm', '{id: vault, kind: vault-approle, mount: approle, role: crm}') +
          server(
            'billing',
            '{id: vault, kind: vault-approle, mount: approle, role: billing}, {id: smtp, kind: vault-kv, mount: secret, path: billing/smtp}, {id: ledger, kind: vault-database, mount: database, role: ledger}',
            `
    reaches:
      - {system: mail-relay, kind: smtp, via: smtp, access: write}
      - {system: ledger-db, kind: database, via: ledger, access: read-write, data: [invoices]}`,
          ) +
          server('hr', '{id: smtp, kind: vault-kv, mount: secret, path: hr/smtp}'),
      )
      const env = { VAULT_ADDR: bao.url, VAULT_TOKEN: bao.root }
      const { host } = new URL(bao.url)
      const before = await reachOf(folder, env)
      expect(before.code).toBe(0)
      expect(before.couldReach.map(({ system, via, access }) => `${system} (${access}): ${via}`)).toEqual([
        `Vault ${host} (read-write): vault`,
        `Vault ${host} (read): vault → Vault auth/approle/role/billing/secret-id (policy crm) → vault of billing`,
        'mail-relay (write): vault → Vault secret/data/billing/smtp (policy crm) → smtp of billing',
        'ledger-db (read-write): vault → Vault auth/approle/role/billing/secret-id (policy crm) → vault of billing → Vault database/creds/ledger (policy billing) → ledger of billing',
      ])
      expect(told(before.couldReach[0] as CouldReach)).toEqual([
        'escalate: update on auth/approle/role/billing/secret-id',
        'persist: update on auth/approle/role/billing/secret-id',
        'read data: read on secret/data/+/smtp secret/data/crm/* but secret/data/hr/*',
        'change: update on secret/data/+/smtp but secret/data/hr/*',
      ])

      const config = join(folder, 'mcp-ir.yaml')
      const revoked = await mcpIr(['revoke', 'crm', '--yes', '--json', '--config', config], { cwd: folder, env })
      expect(revoked.json.result.output.credentials).toMatchObject([{ id: 'vault', state: 'dead' }])
      const after = await reachOf(folder, env)
      expect(after.couldReach).toEqual(before.couldReach)

      const closed = await reachOf(folder, { ...env, VAULT_TOKEN: 'nobody' })
      expect(closed.couldReach.map(({ system }) => system)).toEqual(['whatever vault opens'])
      expect(closed.gaps.join('\n')).toContain('What vault opens could not be asked')
      expect(closed.code).toBe(3)
    } finally {
      await bao.stop()
    }
  })
})
