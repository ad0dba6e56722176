import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bytesOf, canary, crm, published } from '../clients/published.ts'
import { mcpIr, workplace } from '../testbed/cli.ts'
import { type RunningServer, startServerEverything } from '../testbed/server-everything.ts'

const name = 'io.example/everything'
const secret = 'canary-3ce811-do-not-tell'
let server: RunningServer
beforeAll(async () => {
  server = await startServerEverything()
})
afterAll(() => server.stop())

const entry = (more = '') =>
  `{"command": "npx", "args": ["-y", "@example/everything"], "env": {"API_KEY": "${secret}"}${more}}`
const json = (holder: string): string =>
  `{\r\n  // kept\r\n  "${holder}": {\r\n    "other": {"command": "x"},\r\n    "everything": ${entry()}\r\n  }\r\n}\r\n`

/** What a home folder could hold, by path: before, and what must be left. */
const files: Readonly<Record<string, readonly [string, string]>> = {
  '.claude.json': [
    `{"mcpServers":{"everything":${entry()}},"projects":{"/w":{"mcpServers":{"io.example/everything":{"url":"http://x"}}}}}`,
    '{"mcpServers":{},"projects":{"/w":{"mcpServers":{}}}}',
  ],
  '.config/Claude/claude_desktop_config.json': [json('mcpServers'), '1'],
  '.config/Code/User/mcp.json': [json('servers'), '1'],
  '.config/zed/settings.json': [json('context_servers'), '1'],
  '.config/opencode/opencode.json': [json('mcp'), '1'],
  '.codex/config.toml': [
    `model = "x" # kept\n\n[mcp_servers.everything]\ncommand = "npx"\n[mcp_servers.everything.env]\nAPI_KEY = "${secret}"\n\n[tui]\n`,
    'model = "x" # kept\n\n\n[tui]\n',
  ],
  '.config/goose/config.yaml': [
    `extensions:\n  # kept\n  everything:\n    type: stdio\n    cmd: npx\n    envs: {API_KEY: ${secret}}\n  b: {cmd: y}\n`,
    'extensions:\n  # kept\n  b: {cmd: y}\n',
  ],
  '.continue/config.yaml': [
    `mcpServers:\n  - name: everything\n    command: npx # gone\n    env:\n      API_KEY: ${secret}\n  - name: b\n    command: y\n`,
    'mcpServers:\n  - name: b\n    command: y\n',
  ],
  '.gemini/settings.json': ['{"mcpServers": {"everything": ', '{"mcpServers": {"everything": '],
}
const left = json('').replace(/,\r\n {4}"everything": .*/, '')

function homeFolder(): string {
  const home = workplace('servers: []')
  for (const [path, [content]] of Object.entries(files)) {
    mkdirSync(dirname(join(home, path)), { recursive: true })
    writeFileSync(join(home, path), content, { mode: 0o640 })
  }
  mkdirSync(join(home, '.cursor'))
  symlinkSync(join(home, '.claude.json'), join(home, '.cursor/mcp.json'))
  return home
}

function registry(home: string | undefined, deployments: string): string {
  return `
servers:
  - name: ${name}
    version: 1.0.0
    status: approved
    owner: platform-team
    package: {registryType: npm, identifier: "@example/everything", version: 1.0.0}
    deployments: ${deployments}
    clients: [${home === undefined ? '' : Object.keys(files).map((path) => `"${join(home, path)}"`)}]
`
}

/** Path, mode, bytes of every file. */
const snapshot = (folder: string) =>
  readdirSync(folder, { recursive: true })
    .map(String)
    .sort()
    .map((path) => {
      const { mode } = statSync(join(folder, path))
      const bytes = statSync(join(folder, path)).isFile() ? readFileSync(join(folder, path)) : Buffer.of()
      return [path, mode, createHash('sha256').update(bytes).digest('hex')]
    })

function expectTakenOut(home: string): void {
  for (const [path, [before, after]] of Object.entries(files)) {
    const holder = /"([a-z_A-Z]+)": \{/.exec(before)?.[1] ?? ''
    const wanted = after === '1' ? left.replace('"": {', `"${holder}": {`) : after
    expect(readFileSync(join(home, path), 'utf8'), path).toBe(wanted)
    expect(statSync(join(home, path)).mode & 0o777).toBe(0o640)
  }
}

describe('the clients of a server', () => {
  test('in the registry, without any deployment: taken out, and put back byte for byte', async () => {
    const home = homeFolder()
    const before = snapshot(home)
    const folder = workplace(registry(home, '[]'))
    const run = (...args: string[]) => mcpIr([...args, '--json'], { cwd: folder })

    const dry = await run('isolate', name, '--dry-run')
    expect(dry.code, dry.stderr).toBe(0)
    expect(snapshot(home)).toEqual(before)
    const { hash, changes } = dry.json.result.plan
    expect(changes).toHaveLength(Object.keys(files).length - 1)

    const isolated = await run('isolate', name, '--yes', '--expect', hash)
    expect(isolated.code, isolated.stderr).toBe(6)
    expectTakenOut(home)
    const text = isolated.stdout + isolated.stderr
    expect(text).toContain('API_KEY')
    expect(text).not.toContain(secret)
    const { residue } = isolated.json.result.verdict
    expect(residue.join('\n')).toMatch(/\.gemini\/settings\.json was left as it is, as not valid JSON in line 1/)
    expect(isolated.json.result.output).toMatchObject({ deployments: [] })
    expect(isolated.json.result.output.clients).toHaveLength(Object.keys(files).length)

    const again = await run('isolate', name, '--yes')
    expect(again.json.result.plan.changes).toEqual([])
    expectTakenOut(home)

    const released = await run('release', name, '--yes')
    expect(released.code, released.stderr).toBe(0)
    expect(snapshot(home)).toEqual(before)
    const [id = ''] = readdirSync(join(folder, 'cases'))
    expect(readFileSync(join(folder, 'cases', id, 'journal.ndjson'), 'utf8')).not.toContain(secret)
    expect((await run('case', 'check')).code).toBe(0)
  })

  test('below a home folder, with a running deployment: release knows them without being told again', async () => {
    const home = homeFolder()
    const before = snapshot(home)
    const folder = workplace(
      registry(undefined, `[{id: local, kind: local-process, pidFile: "${server.pidFile}", url: "${server.url}"}]`),
    )
    const run = (...args: string[]) => mcpIr([...args, '--json'], { cwd: folder })
    const isolated = await run('isolate', name, '--clients', home, '--yes')
    expect(isolated.code, isolated.stderr).toBe(6)
    expectTakenOut(home)
    expect(isolated.json.result.verdict.residue.join('\n')).toMatch(
      /\.cursor\/mcp\.json was left as it is, as it is a symbolic link/,
    )

    // Somebody adds a server meanwhile: told, and not overridden unseen.
    const cursor = join(home, '.config/Code/User/mcp.json')
    const added = readFileSync(cursor, 'utf8').replace('"other"', '"added": {}, "other"')
    const ours = readFileSync(cursor)
    writeFileSync(cursor, added)
    const refused = await run('release', name, '--yes')
    expect([refused.code, refused.stdout]).toEqual([expect.any(Number), expect.stringContaining('servers.added')])
    expect(refused.code).not.toBe(0)
    expect(readFileSync(cursor, 'utf8')).toBe(added)
    writeFileSync(cursor, ours)

    const released = await run('release', name, '--yes')
    expect(released.code, released.stderr).toBe(0)
    expect(snapshot(home)).toEqual(before)
  })

  describe('in every form that is published, below one home folder', () => {
    const at = (text: string): string =>
      text.replaceAll(crm.url, server.url).replaceAll(`wss${crm.url.slice(5)}`, `ws${server.url.slice(4)}`)
    const damaged = '.aws/amazonq/default.json'

    function everything(): { home: string; folder: string } {
      const home = workplace('servers: []')
      const put = (path: string, text: string): void => {
        mkdirSync(dirname(join(home, path)), { recursive: true })
        writeFileSync(join(home, path), text, { mode: 0o640 })
      }
      for (const { path, marked } of published) put(path, at(bytesOf(marked).before))
      put(damaged, `{"mcpServers": {"crm": {"env": {"CRM_TOKEN": "${canary}"}},`)
      mkdirSync(join(home, '.vscode'))
      symlinkSync(join(home, '.mcp.json'), join(home, '.vscode/mcp.json'))
      const folder = workplace(`
servers:
  - name: ${crm.server}
    aliases: [${crm.aliases}]
    version: 1.0.0
    status: approved
    owner: platform-team
    package: {registryType: npm, identifier: "${crm.package.identifier}", version: 1.0.0}
    deployments: [{id: local, kind: local-process, pidFile: "${server.pidFile}", url: "${server.url}"}]
`)
      return { home, folder }
    }

    const expectOut = (home: string): void => {
      for (const { path, marked } of published) {
        expect(readFileSync(join(home, path), 'utf8'), path).toBe(at(bytesOf(marked).after))
      }
    }
    const listed = [/default\.json was left as it is, as not valid JSON/, /\.vscode\/mcp\.json was left.*symbolic link/]

    test('taken out, secrets told by name, and put back byte for byte', async () => {
      const { home, folder } = everything()
      const before = snapshot(home)
      const run = (...args: string[]) => mcpIr([...args, '--json'], { cwd: folder })
      const dry = await run('isolate', crm.server, '--clients', home, '--dry-run')
      expect(dry.code, dry.stderr).toBe(0)
      expect(snapshot(home)).toEqual(before)
      const isolated = await run(
        'isolate',
        crm.server,
        '--clients',
        home,
        '--yes',
        '--expect',
        dry.json.result.plan.hash,
      )
      expect(isolated.code, isolated.stderr).toBe(6)
      expectOut(home)
      const { clients } = isolated.json.result.output
      for (const { path, secrets } of published) {
        const { detail } = clients.find((one: { detail: { file: string } }) => one.detail.file === join(home, path))
        expect(detail.secrets.map((secret: { name: string }) => secret.name).toSorted(), path).toEqual(
          secrets.toSorted(),
        )
      }
      // Also once it is not told of the folder again.
      const again = await run('isolate', crm.server, '--yes')
      expect([again.code, again.json.result.plan.changes], again.stderr).toEqual([6, []])
      for (const why of listed) {
        for (const { json: shown } of [isolated, again]) expect(shown.result.verdict.residue.join('\n')).toMatch(why)
      }

      const released = await run('release', crm.server, '--yes')
      expect(released.code, released.stderr).toBe(0)
      expect(snapshot(home)).toEqual(before)
      const [id = ''] = readdirSync(join(folder, 'cases'))
      const journal = readFileSync(join(folder, 'cases', id, 'journal.ndjson'), 'utf8')
      expect(isolated.stdout + isolated.stderr + journal).not.toContain(canary)
    })

    test('interrupted, and run again without the folder: the files that it had not begun with are done', async () => {
      const { home, folder } = everything()
      const before = snapshot(home)
      const points = join(folder, 'points')
      // It dies at one line only: once the first file is done.
      const kinds = [
        'case.opened',
        'step.started',
        'step.planned',
        'step.approved',
        'change.started',
        'change.recorded',
      ]
      writeFileSync(points, `${[...kinds, 'evidence.added', 'note'].join('\n')}\n`)
      const program = fileURLToPath(new URL('../testbed/programs/die-at-append.mjs', import.meta.url))
      const killed = await mcpIr(['isolate', crm.server, '--clients', home, '--yes', '--json'], {
        cwd: folder,
        env: { DIE_AT: points, DIE_WHEN: 'after', DIE_BY: 'kind' },
        node: ['--import', program],
      })
      expect([killed.signal, readFileSync(points, 'utf8')]).toEqual([
        'SIGKILL',
        expect.stringMatching(/change\.applied\n$/),
      ])
      const left = published.filter(({ path }) => readFileSync(join(home, path), 'utf8').includes(canary))
      expect(left.length).toBeGreaterThan(0)

      const resumed = await mcpIr(['isolate', crm.server, '--yes', '--json'], { cwd: folder })
      expect(resumed.code, resumed.stdout).toBe(6)
      expectOut(home)
      for (const why of listed) expect(resumed.json.result.verdict.residue.join('\n')).toMatch(why)
      const released = await mcpIr(['release', crm.server, '--yes', '--json'], { cwd: folder })
      expect(released.code, released.stderr).toBe(0)
      expect(snapshot(home)).toEqual(before)
    })
  })

  test.each(['before', 'after'])(
    'killed %s each kind of line in the journal, both ways: the same end',
    async (when) => {
      const home = homeFolder()
      const before = snapshot(home)
      const folder = workplace(registry(home, '[]'))
      const points = join(folder, 'points')
      writeFileSync(points, '')
      const program = fileURLToPath(new URL('../testbed/programs/die-at-append.mjs', import.meta.url))
      const env = { DIE_AT: points, DIE_WHEN: when, DIE_BY: 'kind' }
      const untilDone = async (command: string) => {
        for (let deaths = 0; deaths < 40; deaths++) {
          const ran = await mcpIr([command, name, '--yes', '--json'], { cwd: folder, env, node: ['--import', program] })
          if (ran.signal === null) return { ...ran, deaths }
        }
        throw new TypeError('it never came to an end')
      }
      const isolated = await untilDone('isolate')
      expect([isolated.code, isolated.deaths > 5], isolated.stderr).toEqual([6, true])
      expectTakenOut(home)
      // Each kind once more, now that it is put back.
      writeFileSync(points, 'case.opened\n')
      const released = await untilDone('release')
      expect([released.code, released.deaths > 5], released.stderr).toEqual([0, true])
      expect(snapshot(home)).toEqual(before)
    },
  )

  test('a folder that is none is an error, and nothing is written', async () => {
    const folder = workplace(registry(undefined, '[]'))
    const wrong = await mcpIr(['isolate', name, '--clients', join(folder, 'none'), '--yes'], { cwd: folder })
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('no folder')])
    const empty = await mcpIr(['isolate', name, '--clients', folder, '--yes'], { cwd: folder })
    expect([empty.code, empty.stderr]).toEqual([2, expect.stringContaining('--clients')])
  })
})
