import { readdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { containment, discover } from '../../src/containment/index.ts'
import { isolate, release } from '../../src/containment/step.ts'
import type { Outcome, StepInput } from '../../src/playbook/step.ts'

const local = (id: string) => ({ id, kind: 'local-process', pid: 1 })
const remote = (id: string) => ({ id, kind: 'aws-ec2', instances: ['i-1'], cut: 'auto', allow: [] })
const input = (
  deployments: unknown[],
  deployment?: string,
  clients: string[] = [],
  subjects: string[] = [],
): StepInput => {
  const server = { name: 'io.acme/crm', owner: 'crm-team', aliases: ['crm-mcp'], deployments, clients }
  return {
    case: { server, servers: [server, { name: 'io.other/crm', aliases: [] }], folder: '/nonexistent' },
    deployment,
    subjects,
    with: {},
  } as unknown as StepInput
}

describe('the list of containment adapters', () => {
  it('names every adapter of the folder, and each loads', async () => {
    const own = new Set(['index.ts', 'port.ts', 'step.ts'])
    const files = readdirSync(new URL('../../src/containment', import.meta.url)).filter((name) => name.endsWith('.ts'))
    const kinds = files.filter((name) => !own.has(name)).map((name) => name.replace('.ts', ''))
    expect(Object.keys(containment).sort()).toEqual(kinds.sort())
    for (const load of Object.values(containment)) {
      const adapter = await load()
      expect(adapter.permissions.length).toBeGreaterThan(0)
      expect(Object.keys(adapter.actions).length).toBeGreaterThan(0)
    }
  })
})

describe('network.isolate and network.release', () => {
  it('act on every deployment, or on the one that is asked for', async () => {
    const all = await isolate.operations?.(input([local('a'), local('b')]))
    expect(all).toMatchObject([
      { key: 'a', adapter: 'containment/local-process', intent: 'isolate', target: { server: 'io.acme/crm' } },
      { key: 'b', adapter: 'containment/local-process', intent: 'isolate' },
    ])
    expect(all?.every(({ undoes }) => undoes === undefined)).toBe(true)
    const one = await release.operations?.(input([local('a'), remote('b')], 'a'))
    expect(one).toMatchObject([{ key: 'a', intent: 'release', undoes: [] }])
  })

  it('act on every client configuration of the registry, also where there is no deployment', async () => {
    const long = '/home/somebody/Library/Application Support/Claude/claude_desktop_config.json'
    const found = await isolate.operations?.(input([], undefined, ['/c/mcp.json', long, `/x${long}`]))
    expect(found).toMatchObject([
      { key: 'client:/c/mcp.json', adapter: 'containment/mcp-client-config', target: { file: '/c/mcp.json' } },
      { key: expect.stringMatching(/^client:….Claude.claude_desktop_config\.json#[0-9a-f]{6}$/) },
      { target: { aliases: ['crm-mcp'], others: ['io.other/crm', 'crm'] } },
    ])
    expect(new Set(found?.map(({ key }) => key)).size).toBe(3)
    expect(await release.operations?.(input([], undefined, ['/c/mcp.json']))).toMatchObject([
      { key: 'client:/c/mcp.json', intent: 'release', undoes: [] },
    ])
    // Also those that were agreed to before it was interrupted, as the journal has them.
    expect(await isolate.operations?.(input([], undefined, ['/c/mcp.json'], ['/d/mcp.json']))).toMatchObject([
      { subject: '/c/mcp.json' },
      { subject: '/d/mcp.json', target: { file: '/d/mcp.json' } },
    ])
    // One deployment is one deployment.
    expect(await isolate.operations?.(input([local('a')], 'a', ['/c/mcp.json']))).toHaveLength(1)
  })

  it("name a folder that is none, and check the step's values", async () => {
    const wrong = { ...input([local('a')]), with: { clients: '/nonexistent/home' } }
    await expect(isolate.operations?.(wrong)).rejects.toMatchObject({ code: 'input' })
    expect(isolate.with.safeParse({ clients: 'x' }).success).toBe(true)
    expect(isolate.with.safeParse({ client: 'x' }).success).toBe(false)
  })

  it.each([
    ['an unknown deployment', input([local('a'), local('b')], 'c'), /no deployment c/, /a, b/],
    ['no deployment at all', input([]), /no deployments/, /--target/],
    ['a kind without an adapter', input([local('a'), { id: 'b', kind: 'docker' }]), /docker/, /--deployment a/],
    ['a kind that every object has', input([{ id: 'x', kind: 'constructor' }]), /constructor/, /by hand/],
  ])('stop at %s, and say what to do', async (_, given, message, hint) => {
    for (const { operations } of [isolate, release]) {
      const error = await operations?.(given).catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ code: 'input', message: expect.stringMatching(message) })
      expect((error as { hints: string[] }).hints.join(' ')).toMatch(hint)
    }
  })

  it('tell what became of each deployment', async () => {
    const outcome: Outcome = {
      open: [],
      operations: [
        {
          key: 'a',
          adapter: 'containment/local-process',
          state: 'verified',
          observed: [{ claim: 'c', seen: 's', holds: true }],
          residue: [],
          limits: [],
          output: undefined,
        },
      ],
    }
    expect((await isolate.result(input([]), outcome)).output).toEqual({
      deployments: [
        {
          id: 'a',
          kind: 'local-process',
          state: 'verified',
          observed: [{ claim: 'c', seen: 's', holds: true }],
          detail: null,
        },
      ],
    })
  })
})

describe('--target', () => {
  it.each([
    ['aws-ec2', 'i-1', 'input', /no instance id/],
    ['docker', 'x', 'input', /no kind of target/],
    ['pid', 'abc', 'input', /no process id/],
    ['pid', '4194304', 'input', /No process/],
    ['pid', `${process.pid}`, 'refused', /never stopped/],
    ['url', 'ftp://127.0.0.1/', 'input', /no http/],
    ['url', 'http://user:secret@127.0.0.1:1/', 'input', /no password/],
    ['url', 'http://192.0.2.1:7001/mcp', 'input', /not served by this machine/],
    ['url', 'http://127.0.0.1:1/mcp', 'input', /Nothing listens/],
  ])('%s:%s is an error with code %s', async (kind, id, code, message) => {
    await expect(discover(kind, id)).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
  })
})
