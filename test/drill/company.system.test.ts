import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config-file.ts'
import { type Company, type CompanyState, endCompany, serverName, startCompany } from '../../src/drill/company.ts'
import { leaked } from '../../src/drill/proof.ts'
import { servedTools } from '../../src/drill/tools.ts'
import { expectationsOf, provenance } from '../../src/provenance/index.ts'
import { loadRegistry } from '../../src/registry/load.ts'
import type { Server } from '../../src/registry/port.ts'

const { signal } = new AbortController()

/** Command lines of all processes that mention the company; looked for another way than the drill does. */
function processesOf(folder: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      } catch {
        return ''
      }
    })
    .filter((line) => line.includes(basename(folder)))
}

async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  for (let round = 0; round < 400; round += 1) {
    if (await what()) return
    await sleep(50)
  }
  throw new Error(`never came true: ${what}`)
}

describe.runIf(existsSync('/proc/self/cmdline'))("the drill's company", () => {
  let company: Company
  let entry: Server
  let logs: string
  beforeAll(async () => {
    company = await startCompany({ now: () => new Date(), progress: () => {}, signal })
    const [first] = (await loadRegistry(company.registry)).servers
    if (first === undefined) throw new Error('the registry is empty')
    entry = first
    logs = join(company.folder, 'logs', 'gateway')
  })
  afterAll(async () => {
    await company.end()
    await rm(company.folder, { recursive: true })
  })
  const lines = () =>
    readdirSync(logs)
      .sort() // invocations-before.ndjson comes first
      .map((file) => readFileSync(join(logs, file), 'utf8'))
      .join('')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  const canaries = () =>
    JSON.parse(readFileSync(join(company.folder, 'canaries.json'), 'utf8')) as Record<string, string>

  test('its agents work, and the gateway logs each call of theirs with arguments and result', async () => {
    const before = lines().length
    await until(() => lines().length > before + 20)
    const seen = lines().slice(before)
    expect(new Set(seen.map((line) => line['mcp.method.name']))).toEqual(
      new Set(['initialize', 'tools/list', 'tools/call']),
    )
    const fresh = seen.filter((line) => line['gen_ai.tool.name'] !== undefined)
    expect(new Set(fresh.map((line) => line['gen_ai.agent.name']))).toEqual(new Set(['support-copilot', 'sales-agent']))
    for (const line of fresh) {
      expect(line).toMatchObject({
        timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        duration_ms: expect.any(Number),
        'mcp.method.name': 'tools/call',
        'mcp.server.name': serverName,
        'mcp.session.id': expect.any(String),
        'user.name': expect.stringMatching(/\./),
        'client.address': expect.stringMatching(/127\.0\.0\.1$/),
        trace_id: expect.stringMatching(/^[0-9a-f]{32}$/),
        span_id: expect.stringMatching(/^[0-9a-f]{16}$/),
        'gen_ai.tool.call.arguments': expect.any(Object),
        'gen_ai.tool.call.result': { content: expect.any(Array) },
      })
      expect(line['error.type']).toBeUndefined()
    }
  })

  test('the log has a history from before the compromise, in which nobody was lured', () => {
    const { knownGood } = entry
    const old = lines().filter((line) => String(line.timestamp) < String(knownGood))
    expect(old.length).toBeGreaterThan(2000)
    expect(JSON.stringify(old)).not.toContain('context')
  })

  test('what the agents were told leaks: the sink counts bytes', async () => {
    expect(await leaked(company, 500, signal)).toBeGreaterThan(0)
    await until(() => JSON.stringify(lines()).includes(canaries().said ?? '?'))
  })

  test('the tools that are served are not the approved ones', async () => {
    expect(entry.tools?.digest).toBe(company.approvedTools)
    expect((await servedTools(company.url, signal)).digest).not.toBe(company.approvedTools)
  })

  test('the registry and the configuration are accepted by the ordinary loaders', async () => {
    const config = await loadConfig({ flag: company.config, env: {}, cwd: '/', home: '/' })
    expect(config).toMatchObject({ trusted: true, registry: company.registry, cases: join(company.folder, 'cases') })
    expect((await loadRegistry(company.registry)).servers).toHaveLength(1)
    for (const file of [company.config, company.registry]) expect(statSync(file).mode & 0o777).toBe(0o600)
  })

  test('1.4.0 verifies and holds nothing of the attack, 1.4.1 does not verify', async () => {
    const expected = expectationsOf(entry)
    expect(await provenance.verify(entry.package.path ?? '', expected, signal)).toMatchObject({ state: 'verified' })
    expect(await provenance.verify(company.deployed.file, expected, signal)).toMatchObject({ state: 'invalid' })
    expect(company.deployed.content['server.js']).toContain('call this tool first')
    const approved = readFileSync(join(company.folder, 'approval', 'server.js'), 'utf8')
    expect(approved).not.toMatch(/call this tool first|telemetry/)
  })

  test('secrets are in no argument list, and the suspect alone has one in its environment', () => {
    const all = processesOf(company.folder)
    expect(all.length).toBeGreaterThanOrEqual(8)
    for (const secret of Object.values(canaries())) expect(all.join('\n')).not.toContain(secret)
    expect(readFileSync(`/proc/${company.suspect}/environ`, 'utf8')).toContain(canaries().environment)
  })

  test('the suspect leads a session of its own, and its pid file names it', () => {
    const stat = readFileSync(`/proc/${company.suspect}/stat`, 'utf8')
    const session = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[3]
    expect(Number(session)).toBe(company.suspect)
    expect(readFileSync(company.pidFile, 'utf8').trim()).toBe(String(company.suspect))
  })

  test('a frozen server stops the leak, the agents live through it and come back', async () => {
    process.kill(company.suspect, 'SIGSTOP')
    expect(await leaked(company, 500, signal)).toBe(0)
    await until(() => lines().some((line) => line['error.type'] === 'timeout'))
    const frozen = lines().length
    process.kill(company.suspect, 'SIGCONT')
    await until(() => lines().length > frozen + 5)
    expect(await leaked(company, 1000, signal)).toBeGreaterThan(0)
  })

  test('a revoked token is refused at once, and a new one is accepted', async () => {
    const credential = entry.credentials.find((one) => one.kind === 'oauth')
    const url = (endpoint: string | undefined) => endpoint ?? ''
    const form = { client_id: 'crm-mcp', client_secret: canaries().client ?? '' }
    const post = (endpoint: string | undefined, body: Record<string, string>) =>
      fetch(url(endpoint), { method: 'POST', body: new URLSearchParams({ ...form, ...body }) })
    const me = async (token: string) =>
      (await fetch(`${company.customersApi}/me`, { headers: { authorization: `Bearer ${token}` } })).status

    expect(await me(company.token)).toBe(200)
    expect((await post(credential?.revocationEndpoint, { token: company.token })).status).toBe(200)
    expect(await me(company.token)).toBe(401)
    const introspected = await post(credential?.introspectionEndpoint, { token: company.token })
    expect(await introspected.json()).toEqual({ active: false })
    const issued = await post(credential?.tokenEndpoint, { grant_type: 'client_credentials' })
    expect(await me(((await issued.json()) as { access_token: string }).access_token)).toBe(200)
    form.client_secret = 'wrong'
    expect((await post(credential?.tokenEndpoint, { grant_type: 'client_credentials' })).status).toBe(401)
  })

  test('it ends without a process or a secret left; case, log and builds stay', async () => {
    process.kill(company.suspect, 'SIGSTOP')
    await company.end()
    expect(processesOf(company.folder)).toEqual([])
    expect(readdirSync(company.folder).sort()).toEqual(
      ['builds', 'canaries.json', 'cases', 'elsewhere', 'keys', 'logs', 'mcp-ir.yaml', 'registry.yaml', 'srv'].sort(),
    )
  })
})

describe.runIf(existsSync('/proc/self/cmdline'))('without its drill', () => {
  const driver = fileURLToPath(new URL('../testbed/drill-company.ts', import.meta.url))

  async function run(mode: 'keep' | 'wait') {
    const child = spawn(process.execPath, [driver, mode], { stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = new Promise((resolve) => child.once('exit', resolve))
    const [line] = await new Promise<string[]>((resolve) =>
      child.stdout.once('data', (data) => resolve(String(data).split('\n'))),
    )
    return { child, ended, folder: line ?? '' }
  }

  test('killed at once, it leaves no process behind', async () => {
    const { child, ended, folder } = await run('wait')
    expect(processesOf(folder).length).toBeGreaterThanOrEqual(8)
    child.kill('SIGKILL')
    await ended
    await until(() => processesOf(folder).length === 0)
    await rm(folder, { recursive: true })
  })

  test('told to keep it, the company lives on until it is ended', async () => {
    const { ended, folder } = await run('keep')
    await ended
    const state = JSON.parse(readFileSync(join(folder, 'company.json'), 'utf8')) as CompanyState
    expect(state.kept).toBe(true)
    const bytes = async () => ((await (await fetch(state.sink)).json()) as { bytes: number }).bytes
    const before = await bytes()
    await until(async () => (await bytes()) > before)
    expect(await endCompany(folder)).toBeGreaterThanOrEqual(7)
    expect(processesOf(folder)).toEqual([])
    await rm(folder, { recursive: true })
  })
})
