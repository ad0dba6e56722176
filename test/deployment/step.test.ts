import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { pastOf } from '../../src/case/past.ts'
import type { Config } from '../../src/config.ts'
import type { Context } from '../../src/context.ts'
import { deployments } from '../../src/deployment/index.ts'
import type { DeploymentTarget } from '../../src/deployment/port.ts'
import { type Redeployment, redeploy } from '../../src/deployment/step.ts'
import { toolsDigest } from '../../src/mcp/tools-digest.ts'
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
  readonly decisions?: readonly string[]
  readonly dryRun?: boolean
  readonly deployment?: string
  readonly config?: Partial<Config>
}

const stored: { name: string; text: string }[] = []

function input(given: Given = {}): StepInput {
  const entry = given.server ?? server()
  return {
    context: {
      config: { file: undefined, trusted: true, registry: undefined, aws: {}, ...given.config } as Config,
    } as Context,
    case: {
      id: '20261123-crm-0000',
      folder,
      server: entry,
      servers: [entry],
      since: '2026-11-20T00:00:00.000Z',
      sinceFrom: 'knownGood',
      until: '2026-11-23T00:00:00.000Z',
      isolatedAt: 'isolatedAt' in given ? given.isolatedAt : '2026-11-23T00:00:00.000Z',
      past: pastOf([]),
      output: async (kind) => given.outputs?.[kind],
      standing: () => [],
      decisionsSince: () => given.decisions ?? [],
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

  const calls = { suspect: [{ record: 'r3' }], hubs: [{ calls: 2 }] }
  const unreviewed: Given = { outputs: { 'blast-radius.compute': calls } }

  test('suspect records that nobody has looked at hold it up; a decision or a root cause lets it go on, and is recorded', async () => {
    await expect(operations(unreviewed)).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringContaining('3 suspect records of the blast radius'),
      hints: expect.arrayContaining([expect.stringContaining('case note')]),
    })
    await expect(operations({ ...unreviewed, decisions: ['carol is in command'] })).rejects.toMatchObject({
      code: 'refused',
    })
    const decisions = ['Suspect records reviewed: two mails were recalled']
    expect(await operations({ ...unreviewed, decisions })).toHaveLength(1)
    const reviewed = await redeploy.result(input({ ...unreviewed, decisions }), { operations: [], open: [] })
    expect(reviewed.output).toMatchObject({ suspect: { records: 3, reviewed: decisions[0] } })
    const rootCause = { ...unreviewed, with: { 'root-cause': 'a stolen laptop' } }
    expect(await operations(rootCause)).toHaveLength(1)
    expect(await operations({ outputs: { 'blast-radius.compute': { suspect: [], hubs: [] } } })).toHaveLength(1)
  })

  test('old credentials that were not seen dead stay open, those that expire are told', async () => {
    const ids = ['dead', 'alive', 'later', 'other', 'renewed']
    const credentials = ids.map((id) => ({ id, kind: 'exec', command: ['x'] }))
    const state = (id: string, is: string, more = {}) => ({ id, state: is, proof: `it is ${is}`, ...more })
    const outputs = {
      'credentials.revoke': {
        credentials: [
          state('dead', 'dead'),
          state('alive', 'alive'),
          state('later', 'expires', { until: '2026-11-24T00:00:00Z' }),
          state('renewed', 'unknown'),
        ],
      },
      'credentials.rotate': { credentials: [state('renewed', 'dead', { delivered: { kind: 'file', path: '/a' } })] },
    }
    const { output, open, residue } = await redeploy.result(input({ server: server({ credentials }), outputs }), {
      operations: [],
      open: [],
    })
    expect((output as Redeployment).credentials.map(({ id, old, rotated }) => [id, old, rotated])).toEqual([
      ['dead', 'dead', false],
      ['alive', 'alive', false],
      ['later', 'expires', false],
      ['other', 'not looked at', false],
      ['renewed', 'dead', true],
    ])
    expect(open).toEqual([
      expect.stringMatching(/no old secret of alive works: it is alive/),
      expect.stringMatching(/no old secret of other works: .*mcp-ir revoke/),
    ])
    expect(residue).toEqual([expect.stringContaining('works until 2026-11-24')])
  })

  test('a document of the tools that is not what was approved is an input error', async () => {
    const document = join(folder, 'tools.json')
    await writeFile(document, JSON.stringify({ tools: [{ name: 'a', description: 'b' }] }))
    const digest = `sha256-${'A'.repeat(43)}=`
    await expect(operations({ server: server({ tools: { digest, document } }) })).rejects.toMatchObject({
      code: 'input',
      message: expect.stringContaining('tools.document'),
    })
    const right = toolsDigest({ tools: [{ name: 'a', description: 'b' }] })
    const { approved } = await targetOf({ server: server({ tools: { digest: right, document } }) })
    expect(approved?.tools).toEqual([{ name: 'a', description: 'b' }])
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
      'with an instance of which the registry does not say what a new one is made of',
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
