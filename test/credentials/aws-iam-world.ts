import { mkdtempSync, readFileSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import {
  CreateAccessKeyCommand,
  CreateRoleCommand,
  CreateUserCommand,
  IAMClient,
  ListAccessKeysCommand,
  ListRolePoliciesCommand,
  ListUserPoliciesCommand,
  ListUsersCommand,
  PutRolePolicyCommand,
  PutUserPolicyCommand,
} from '@aws-sdk/client-iam'
import { AssumeRoleCommand, type Credentials, GetSessionTokenCommand, STSClient } from '@aws-sdk/client-sts'
import { vi } from 'vitest'
import type { CredentialTarget } from '../../src/credentials/port.ts'
import type { CredentialOf } from '../../src/registry/port.ts'
import { type Emulator, startMinistack } from '../testbed/python.ts'

export interface Keys {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string | undefined
}

export const root: Keys = { accessKeyId: 'test', secretAccessKey: 'test' }
/** For adapters that are not to wait. */
export const quick = { secondLookMs: 0, probes: 3, pauseMs: 10 }

/** Until `vi.restoreAllMocks`: the pauses between tries, of which half is left to chance (aws/clients.ts), last no time. */
export function withoutPauses(): void {
  vi.spyOn(Math, 'random').mockReturnValue(-1)
}

const anything = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }],
})
export const anybody = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { AWS: '*' }, Action: 'sts:AssumeRole' }],
})

export type IamWorld = Awaited<ReturnType<typeof startIamWorld>>
export type UserTarget = CredentialTarget<CredentialOf<'aws-iam-user'>>
type RoleTarget = CredentialTarget<CredentialOf<'aws-iam-role'>>

/** An account in an IAM that really evaluates policies, and a client of the test's own. */
export async function startIamWorld() {
  const emulator: Emulator = await startMinistack({ auth: true })
  const folder = mkdtempSync(join(tmpdir(), 'mcp-ir-iam-'))
  const before = { ...process.env }
  let count = 0
  const iam = new IAMClient(config(root))

  function config(credentials: Keys) {
    return {
      region: 'us-east-1',
      endpoint: emulator.url,
      maxAttempts: 1,
      credentials: credentials as { accessKeyId: string; secretAccessKey: string },
    }
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

  /** Whom the adapter finds in the environment, and where. */
  function become(keys: Keys, url = emulator.url): void {
    for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name]
    Object.assign(process.env, environment(keys), { AWS_ENDPOINT_URL: url })
  }
  become(root)

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

  async function newUser(): Promise<{ name: string; key: Keys; target: UserTarget }> {
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

  const keysOf = (found: Partial<Credentials> = {}): Keys => ({
    accessKeyId: found.AccessKeyId ?? '',
    secretAccessKey: found.SecretAccessKey ?? '',
    sessionToken: found.SessionToken,
  })

  async function session(of: Keys): Promise<Keys> {
    return keysOf((await new STSClient(config(of)).send(new GetSessionTokenCommand({}))).Credentials)
  }

  async function newRole(sharedWith: readonly string[] = []) {
    const name = `crm-role-${++count}`
    const { Role } = await iam.send(
      new CreateRoleCommand({ RoleName: name, Path: '/mcp/', AssumeRolePolicyDocument: anybody }),
    )
    await iam.send(new PutRolePolicyCommand({ RoleName: name, PolicyName: 'allow', PolicyDocument: anything }))
    const target: RoleTarget = {
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

  return {
    emulator,
    folder,
    iam,
    config,
    environment,
    become,
    works,
    newKey,
    newUser,
    session,
    newRole,
    assume,
    keysListed,
    active: async (UserName: string) =>
      (await keysListed(UserName)).filter(({ Status }) => Status === 'Active').map(({ AccessKeyId }) => AccessKeyId),
    policies: async (UserName: string) => (await iam.send(new ListUserPoliciesCommand({ UserName }))).PolicyNames ?? [],
    rolePolicies: async (RoleName: string) =>
      (await iam.send(new ListRolePoliciesCommand({ RoleName }))).PolicyNames ?? [],
    /** The pair at the destination, as its new holder reads it. */
    delivered(target: { deliverTo?: unknown }): Keys {
      const env = parseEnv(readFileSync((target.deliverTo as { path: string }).path, 'utf8'))
      return {
        accessKeyId: env.CRM_USER_ACCESS_KEY_ID ?? '',
        secretAccessKey: env.CRM_USER_SECRET_ACCESS_KEY ?? '',
      }
    },
    async stop(): Promise<void> {
      await emulator.stop()
      await rm(folder, { recursive: true, force: true })
      process.env = before
    },
  }
}
