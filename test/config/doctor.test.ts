import { chmod, mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Config } from '../../src/config.ts'
import type { Context } from '../../src/context.ts'
import { type DoctorAdapters, type DoctorRow, doctor } from '../../src/doctor.ts'
import { IrError } from '../../src/errors.ts'
import { loadRegistry } from '../../src/registry/load.ts'

let root: string
beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'mcp-ir-doctor-')))
  await writeFile(join(root, 'mcp-ir.yaml'), 'registry: registry.yaml\n')
  await writeFile(
    join(root, 'registry.yaml'),
    `servers:
  - name: io.acme/crm
    version: "1"
    status: approved
    owner: o
    knownGood: 2026-11-24T00:00:00Z
    package: {registryType: npm, identifier: a, version: "1"}
    deployments: [{id: here, kind: local-process, pidFile: a.pid}, {id: cloud, kind: aws-ec2, instances: [i-1]}]
    credentials: [{id: gate, kind: exec, command: [x]}, {id: ledger, kind: oauth, tokenEndpoint: "https://a/t", clientId: c}]
  - name: io.acme/mail
    version: "1"
    status: approved
    owner: o
    package: {registryType: npm, identifier: a, version: "1"}
    deployments: [{id: cloud, kind: aws-ec2, instances: [i-2]}]
`,
  )
})
afterEach(() => rm(root, { recursive: true, force: true }))

const kinds = {
  containment: ['local-process'],
  deployment: ['local-process'],
  credentials: ['oauth'],
  invocations: ['files'],
}

function context(config: Partial<Config> = {}, more: Partial<Context> = {}): Context {
  return {
    version: '0.0.0',
    by: 'test',
    approvedBy: undefined,
    now: () => new Date(),
    random: (bytes) => new Uint8Array(bytes),
    config: {
      file: join(root, 'mcp-ir.yaml'),
      trusted: true,
      registry: join(root, 'registry.yaml'),
      cases: join(root, 'cases'),
      invocations: { kind: 'files', path: join(root, '*.ndjson'), format: 'otel' },
      vault: {},
      aws: {},
      hours: undefined,
      duties: [],
      tlp: 'amber+strict',
      ...config,
    },
    registry: () => loadRegistry(join(root, 'registry.yaml')),
    // The doctor asks and tells nothing by itself.
    ui: undefined as never,
    signal: new AbortController().signal,
    ...more,
  }
}

const healthy: DoctorAdapters = {
  kinds,
  invocations: async () => [],
  deployment: async () => [],
  credential: async () => [],
  clocks: async () => [{ server: 'vault', offsetMs: 12 }],
}

const states = (rows: readonly DoctorRow[]) => Object.fromEntries(rows.map((row) => [row.check, row.state]))
const row = (rows: readonly DoctorRow[], check: string) => rows.find((each) => each.check === check)

describe('doctor', () => {
  it('finds all well', async () => {
    const all = { ...kinds, containment: ['local-process', 'aws-ec2'], deployment: ['local-process', 'aws-ec2'] }
    const rows = await doctor(context(), undefined, { ...healthy, kinds: { ...all, credentials: ['oauth', 'exec'] } })
    expect(states(rows)).toEqual({
      configuration: 'ok',
      'cases folder': 'ok',
      registry: 'ok',
      clock: 'ok',
      'invocation log': 'ok',
    })
  })

  it('names the kinds that have no adapter, and who needs them', async () => {
    const rows = await doctor(context(), undefined, healthy)
    expect(row(rows, 'isolating aws-ec2')).toMatchObject({
      state: 'missing',
      detail: expect.stringContaining('io.acme/crm and 1 more'),
    })
    expect(row(rows, 'redeploying aws-ec2')?.state).toBe('missing')
    expect(row(rows, 'credentials exec')).toMatchObject({ state: 'missing', detail: expect.stringMatching(/crm$/) })
    expect(row(rows, 'isolating local-process')).toBeUndefined()
  })

  it('asks the deployments and credentials of one server that it can ask', async () => {
    const asked: string[] = []
    const rows = await doctor(context(), 'io.acme/crm', {
      ...healthy,
      deployment: async (_, deployment) => {
        asked.push(deployment.id)
        return [
          { kind: 'denied', message: 'not yours\u001b[2J', hint: 'use sudo' },
          { kind: 'warning', message: 'systemd would restart it' },
        ]
      },
      credential: async (_, credential) => {
        asked.push(credential.id)
        throw new IrError('unreachable', 'no answer', { hints: ['is it up?'] })
      },
    })
    expect(asked).toEqual(['here', 'ledger'])
    expect(rows.filter((each) => each.check === 'deployment here')).toEqual([
      { check: 'deployment here', state: 'failed', detail: 'denied: not yours\\u{1b}[2J', hint: 'use sudo' },
      { check: 'deployment here', state: 'warning', detail: 'systemd would restart it' },
    ])
    expect(row(rows, 'credential ledger')).toMatchObject({ state: 'failed', detail: 'no answer', hint: 'is it up?' })
  })

  it('looks at the client configurations of the server, and at what its AWS says', async () => {
    const registry = join(root, 'registry.yaml')
    await writeFile(registry, `${await readFile(registry, 'utf8')}    clients: [a.json, b.json]\n`)
    const identity: DoctorRow = { check: 'AWS identity', state: 'failed', detail: 'no credentials' }
    const adapters: DoctorAdapters = {
      ...healthy,
      client: async (_, file) => (file.endsWith('a.json') ? [] : [{ kind: 'denied', message: 'not yours' }]),
      aws: async () => [identity],
    }
    const rows = await doctor(context(), 'io.acme/mail', adapters)
    expect(row(rows, 'AWS identity')).toEqual(identity)
    expect(row(rows, `client ${join(root, 'a.json')}`)?.state).toBe('ok')
    expect(row(rows, `client ${join(root, 'b.json')}`)).toMatchObject({ state: 'failed', detail: 'denied: not yours' })
    expect((await doctor(context(), undefined, adapters)).map(({ check }) => check)).not.toContain('AWS identity')
  })

  it('names a server that the registry does not know as an error', async () => {
    await expect(doctor(context(), 'io.acme/cmr', healthy)).rejects.toMatchObject({ code: 'input' })
  })

  it('lets a bug be a bug', async () => {
    const broken = { ...healthy, invocations: () => Promise.reject(new TypeError('oops')) }
    await expect(doctor(context(), undefined, broken)).rejects.toThrow(TypeError)
  })

  it('tells a configuration that is missing or not trusted', async () => {
    expect(row(await doctor(context({ trusted: false }), undefined, healthy), 'configuration')).toMatchObject({
      state: 'warning',
      hint: expect.stringContaining('mcp-ir trust'),
    })
    expect(row(await doctor(context({ file: undefined }), undefined, healthy), 'configuration')?.state).toBe('missing')
  })

  it('gives no secret to what an untrusted configuration names', async () => {
    const never = () => Promise.reject(new Error('asked'))
    const adapters = {
      ...healthy,
      kinds: { ...kinds, invocations: ['elasticsearch'] },
      invocations: never,
      credential: never,
    }
    const invocations = { kind: 'elasticsearch', node: 'http://evil', index: 'i', format: 'otel' } as const
    const rows = await doctor(context({ trusted: false, invocations }), 'io.acme/crm', adapters)
    expect(row(rows, 'credentials')?.state).toBe('warning')
    expect(row(rows, 'invocation log')?.state).toBe('warning')
    expect(row(rows, 'deployment here')?.state).toBe('ok')
  })

  it('tells a registry that is missing, broken or writable by others', async () => {
    const none = await doctor(context({}, { registry: async () => undefined }), undefined, healthy)
    expect(row(none, 'registry')?.state).toBe('missing')
    await chmod(join(root, 'registry.yaml'), 0o666)
    expect(row(await doctor(context(), undefined, healthy), 'registry file')?.state).toBe('warning')
    await writeFile(join(root, 'registry.yaml'), 'servers: 1\n')
    expect(row(await doctor(context(), undefined, healthy), 'registry')).toMatchObject({
      state: 'failed',
      detail: expect.stringContaining(':1: servers: must be a list'),
    })
  })

  it('tells a cases folder that cannot be one', async () => {
    const rows = await doctor(context({ cases: join(root, 'mcp-ir.yaml', 'cases') }), undefined, healthy)
    expect(row(rows, 'cases folder')?.state).toBe('failed')
    expect(row(await doctor(context({ cases: root }), undefined, healthy), 'cases folder')?.detail).toBe(root)
  })

  it('tells a clock that is behind, here or elsewhere', async () => {
    const past = { now: () => new Date('2020-01-01T00:00:00Z') }
    expect(row(await doctor(context({}, past), undefined, healthy), 'clock')?.state).toBe('warning')
    const off = { ...healthy, clocks: async () => [{ server: 'vault', offsetMs: -60_000 }] }
    expect(row(await doctor(context(), undefined, off), 'clock')).toMatchObject({
      state: 'warning',
      detail: 'vault is 60.0 s behind this host',
    })
  })

  it('tells a known-good moment that lies in the future', async () => {
    const now = { now: () => new Date('2026-11-23T00:00:00Z') }
    expect(row(await doctor(context({}, now), 'io.acme/crm', healthy), 'knownGood')?.state).toBe('warning')
    const later = { now: () => new Date('2026-11-25T00:00:00Z') }
    expect(row(await doctor(context({}, later), 'io.acme/crm', healthy), 'knownGood')).toBeUndefined()
  })

  it('tells an invocation log that is missing, unknown or cannot be read', async () => {
    const log = async (config: Partial<Config>, adapters: DoctorAdapters) =>
      row(await doctor(context(config), undefined, adapters), 'invocation log')
    expect((await log({ invocations: undefined }, healthy))?.state).toBe('missing')
    const elsewhere = { kind: 'elasticsearch', node: 'http://a', index: 'i', format: 'otel' } as const
    expect((await log({ invocations: elsewhere }, healthy))?.state).toBe('missing')
    expect(await log({}, { ...healthy, invocations: async () => ['no file matches'] })).toMatchObject({
      state: 'failed',
      detail: 'no file matches',
    })
  })
})
