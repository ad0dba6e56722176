import { readdir } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { MemoryJournal } from '../../src/case/journal.ts'
import { pastOf } from '../../src/case/past.ts'
import type { Change, JsonObject } from '../../src/change.ts'
import { adapters, storedValues } from '../../src/credentials/index.ts'
import type { CredentialTarget } from '../../src/credentials/port.ts'
import { reinstate, revoke, rotate } from '../../src/credentials/steps.ts'
import type { Outcome, StepInput } from '../../src/playbook/step.ts'
import { registrySchema } from '../../src/registry/schema.ts'
import { testContext } from '../testbed/terminal.ts'

const oauth = { kind: 'oauth', tokenEndpoint: 'https://auth.acme.example/token', clientId: 'crm-mcp' }
const server = (name: string, credentials: unknown[], more: object = {}) => ({
  name,
  version: '1.0.0',
  status: 'approved',
  owner: 'crm-team',
  package: { registryType: 'npm', identifier: '@acme/crm', version: '1.0.0' },
  deployments: [],
  credentials,
  ...more,
})

function input(
  servers: unknown[],
  values: StepInput['with'] = {},
  outputs: Readonly<Record<string, unknown>> = {},
): StepInput & { readonly told: string[] } {
  const parsed = registrySchema.parse({ servers }).servers
  const told: string[] = []
  const [own] = parsed
  if (own === undefined) throw new TypeError('no server')
  return {
    told,
    context: testContext(''),
    case: {
      id: 'c',
      folder: '/c',
      server: own,
      servers: parsed,
      past: pastOf([]),
      output: async (kind: string) => outputs[kind],
    } as never,
    with: values,
    deployment: undefined,
    dryRun: false,
    evidence: {} as never,
    signal: new AbortController().signal,
    progress: (text) => told.push(text),
  }
}

const seen = (key: string, state: string): Outcome['operations'][number] => ({
  key,
  adapter: 'credentials/oauth',
  state: 'verified',
  observed: [],
  residue: [],
  limits: [],
  output: { id: key, kind: 'oauth', state, proof: 'probed', sharedWith: [] },
})

const mixed = [
  { ...oauth, id: 'ledger' },
  { id: 'user', kind: 'vault-token', accessor: 'crm-sync' },
]

it('knows every adapter in its folder, and loads what it knows', async () => {
  const files = (await readdir(new URL('../../src/credentials/', import.meta.url))).filter((name) =>
    name.endsWith('.ts'),
  )
  const modules = await Promise.all(
    files.map(async (name) => ({
      name,
      module: await import(new URL(`../../src/credentials/${name}`, import.meta.url).href),
    })),
  )
  const exporting = (what: string): string[] =>
    modules.filter(({ module }) => what in module).map(({ name }) => name.replace(/\.ts$/, ''))
  expect(Object.keys(adapters).sort()).toEqual(exporting('adapter').sort())
  expect(Object.keys(storedValues).sort()).toEqual(exporting('stored').sort())
  const all = [...Object.values(adapters), ...Object.values(storedValues)]
  for (const load of all) expect((await load()).permissions.length).toBeGreaterThan(0)
})

describe('the operations', () => {
  it('know the instances that the isolation found, which their auto scaling group has no more', async () => {
    const ec2 = { id: 'prod', kind: 'aws-ec2', region: 'us-east-1', autoScalingGroup: 'crm' }
    const of = (instances: string[]) =>
      input(
        [{ ...server('io.acme/crm', mixed), deployments: [ec2] }],
        {},
        {
          'network.isolate': { deployments: [{ id: 'prod', kind: 'aws-ec2', detail: { instances } }] },
        },
      )
    const deployments = async (instances: string[]) => {
      const [operation] = (await revoke.operations?.(of(instances))) ?? []
      const target = operation?.target as CredentialTarget | undefined
      return target?.deployments
    }
    expect(await deployments(['i-0a', 'i-0b'])).toMatchObject([{ ...ec2, instances: ['i-0a', 'i-0b'] }])
    expect(await deployments([])).not.toMatchObject([{ instances: expect.anything() }])
  })

  it('are one for each credential, with who shares it and where a new one goes', async () => {
    const of = input([
      server('io.acme/crm', mixed, { deliverTo: { kind: 'file', path: '/run/next.env' } }),
      server('io.acme/billing', [{ ...oauth, id: 'mine' }]),
    ])
    const [operation, other] = (await rotate.operations?.(of)) ?? []
    expect(other).toMatchObject({ key: 'user', adapter: 'credentials/vault-token' })
    expect(operation).toMatchObject({ key: 'ledger', adapter: 'credentials/oauth', intent: 'rotate' })
    const target = operation?.target as CredentialTarget
    expect(target.sharedWith).toEqual(['io.acme/billing'])
    expect(target.deliverTo).toEqual({ kind: 'file', path: '/run/next.env' })
  })

  it('are narrowed by only, and a name that does not exist is wrong input', async () => {
    const narrowed = await revoke.operations?.(input([server('io.acme/crm', mixed)], { only: ['user'] }))
    expect(narrowed?.map(({ key }) => key)).toEqual(['user'])
    await expect(revoke.operations?.(input([server('io.acme/crm', mixed)], { only: ['none'] }))).rejects.toMatchObject({
      code: 'input',
      hints: ['It has: ledger, user'],
    })
  })

  it('deliver where the step says, by an absolute path', async () => {
    const to = (path: string) => input([server('io.acme/crm', mixed)], { deliverTo: { kind: 'file', path } })
    const [operation] = (await rotate.operations?.(to('/srv/next.env'))) ?? []
    expect((operation?.target as CredentialTarget | undefined)?.deliverTo).toEqual({
      kind: 'file',
      path: '/srv/next.env',
    })
    await expect(rotate.operations?.(to('next.env'))).rejects.toMatchObject({ code: 'input' })
  })

  it('of reinstating put back what the journal knows', async () => {
    const operations = (await reinstate.operations?.(input([server('io.acme/crm', mixed)]))) ?? []
    expect(operations.map(({ undoes }) => undoes)).toEqual([[], []])
  })
})

describe('the result', () => {
  it('has the secrets that stood in client configurations, as alive', async () => {
    const secrets = [{ entry: 'mcpServers.crm', name: 'CRM_TOKEN', where: 'env' }]
    const isolated = { 'network.isolate': { clients: [{ detail: { file: '/home/a/.mcp.json', secrets } }] } }
    const of = input([server('io.acme/crm', mixed.slice(0, 1))], {}, isolated)
    const result = await revoke.result(of, { operations: [seen('ledger', 'dead')], open: [] })
    expect(result.output).toMatchObject({
      credentials: [
        { id: 'ledger', state: 'dead' },
        { id: 'CRM_TOKEN in mcpServers.crm of /home/a/.mcp.json', kind: 'client-config', state: 'alive' },
      ],
    })
    expect(result.state).toBe('partial')
    expect(result.open?.join()).toContain('CRM_TOKEN')
    // They are not rotated, and one that is looked for by its id is another.
    expect((await rotate.result(of, { operations: [seen('ledger', 'dead')], open: [] })).open).toBeUndefined()
  })

  it('is done and plain when nothing is registered', async () => {
    const of = input([server('io.acme/crm', [])])
    expect(await revoke.operations?.(of)).toEqual([])
    const result = await revoke.result(of, { operations: [], open: [] })
    expect(result.output).toEqual({ credentials: [] })
    expect(result.state).toBeUndefined()
    expect(result.limits?.join()).toMatch(/no credentials of io.acme\/crm/)
  })

  it('says unknown of what could not be looked at', async () => {
    const operation = { ...seen('ledger', 'dead'), state: 'failed' as const, output: undefined }
    const result = await revoke.result(input([server('io.acme/crm', mixed.slice(0, 1))]), {
      operations: [operation],
      open: [],
    })
    expect(result.output).toMatchObject({ credentials: [{ id: 'ledger', state: 'unknown' }] })
  })

  it('keeps what the changes end as it was, of all credentials in one piece of evidence, and none of it when reinstating', async () => {
    const journal = new MemoryJournal({ by: 'alice', now: () => new Date(0) })
    const planned = (id: string, params: JsonObject): Change => ({
      id,
      action: 'revoke-token',
      target: `token ${id}`,
      summary: id,
      effect: 'irreversible',
      priority: 'essential',
      after: [],
      breaks: [],
      params,
    })
    const changes = [
      planned('a', { before: { accessor: 'a', policies: ['crm'] } }),
      planned('b', {}),
      planned('c', { before: { accessor: 'c' } }),
    ]
    journal.append('step.planned', {
      run: 1,
      hash: '',
      warnings: [],
      operations: [{ key: 'ledger', adapter: 'credentials/oauth', intent: 'revoke', changes }],
    })
    for (const id of ['a', 'b']) journal.append('change.applied', { id, receipt: {}, settled: false })
    const kept: (readonly [name: string, content: unknown])[] = []
    const from = input([server('io.acme/crm', mixed.slice(0, 1))])
    const of = {
      ...from,
      case: { ...from.case, past: pastOf(journal.lines) },
      evidence: { put: async (name: string, _: string, text: string) => kept.push([name, JSON.parse(text)]) } as never,
    }
    const outcome = { operations: [seen('ledger', 'dead')], open: [] }
    await reinstate.result(of, outcome)
    expect(kept).toEqual([])
    await revoke.result(of, outcome)
    const ended = [
      { action: 'revoke-token', target: 'token a', before: { accessor: 'a', policies: ['crm'] }, applied: true },
      { action: 'revoke-token', target: 'token c', before: { accessor: 'c' }, applied: false },
    ]
    expect(kept).toEqual([['credentials-before.json', [{ id: 'ledger', kind: 'oauth', ended }]]])
  })

  it('of reinstating leaves a dead token open', async () => {
    const of = input([server('io.acme/crm', mixed.slice(0, 1))])
    expect((await reinstate.result(of, { operations: [seen('ledger', 'dead')], open: [] })).open?.join()).toMatch(
      /rotate/,
    )
    expect((await reinstate.result(of, { operations: [seen('ledger', 'alive')], open: [] })).open).toBeUndefined()
  })
})

it('checks the with of a step', () => {
  expect(revoke.with.safeParse({}).success).toBe(true)
  expect(revoke.with.safeParse({ only: ['a'] }).success).toBe(true)
  expect(revoke.with.safeParse({ only: [] }).success).toBe(false)
  expect(revoke.with.safeParse({ deliverTo: { kind: 'file', path: '/x' } }).success).toBe(false)
  expect(rotate.with.safeParse({ deliverTo: { kind: 'file', path: '/x' } }).success).toBe(true)
  expect(rotate.with.safeParse({ deliverTo: { kind: 'mail' } }).success).toBe(false)
})
