import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Config } from '../../src/config.ts'
import type { Context } from '../../src/context.ts'
import { deployments } from '../../src/deployment/index.ts'
import type { DeploymentTarget } from '../../src/deployment/port.ts'
import { type Redeployment, redeploy } from '../../src/deployment/step.ts'
import type { StepInput } from '../../src/playbook/step.ts'
import { type Server, serverSchema } from '../../src/registry/schema.ts'
import { type BuildFiles, type SignedBuild, signedBuild, writeBuild } from '../testbed/signed-build.ts'

let folder: string
let build: SignedBuild
let files: BuildFiles
let evil: BuildFiles
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcp-ir-step-'))
  build = await signedBuild({ files: { 'server.js': 'good' } })
  files = await writeBuild(folder, build)
  const tampered = await signedBuild({ files: { 'server.js': 'evil' }, key: build.privateKey })
  evil = await writeBuild(folder, tampered, 'evil')
})
afterAll(async () => await rm(folder, { recursive: true, force: true }))

const local = {
  id: 'dev',
  kind: 'local-process',
  pidFile: '/x/pid',
  url: 'http://127.0.0.1:1/mcp',
  command: ['node', 's.js'],
  cwd: '/x/crm',
}

function server(changed: object = {}, pack: object = {}): Server {
  return serverSchema.parse({
    name: 'io.acme/crm',
    version: '1.4.0',
    status: 'approved',
    owner: 'crm-team',
    package: {
      registryType: 'npm',
      identifier: build.identifier,
      version: build.version,
      integrity: build.integrity,
      path: files.tarball,
      attestations: files.bundle,
      key: files.key,
      tlog: false,
      ...pack,
    },
    deployments: [local],
    ...changed,
  })
}

interface Given {
  readonly server?: Server
  readonly with?: Record<string, string | string[]>
  readonly outputs?: Record<string, unknown>
  readonly isolatedAt?: string | undefined
  readonly dryRun?: boolean
  readonly deployment?: string
  readonly config?: Partial<Config>
}

const stored: { name: string; text: string }[] = []

function input(given: Given = {}): StepInput {
  const entry = given.server ?? server()
  return {
    context: { config: { file: undefined, trusted: true, registry: undefined, ...given.config } as Config } as Context,
    case: {
      id: '20261123-crm-0000',
      folder,
      server: entry,
      servers: [entry],
      since: '2026-11-20T00:00:00.000Z',
      sinceFrom: 'knownGood',
      until: '2026-11-23T00:00:00.000Z',
      isolatedAt: 'isolatedAt' in given ? given.isolatedAt : '2026-11-23T00:00:00.000Z',
      output: async (kind) => given.outputs?.[kind],
    },
    with: given.with ?? {},
    deployment: given.deployment,
    dryRun: given.dryRun ?? false,
    evidence: {
      put: async (name, mediaType, content) => {
        stored.push({ name, text: String(content) })
        return { name, mediaType, sha256: 'a'.repeat(64), bytes: String(content).length }
      },
      get: async () => new Uint8Array(),
      path: () => '',
    },
    signal: new AbortController().signal,
    progress: () => undefined,
  }
}

const operations = async (given: Given = {}) => (await redeploy.operations?.(input(given))) ?? []
const targetOf = async (given: Given = {}) => (await operations(given))[0]?.target as DeploymentTarget

describe('deployment.redeploy', () => {
  test('hands the verified build and the delivered credentials to the adapter', async () => {
    const delivered = { kind: 'file', path: '/run/next.env' }
    const outputs = {
      'credentials.rotate': { credentials: [{ id: 'a', delivered }, { id: 'b', delivered }, { id: 'c' }] },
    }
    const [operation] = await operations({ outputs })
    expect(operation).toMatchObject({ key: 'dev', adapter: 'deployment/local-process', intent: 'redeploy' })
    expect(operation?.target).toMatchObject({
      artifact: { file: files.tarball, verdict: { state: 'verified', sha256: build.sha256 } },
      credentialsFile: '/run/next.env',
      compromised: [],
      assumeStopped: false,
    })
  })

  test.each<[string, () => Given]>([
    ['a tampered build', () => ({ server: server({}, { path: evil.tarball }) })],
    [
      'a tampered build, whatever is accepted',
      () => ({ server: server({}, { path: evil.tarball }), with: { 'accept-unverifiable': 'x', 'root-cause': 'x' } }),
    ],
    ['another version than the pinned one', () => ({ server: server({}, { version: '1.4.1' }) })],
    [
      'a build with nothing to check it against',
      () => ({ server: server({}, { integrity: undefined, attestations: undefined, key: undefined }) }),
    ],
    ['the compromised digest', () => ({ with: { compromised: [build.sha256] } })],
    ['a digest that the isolation found', () => ({ outputs: { 'network.isolate': { compromised: [build.sha256] } } })],
    ['a server that was not isolated', () => ({ isolatedAt: undefined })],
    ['a suspended server', () => ({ server: server({ status: 'suspended' }) })],
    ['a configuration that was only found', () => ({ config: { file: '/somewhere/mcp-ir.yaml', trusted: false } })],
  ])('refuses %s', async (_, given) => {
    await expect(operations(given())).rejects.toMatchObject({ name: 'IrError', code: 'refused' })
  })

  test('an untrusted configuration is answered with the way to trust it', async () => {
    const untrusted = operations({ config: { file: '/somewhere/mcp-ir.yaml', trusted: false } })
    await expect(untrusted).rejects.toMatchObject({
      hints: expect.arrayContaining([expect.stringContaining('mcp-ir trust')]),
    })
  })

  test.each<[string, () => Given]>([
    ['without a path of the build', () => ({ server: server({}, { path: undefined }) })],
    ['with a build that is missing', () => ({ server: server({}, { path: join(folder, 'none.tgz') }) })],
    ['without deployments', () => ({ server: server({ deployments: [] }) })],
    [
      'with a kind that has no adapter',
      () => ({ server: server({ deployments: [{ id: 'prod', kind: 'aws-ec2', instances: ['i-1'] }] }) }),
    ],
    ['with an unknown deployment', () => ({ deployment: 'none' })],
    [
      'with credentials in several files',
      () => ({
        outputs: {
          'credentials.rotate': {
            credentials: [{ delivered: { kind: 'file', path: '/a' } }, { delivered: { kind: 'file', path: '/b' } }],
          },
        },
      }),
    ],
  ])('%s it is an input error with a hint or a name', async (_, given) => {
    await expect(operations(given())).rejects.toMatchObject({ name: 'IrError', code: 'input' })
  })

  test('the exceptions are recorded ones', async () => {
    const bare = server({}, { integrity: undefined, attestations: undefined, key: undefined })
    const accepted = await targetOf({ server: bare, with: { 'accept-unverifiable': 'rebuilt by hand' } })
    expect(accepted.artifact.verdict.state).toBe('unverifiable')
    const again = await targetOf({ with: { compromised: [build.sha256], 'root-cause': 'stolen token' } })
    expect(again).toMatchObject({ compromised: [], rootCause: 'stolen token' })
    expect(redeploy.with.safeParse({ 'root-cause': ' ' }).success).toBe(false)
    expect(redeploy.with.safeParse({ unknown: 'x' }).success).toBe(false)
  })

  test('a dry run before the isolation plans as if it were done', async () => {
    expect(await targetOf({ isolatedAt: undefined, dryRun: true })).toMatchObject({ assumeStopped: true })
  })

  test('keeps the verdict as evidence and says which deployments stay down', async () => {
    const two = server({ deployments: [local, { id: 'desktop', kind: 'local-process', match: { command: '*crm*' } }] })
    expect((await operations({ server: two })).map(({ key }) => key)).toEqual(['dev'])
    const redeployed = { deployment: 'dev', version: '1.4.0', toolsDigest: 'sha256-x', tools: ['a'] }
    const { output, open } = await redeploy.result(input({ server: two, with: { 'root-cause': 'stolen token' } }), {
      operations: [
        {
          key: 'dev',
          adapter: 'deployment/local-process',
          state: 'verified',
          observed: [],
          residue: [],
          limits: [],
          output: redeployed,
        },
      ],
      open: [],
    })
    expect(output as Redeployment).toMatchObject({
      deployments: [{ ...redeployed, state: 'verified' }],
      artifact: { file: files.tarball, verdict: { state: 'verified' } },
      evidence: { name: 'provenance.json' },
      rootCause: 'stolen token',
    })
    expect(open).toEqual([expect.stringContaining('desktop')])
    expect(JSON.parse(stored.at(-1)?.text ?? '')).toMatchObject({
      verdict: { state: 'verified', sha256: build.sha256 },
    })
  })

  test('every kind that can be redeployed loads an adapter', async () => {
    for (const load of Object.values(deployments)) expect(await load()).toHaveProperty('actions')
  })
})
