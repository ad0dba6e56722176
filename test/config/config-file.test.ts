import { chmod, chown, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type ConfigSource, findConfig, loadConfig } from '../../src/config-file.ts'
import { assertTrusted, viewTrust } from '../../src/trust.ts'
import { storeTrust } from '../../src/trust-store.ts'

let root: string
let home: string
let project: string
beforeEach(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'mcp-ir-config-')))
  home = join(root, 'home')
  project = join(home, 'work', 'project')
  await mkdir(join(project, 'deep', 'er'), { recursive: true })
})
afterEach(() => rm(root, { recursive: true, force: true }))

const source = (more: Partial<ConfigSource> = {}): ConfigSource => ({ env: {}, cwd: project, home, ...more })
const uid = process.getuid?.()
const place = (env: Record<string, string> = {}) => ({ env, home, uid })

async function config(
  folder: string,
  text: string | Uint8Array = 'vault: {address: "http://127.0.0.1:8200"}\n',
  mode = 0o600,
) {
  const file = join(folder, 'mcp-ir.yaml')
  await writeFile(file, text)
  await chmod(file, mode)
  return file
}

async function trust(file: string) {
  const view = await viewTrust(file, root, place())
  await storeTrust(view, new Date('2026-11-23T00:00:00Z'), place())
  return view
}

describe('finding the configuration', () => {
  it('takes the nearest one upwards', async () => {
    const upper = await config(join(home, 'work'))
    expect(await findConfig(source({ cwd: join(project, 'deep', 'er') }))).toEqual({ file: upper, by: 'found' })
    const nearer = await config(join(project, 'deep'))
    expect(await findConfig(source({ cwd: join(project, 'deep', 'er') }))).toEqual({ file: nearer, by: 'found' })
  })

  it('stops at the root of the repository', async () => {
    await config(join(home, 'work'))
    await mkdir(join(project, '.git'))
    expect(await findConfig(source({ cwd: join(project, 'deep') }))).toBeUndefined()
    const own = await config(project)
    expect(await findConfig(source({ cwd: join(project, 'deep') }))).toEqual({ file: own, by: 'found' })
  })

  it('stops at the root of a work tree, whose .git is a file', async () => {
    await config(join(home, 'work'))
    await writeFile(join(project, '.git'), 'gitdir: elsewhere\n')
    expect(await findConfig(source())).toBeUndefined()
  })

  it('stops at home, which it still looks into', async () => {
    await config(root)
    expect(await findConfig(source())).toBeUndefined()
    const own = await config(home)
    expect(await findConfig(source())).toEqual({ file: own, by: 'found' })
  })

  it('stops at home when home is reached by a link', async () => {
    await config(root)
    await symlink(home, join(root, 'link'))
    expect(await findConfig(source({ home: join(root, 'link') }))).toBeUndefined()
  })

  it('takes the flag before the variable before what lies there', async () => {
    await config(project)
    const named = await config(root)
    expect(await findConfig(source({ env: { MCP_IR_CONFIG: named } }))).toEqual({ file: named, by: 'environment' })
    expect(await findConfig(source({ env: { MCP_IR_CONFIG: 'none' }, flag: '../../../mcp-ir.yaml' }))).toEqual({
      file: named,
      by: 'flag',
    })
    expect(await findConfig(source({ env: { MCP_IR_CONFIG: '' } }))).toMatchObject({ by: 'found' })
  })

  it('says who named a file that does not exist', async () => {
    await expect(findConfig(source({ flag: 'none.yaml' }))).rejects.toMatchObject({
      code: 'input',
      message: expect.stringContaining('--config'),
    })
    await expect(findConfig(source({ env: { MCP_IR_CONFIG: 'x' } }))).rejects.toMatchObject({
      message: expect.stringContaining('MCP_IR_CONFIG'),
    })
  })
})

describe('the values', () => {
  it('are the defaults when there is no file', async () => {
    expect(await loadConfig(source())).toEqual({
      file: undefined,
      trusted: true,
      registry: undefined,
      cases: join(home, '.local/share/mcp-ir/cases'),
      invocations: undefined,
      vault: {},
      aws: {},
      hours: undefined,
      duties: [],
      tlp: 'amber+strict',
    })
  })

  it('follow XDG_DATA_HOME, unless it is relative', async () => {
    expect((await loadConfig(source({ env: { XDG_DATA_HOME: '/data' } }))).cases).toBe('/data/mcp-ir/cases')
    expect((await loadConfig(source({ env: { XDG_DATA_HOME: 'data' } }))).cases).toBe(
      join(home, '.local/share/mcp-ir/cases'),
    )
  })

  it('are all read, paths against the folder of the file', async () => {
    const file = await config(
      home,
      `registry: ./registry.yaml
cases: ../cases
invocations: {kind: files, path: "./logs/*.ndjson", format: {map: {tool: name}}, writer: gateway}
vault: {address: "https://vault:8200", auditLog: ./audit.log}
aws: {region: us-east-1}
hours: {zone: Europe/Berlin, days: mon-fri, from: 08:00, to: "19:00"}
duties: [gdpr, nis2]
`,
    )
    expect(await loadConfig(source())).toEqual({
      file,
      trusted: false,
      registry: join(home, 'registry.yaml'),
      cases: join(root, 'cases'),
      invocations: {
        kind: 'files',
        path: join(home, 'logs/*.ndjson'),
        format: { map: { tool: 'name' } },
        writer: 'gateway',
      },
      vault: { address: 'https://vault:8200', auditLog: join(home, 'audit.log') },
      aws: { region: 'us-east-1' },
      hours: { zone: 'Europe/Berlin', days: 'mon-fri', from: '08:00', to: '19:00' },
      duties: ['gdpr', 'nis2'],
      tlp: 'amber+strict',
    })
  })

  it('take an empty file for the defaults', async () => {
    await config(project, '# nothing yet\n')
    expect((await loadConfig(source())).cases).toBe(join(home, '.local/share/mcp-ir/cases'))
  })

  it('give way to the environment, whose paths are relative to the working folder', async () => {
    await config(home, 'registry: ./registry.yaml\ncases: ./cases\n')
    const env = { MCP_IR_REGISTRY: 'mine.yaml', MCP_IR_CASES: '/cases' }
    expect(await loadConfig(source({ env }))).toMatchObject({ registry: join(project, 'mine.yaml'), cases: '/cases' })
  })

  it.each([
    ['registri: x\n', '1: registri: is not a known key', 'did you mean registry?'],
    ['a: 1\nvault: {adress: x}\n', '2: vault.adress: is not a known key', 'line 2: did you mean address?'],
    [
      'invocations: {kind: splunk}\n',
      '1: invocations.kind: must be one of files, elasticsearch',
      'allowed: files, elasticsearch',
    ],
    ['invocations:\n  kind: files\n  format: otel\n', '1: invocations.path: is missing', undefined],
    ['duties: [gdrp]\n', '1: duties[0]: must be one of gdpr, nis2, dora', 'did you mean gdpr?'],
    [
      'hours: {zone: Mars/Olympus, days: mon-fri, from: 08:00, to: 19:00}\n',
      '1: hours.zone: must be a time zone such as Europe/Berlin',
      undefined,
    ],
    [
      'hours: {zone: UTC, days: monday, from: 08:00, to: 25:00}\n',
      '1: hours.days: must be days such as mon-fri or mon,wed,sat',
      undefined,
    ],
    [
      'vault: {address: "http://root:t0ken@v"}\n',
      '1: vault.address: must not carry a user name or password',
      undefined,
    ],
  ])('in %j are refused with line and hint', async (text, message, hint) => {
    const file = await config(project, text)
    const error = await loadConfig(source()).catch((thrown) => thrown)
    expect(error).toMatchObject({ code: 'input', message: expect.stringContaining(`${file}:${message}`) })
    if (hint !== undefined) expect(error.hints).toContain(hint)
    expect(error.message).not.toContain('t0ken')
  })
})

describe('a file that somebody else could have written', () => {
  it.each([0o666, 0o620, 0o602, 0o664])('is refused with mode %o, with the chmod to run', async (mode) => {
    const file = await config(project, 'registry: x\n', mode)
    await expect(loadConfig(source())).rejects.toMatchObject({
      code: 'refused',
      exitCode: 4,
      hints: [expect.stringContaining(`chmod go-w ${file}`)],
    })
    await expect(loadConfig(source({ flag: file }))).rejects.toMatchObject({ code: 'refused' })
    await chmod(file, 0o644)
    await expect(loadConfig(source())).resolves.toMatchObject({ file })
  })

  it.runIf(uid !== undefined)('is refused when it belongs to another user', async () => {
    const file = await config(project)
    // Root can give it away; anybody else plays another user.
    if (uid === 0) await chown(file, 12_345, 12_345)
    await expect(loadConfig(source({ uid: uid === 0 ? 0 : 12_345 }))).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringContaining('another user'),
    })
  })

  it('is refused in a folder that everybody may write to, unless it is sticky', async () => {
    await config(project)
    await chmod(project, 0o777)
    await expect(loadConfig(source())).rejects.toMatchObject({
      code: 'refused',
      hints: [`chmod o-w ${project}`],
    })
    await chmod(project, 0o1777)
    await expect(loadConfig(source())).resolves.toMatchObject({ vault: { address: 'http://127.0.0.1:8200' } })
  })

  it('is refused as a symbolic link that was found; one that is named is followed to the file', async () => {
    const real = await config(root, 'registry: r.yaml\n')
    const link = join(project, 'mcp-ir.yaml')
    await symlink(real, link)
    await expect(loadConfig(source())).rejects.toMatchObject({ code: 'refused' })
    expect(await loadConfig(source({ flag: link }))).toMatchObject({ file: real, registry: join(root, 'r.yaml') })
    await chmod(real, 0o666)
    await expect(loadConfig(source({ flag: link }))).rejects.toMatchObject({ code: 'refused' })
  })

  it('is refused as a folder or as something huge', async () => {
    await mkdir(join(project, 'mcp-ir.yaml'))
    await expect(loadConfig(source())).rejects.toMatchObject({ code: 'input' })
    await rm(join(project, 'mcp-ir.yaml'), { recursive: true })
    await config(project, Buffer.alloc(1024 ** 2 + 1, '#'))
    await expect(loadConfig(source())).rejects.toMatchObject({ code: 'input' })
  })
})

describe('trust', () => {
  it('is given by naming the file, not by finding it', async () => {
    const file = await config(project)
    expect((await loadConfig(source())).trusted).toBe(false)
    expect((await loadConfig(source({ flag: file }))).trusted).toBe(true)
    expect((await loadConfig(source({ env: { MCP_IR_CONFIG: file } }))).trusted).toBe(true)
  })

  it('is given by accepting the file, and lost with the change of a byte', async () => {
    const file = await config(project)
    await trust(file)
    expect((await loadConfig(source())).trusted).toBe(true)
    expect((await loadConfig(source({ cwd: join(project, 'deep') }))).trusted).toBe(true)
    await config(project, 'vault: {address: "http://127.0.0.1:8201"}\n')
    expect((await loadConfig(source())).trusted).toBe(false)
    await config(project)
    expect((await loadConfig(source())).trusted).toBe(true)
  })

  it('does not go with a copy to another folder, where relative paths lead elsewhere', async () => {
    const text = 'registry: ./registry.yaml\n'
    await trust(await config(project, text))
    await config(join(project, 'deep'), text)
    expect((await loadConfig(source({ cwd: join(project, 'deep') }))).trusted).toBe(false)
  })

  it('is of several files, and of the newest content of each', async () => {
    const deep = join(project, 'deep')
    await trust(await config(project, 'cases: a\n'))
    await trust(await config(deep, 'cases: b\n'))
    await trust(await config(project, 'cases: c\n'))
    expect((await loadConfig(source())).trusted).toBe(true)
    expect((await loadConfig(source({ cwd: deep }))).trusted).toBe(true)
    await config(project, 'cases: a\n')
    expect((await loadConfig(source())).trusted).toBe(false)
  })

  it('accepts what was shown, not what the file has become', async () => {
    const file = await config(project)
    const view = await viewTrust(file, root, place())
    await config(project, 'vault: {address: "http://evil"}\n')
    await storeTrust(view, new Date(), place())
    expect((await loadConfig(source())).trusted).toBe(false)
  })

  it('is kept in a private folder and file', async () => {
    await trust(await config(project))
    const { stat, readdir } = await import('node:fs/promises')
    const folder = join(home, '.config/mcp-ir')
    expect((await stat(folder)).mode & 0o777).toBe(0o700)
    expect((await stat(join(folder, 'trusted.json'))).mode & 0o777).toBe(0o600)
    expect(await readdir(folder)).toEqual(['trusted.json'])
  })

  it('follows XDG_CONFIG_HOME', async () => {
    const file = await config(project)
    const env = { XDG_CONFIG_HOME: join(root, 'xdg') }
    await storeTrust(await viewTrust(file, root, place(env)), new Date(), place(env))
    expect((await loadConfig(source({ env }))).trusted).toBe(true)
    expect((await loadConfig(source())).trusted).toBe(false)
  })

  it('is refused altogether when others can write where it is kept', async () => {
    const file = await config(project)
    await trust(file)
    const store = join(home, '.config/mcp-ir/trusted.json')
    await chmod(store, 0o666)
    await expect(loadConfig(source())).rejects.toMatchObject({
      code: 'refused',
      hints: [expect.stringContaining(`chmod go-w ${store}`)],
    })
    await expect(storeTrust(await viewOf(file), new Date(), place())).rejects.toMatchObject({ code: 'refused' })
    // Named files need no store.
    expect((await loadConfig(source({ flag: file }))).trusted).toBe(true)
    await chmod(store, 0o600)
    await chmod(join(home, '.config/mcp-ir'), 0o777)
    await expect(loadConfig(source())).rejects.toMatchObject({ code: 'refused' })
    await rm(store)
    await expect(storeTrust(await viewOf(file), new Date(), place())).rejects.toMatchObject({ code: 'refused' })
  })

  async function viewOf(file: string) {
    return { file, hash: 'ab' }
  }

  it.each(['', '{', '[]', '{"version":2,"files":[]}', '{"version":1,"files":[{"file":1}]}'])(
    'says so when its store is damaged: %j',
    async (text) => {
      await trust(await config(project))
      await writeFile(join(home, '.config/mcp-ir/trusted.json'), text)
      await expect(loadConfig(source())).rejects.toMatchObject({
        code: 'input',
        message: expect.stringContaining('damaged'),
      })
    },
  )

  it('shows where the file sends secrets and what its registry starts', async () => {
    await writeFile(
      join(project, 'registry.yaml'),
      `servers:
  - name: a
    version: "1"
    status: approved
    owner: o
    package: {registryType: npm, identifier: a, version: "1"}
    deployments: [{id: d, kind: local-process, pidFile: a.pid, command: [node, a.js]}]
    credentials:
      - {id: x, kind: exec, command: [./x.sh, now]}
      - {id: y, kind: oauth, tokenEndpoint: "https://auth.example/token", clientId: c, probe: "https://api.example/me"}
`,
    )
    const file = await config(
      project,
      'registry: registry.yaml\nvault: {address: "http://127.0.0.1:8200"}\ninvocations: {kind: elasticsearch, node: "http://es:9200", index: i, format: otel}\n',
    )
    const view = await viewTrust('home/work/project/mcp-ir.yaml', root, place())
    expect(view).toMatchObject({ file, trusted: false, hash: expect.stringMatching(/^[0-9a-f]{64}$/) })
    expect(view.directs).toEqual([
      'Vault token: goes to http://127.0.0.1:8200',
      'Elasticsearch key: goes to http://es:9200',
      `registry ${join(project, 'registry.yaml')}: 1 server`,
      'registry may start node a.js',
      `registry may start ${join(project, 'x.sh')} now`,
      'registry sends client secrets or tokens to https://auth.example',
      'registry sends client secrets or tokens to https://api.example',
    ])
    await trust(file)
    expect((await viewTrust(file, root, place())).trusted).toBe(true)
  })

  it('can be given before the registry is there', async () => {
    const view = await viewTrust(await config(project, 'registry: none.yaml\n'), root, place())
    expect(view.directs).toEqual([expect.stringContaining('does not exist')])
  })

  it('is not given to a file that others can write', async () => {
    const file = await config(project, 'registry: x\n', 0o666)
    await expect(viewTrust(file, root, place())).rejects.toMatchObject({ code: 'refused' })
  })

  it('is demanded of what directs a secret', async () => {
    const file = await config(project, 'registry: registry.yaml\n')
    await writeFile(join(project, 'registry.yaml'), 'servers: []\n')
    await expect(assertTrusted(await loadConfig(source()), 'the Vault address')).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringContaining('the Vault address'),
      hints: [`read it, then: mcp-ir trust ${file}`, `or name it: --config ${file}`],
    })
    const named = await loadConfig(source({ flag: file }))
    await expect(assertTrusted(named, 'a command')).resolves.toBeUndefined()
    await chmod(join(project, 'registry.yaml'), 0o666)
    await expect(assertTrusted(named, 'a command')).rejects.toMatchObject({ code: 'refused' })
  })
})
