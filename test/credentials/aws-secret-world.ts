import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import {
  CreateSecretCommand,
  DescribeSecretCommand,
  GetSecretValueCommand,
  ListSecretVersionIdsCommand,
  PutSecretValueCommand,
  SecretsManagerClient,
  UpdateSecretVersionStageCommand,
} from '@aws-sdk/client-secrets-manager'
import type { CredentialTarget } from '../../src/credentials/port.ts'
import type { CredentialOf } from '../../src/registry/port.ts'
import { type AwsEnvironment, awsEnvironment } from '../testbed/aws-world.ts'

export type SecretTarget = CredentialTarget<CredentialOf<'aws-secret'>>

/**
 * moto, with a stand-in for the one call that it does not make as AWS documents it: its RotateSecret forgets the function when it
 * is not named again, runs none, and refuses in just the opposite of the cases in which AWS does. So RotateSecret is answered
 * here, by the published rules, and the function is the test's own; versions, values and labels are moto's.
 */
export interface SecretsWorld {
  readonly environment: AwsEnvironment
  /** The test's own client, past the stand-in. */
  readonly aws: SecretsManagerClient
  /** What is done when a secret is rotated: by its name. Without one a secret has no rotation function. */
  readonly functions: Map<string, RotationFunction>
  /** Calls that could have changed something, and that got through. */
  readonly calls: { readonly name: string; readonly body: Body }[]
  fault: (
    name: string,
    body: Body,
  ) => 'throttled' | '5xx' | 'denied' | 'invalid' | 'reset-before' | 'reset-after' | undefined
  create(text: string): Promise<string>
  value(name: string, stage?: string): Promise<string | undefined>
  /** Labels of every version, the ones of no label left out. */
  labels(name: string): Promise<Record<string, string>>
  readonly stop: () => Promise<void>
}

/** What the SDK reads from the environment. @returns what puts it back */
export function actAsAws({ environment }: SecretsWorld): () => void {
  const before = { ...process.env }
  Object.assign(process.env, environment)
  return () => {
    for (const name of Object.keys(environment)) {
      if (before[name] === undefined) delete process.env[name]
      else process.env[name] = before[name]
    }
  }
}

/** @returns the new value; undefined: it fails, and leaves the label AWSPENDING behind */
type RotationFunction = (current: string) => string | undefined

interface Body {
  readonly SecretId?: string
  readonly ClientRequestToken?: string
  readonly SecretString?: string
}

const reads = new Set(['DescribeSecret', 'GetSecretValue', 'ListSecretVersionIds'])

export async function startSecretsWorld(moto: string): Promise<SecretsWorld> {
  const aws = new SecretsManagerClient({
    endpoint: moto,
    region: 'us-east-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  })
  const server = createServer((incoming, outgoing) => {
    void (async () => {
      const bytes = await buffer(incoming)
      const body = JSON.parse(bytes.toString('utf8')) as Body
      const name = String(incoming.headers['x-amz-target']).replace('secretsmanager.', '')
      const answer = (status: number, content: object): void => {
        outgoing.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' })
        outgoing.end(JSON.stringify(content))
      }
      const fault = world.fault(name, body)
      if (fault === 'reset-before') return void incoming.socket.destroy()
      if (fault === 'throttled') return answer(400, { __type: 'ThrottlingException', message: 'slow down' })
      if (fault === '5xx') return answer(500, { __type: 'InternalServiceError', message: 'oh' })
      // As services do: with what they were given.
      const given = bytes.toString('utf8')
      if (fault === 'denied') return answer(400, { __type: 'AccessDeniedException', message: `not allowed: ${given}` })
      if (fault === 'invalid') return answer(400, { __type: 'ValidationException', message: `too long: ${given}` })
      if (!reads.has(name)) world.calls.push({ name, body })
      const done = name === 'RotateSecret' ? await rotate(body) : await pass(incoming.headers, bytes, name)
      if (fault === 'reset-after') return void incoming.socket.destroy()
      answer(done.status, done.content)
    })().catch(() => incoming.socket.destroy())
  })

  async function pass(headers: IncomingHttpHeaders, bytes: Buffer, name: string) {
    const response = await fetch(moto, {
      method: 'POST',
      headers: {
        'content-type': 'application/x-amz-json-1.1',
        'x-amz-target': String(headers['x-amz-target']),
        authorization: String(headers.authorization),
      },
      body: new Uint8Array(bytes),
    })
    const content = (await response.json()) as { Name?: string }
    const rotated = name === 'DescribeSecret' && world.functions.has(content.Name ?? '')
    const arn = `arn:aws:lambda:us-east-1:123456789012:function:rotate-${content.Name}`
    return {
      status: response.status,
      content: rotated ? { ...content, RotationEnabled: true, RotationLambdaARN: arn } : content,
    }
  }

  /** Rotations end one after the other. */
  let ending: Promise<void> = Promise.resolve()

  async function rotate({ SecretId: name = '', ClientRequestToken: token = '' }: Body) {
    const { VersionIdsToStages: stages = {} } = await aws.send(new DescribeSecretCommand({ SecretId: name }))
    const of = (label: string): string | undefined => Object.keys(stages).find((id) => stages[id]?.includes(label))
    const pending = of('AWSPENDING')
    const unfinished = pending !== undefined && pending !== of('AWSCURRENT') ? pending : undefined
    const next = stages[token] !== undefined && unfinished === undefined ? undefined : await work()
    async function work(): Promise<string | undefined> {
      const made = world.functions.get(name)?.((await world.value(name)) ?? '')
      if (unfinished === undefined)
        await aws.send(
          new PutSecretValueCommand({
            SecretId: name,
            // A function that fails has made the new value already, as a rule.
            SecretString: made ?? 'made-and-never-set',
            ClientRequestToken: token,
            VersionStages: ['AWSPENDING'],
          }),
        )
      return made
    }
    // It ends some time after the call was answered; where it was asked twice, the second finds it ended.
    if (next !== undefined)
      setTimeout(() => {
        ending = ending.then(() => end(unfinished ?? token))
      }, 400)
    async function end(version: string): Promise<void> {
      const { VersionIdsToStages: now = {} } = await aws.send(new DescribeSecretCommand({ SecretId: name }))
      const labels = [
        {
          VersionStage: 'AWSCURRENT',
          RemoveFromVersionId: Object.keys(now).find((id) => now[id]?.includes('AWSCURRENT')),
          MoveToVersionId: version,
        },
        { VersionStage: 'AWSPENDING', RemoveFromVersionId: version },
      ]
      for (const move of labels.filter(({ VersionStage }) => !atItsEnd(VersionStage, now[version])))
        await aws.send(new UpdateSecretVersionStageCommand({ SecretId: name, ...move }))
    }
    if (unfinished !== undefined)
      return {
        status: 400,
        content: {
          __type: 'InvalidRequestException',
          message: "A previous rotation isn't complete. That rotation will be reattempted.",
        },
      }
    return { status: 200, content: { Name: name, VersionId: token } }
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const world: SecretsWorld = {
    environment: awsEnvironment(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
    aws,
    functions: new Map(),
    calls: [],
    fault: () => undefined,
    async create(text) {
      const name = `mcp/crm/${randomUUID().slice(0, 8)}`
      await aws.send(new CreateSecretCommand({ Name: name, SecretString: text }))
      return name
    },
    async value(name, stage = 'AWSCURRENT') {
      try {
        return (await aws.send(new GetSecretValueCommand({ SecretId: name, VersionStage: stage }))).SecretString
      } catch {
        return undefined
      }
    },
    async labels(name) {
      const { Versions = [] } = await aws.send(
        new ListSecretVersionIdsCommand({ SecretId: name, IncludeDeprecated: true }),
      )
      const labelled = Versions.flatMap(({ VersionId, VersionStages = [] }) =>
        VersionStages.map((label): [string, string] => [label, VersionId ?? '']),
      )
      return Object.fromEntries(labelled.sort())
    },
    stop: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
      aws.destroy()
    },
  }
  return world
}

function atItsEnd(label: string, stages: readonly string[] = []): boolean {
  return stages.includes(label) === (label === 'AWSCURRENT')
}
