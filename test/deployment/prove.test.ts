import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Deployments, DeploymentTarget, Presence } from '../../src/deployment/port.ts'
import { toolsDigest } from '../../src/mcp/tools-digest.ts'
import type { DeploymentOf } from '../../src/registry/port.ts'
import { serverSchema } from '../../src/registry/schema.ts'
import { Driver } from '../contracts/deployment.ts'

/** The proof itself, on a server that answers as a test wants it to; what it runs on is a mock that counts what is asked of it. */

type Local = DeploymentOf<'local-process'>
const tools = (description: string) => [{ name: 'get_customer', description }]

/** Asked for the description of the tool at each list, or undefined for no answer. */
let describes: (list: number) => string | undefined
let lists: number
let http: Server
let url: string
let presence: Presence
let taken: number
let failing: Error | undefined

beforeEach(async () => {
  lists = 0
  taken = 0
  failing = undefined
  presence = { state: 'up' }
  describes = () => 'Reads one customer.'
  http = createServer(async (request, response) => {
    let text = ''
    for await (const chunk of request) text += chunk
    if (request.method !== 'POST') return void response.writeHead(405).end()
    const { id, method } = JSON.parse(text) as { id?: number; method: string }
    if (id === undefined) return void response.writeHead(202).end()
    const serverInfo = { name: 'crm', version: '1.4.0' }
    const hello = { protocolVersion: '2025-06-18', capabilities: { tools: {} }, serverInfo }
    const described = method === 'initialize' ? '' : describes(++lists)
    if (described === undefined) return void request.socket.destroy()
    const result = method === 'initialize' ? hello : { tools: tools(described) }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ jsonrpc: '2.0', id, result }))
  })
  await new Promise<void>((done) => http.listen(0, '127.0.0.1', done))
  url = `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`
})
afterEach(async () => {
  http.closeAllConnections()
  await new Promise((done) => http.close(done))
})

const mock: Deployments<Local> = {
  permissions: ['none'],
  startWithin: 1,
  check: async () => [],
  plan: async () => [],
  verify: async () => ({ state: 'verified', observed: [], residue: [], limits: [] }),
  actions: {},
  presence: async () => presence,
  takeOut: async () => {
    taken++
    if (failing !== undefined) throw failing
    presence = { state: 'gone', why: 'it was taken out' }
    return 'It was taken out'
  },
}

function driver(more: object = {}, approved = 'Reads one customer.'): Driver<Local> {
  const server = serverSchema.parse({
    name: 'io.acme/crm',
    version: '1.4.0',
    status: 'approved',
    owner: 'crm-team',
    package: { registryType: 'npm', identifier: 'crm', version: '1.4.0' },
    tools: { digest: toolsDigest({ tools: tools(approved) }) },
    deployments: [{ id: 'dev', kind: 'local-process', url, watch: 0, ...more }],
  })
  const deployment = server.deployments[0] as Local
  const verdict = { state: 'verified', sha256: 'a', sha512: 'b', observed: [], reasons: [] } as const
  const target: DeploymentTarget<Local> = {
    server,
    deployment,
    artifact: { file: '/x', verdict },
    compromised: [],
    isolation: [],
    approved: { tools: tools(approved) },
  }
  return new Driver(mock, target, '/nowhere')
}

async function proof(of: Driver<Local>) {
  // Only once it does not serve as it should is there something to prove.
  const was = presence
  presence = { state: 'coming', why: 'not yet' }
  const [change] = await of.plan()
  presence = was
  if (change === undefined) throw new TypeError('no plan')
  return change
}

describe('the proof of a new server', () => {
  test('one that serves what was approved stays, and what it served is kept', async () => {
    const driven = driver()
    const change = await proof(driven)
    await driven.apply(change)
    expect(taken).toBe(0)
    expect(await driven.settle(change)).toBeDefined()
    expect(JSON.parse(driven.evidence.get('served-tools-dev.json') ?? '')).toMatchObject({
      tools: tools('Reads one customer.'),
    })
    expect(await driven.verify()).toMatchObject({ state: 'verified', output: { tools: ['get_customer'], url } })
    expect(await driven.plan()).toEqual([])
  })

  test('one other word is refused with both words, before it is taken out', async () => {
    describes = () => 'Reads one client.'
    const driven = driver()
    const change = await proof(driven)
    const refused = driven.apply(change)
    await expect(refused).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringMatching(
        /description: approved "Reads one \[customer\.\]", served "Reads one \[client\.\]".*It was taken out/,
      ),
    })
    expect(taken).toBe(1)
    expect(driven.recorded.get(change.id)?.map((one) => Object.keys(one)[0])).toEqual(['refused', 'takenOut'])
    expect(JSON.parse(driven.evidence.get('tools-difference-dev.json') ?? '')).toMatchObject([{ field: 'description' }])
    expect(driven.evidence.has('refused-tools-dev.json')).toBe(true)
  })

  test('a list that changes between two calls is refused, though the first one is as approved', async () => {
    describes = (list) => (list % 2 === 1 ? 'Reads one customer.' : 'Reads all.')
    await expect(driver().plan()).resolves.toHaveLength(1)
    lists = 0
    const driven = driver()
    const change = await proof(driven)
    await expect(driven.apply(change)).rejects.toMatchObject({ message: expect.stringContaining('Reads [all.]') })
    expect(taken).toBe(1)
  })

  test('without an approved digest two lists that differ are refused all the same', async () => {
    describes = (list) => (list % 2 === 1 ? 'Reads one customer.' : 'Reads all.')
    const driven = driver()
    const { tools: _, ...server } = driven.target.server
    driven.target = { ...driven.target, server, approved: undefined }
    const change = await proof(driven)
    await expect(driven.apply(change)).rejects.toMatchObject({
      message: expect.stringContaining('changed between two calls'),
    })
  })

  test('one that changes, or falls silent, while it is watched is taken out', async () => {
    for (const [later, message] of [
      ['Reads all.', /does not serve the approved tools/],
      [undefined, /fell silent while it was watched/],
    ] as const) {
      lists = 0
      presence = { state: 'up' }
      describes = (list) => (list > 2 ? later : 'Reads one customer.')
      const driven = driver({ watch: 1 })
      const change = await proof(driven)
      await expect(driven.apply(change)).rejects.toMatchObject({ message: expect.stringMatching(message) })
    }
    expect(taken).toBe(2)
  })

  test('one lost answer while it is watched is no illness', async () => {
    describes = (list) => (list === 3 ? undefined : 'Reads one customer.')
    const driven = driver({ watch: 1 })
    await driven.apply(await proof(driven))
    expect(taken).toBe(0)
  })

  test('one that never becomes healthy is taken out', async () => {
    presence = { state: 'coming', why: 'it boots' }
    const driven = driver({ startWithin: 1 })
    await expect(driven.apply(await proof(driven))).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringContaining('did not answer within 1 seconds: it boots'),
    })
    expect(taken).toBe(1)
  })

  test('what cannot be taken out is said to run, and is taken out by the next attempt before anything else', async () => {
    describes = () => 'Reads one client.'
    failing = new Error('secret of the vendor')
    const driven = driver()
    const change = await proof(driven)
    await expect(driven.apply(change)).rejects.toMatchObject({
      message: expect.stringMatching(/IT STILL RUNS.*unexpected Error/),
    })
    expect(await driven.settle(change)).toBeUndefined()
    failing = undefined
    const asked = lists
    await expect(driven.apply(change)).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringMatching(/It was taken out$/),
    })
    expect([taken, lists]).toEqual([2, asked])
  })

  test('an interrupted proof takes nothing out and is gone on with', async () => {
    presence = { state: 'coming', why: 'it boots' }
    const driven = driver({ startWithin: 60 })
    const change = await proof(driven)
    const stop = new AbortController()
    driven.signal = stop.signal
    const applying = driven.apply(change)
    setTimeout(() => stop.abort(), 50)
    await expect(applying).rejects.toThrow()
    expect(taken).toBe(0)
    driven.signal = new AbortController().signal
    presence = { state: 'up' }
    await driven.apply(change)
  })

  test('a deployment without a url cannot be proven', async () => {
    const driven = driver()
    const { url: _, ...deployment } = driven.target.deployment
    driven.target = { ...driven.target, deployment }
    await expect(driven.check()).rejects.toMatchObject({ code: 'input', message: expect.stringContaining('url') })
  })
})
