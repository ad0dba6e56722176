import { createHash } from 'node:crypto'
import { existsSync, linkSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { chmod, chown, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { keptFiles } from '../../src/clients/file.ts'
import { knownFilesIn } from '../../src/clients/known-files.ts'
import { mcpClientConfig } from '../../src/containment/mcp-client-config.ts'
import type { ClientTarget, Containment, ContainmentTarget } from '../../src/containment/port.ts'
import type { Deployment } from '../../src/registry/port.ts'
import { bytesOf, canary, crm, published } from '../clients/published.ts'
import { type ContainmentWorld, containmentContract, operate } from '../contracts/containment.ts'

const secret = 'canary-91bd20-do-not-tell'
const adapter = mcpClientConfig as unknown as Containment

const target = (file: string, more: Partial<ClientTarget> = {}): ContainmentTarget =>
  ({
    ...crm,
    owner: 'crm-team',
    file,
    deployments: [{ id: 'prod', kind: 'aws-ec2', url: crm.url }] as unknown as Deployment[],
    others: [],
    ...more,
  }) as unknown as ContainmentTarget

const config = `{
  // mine
  "mcpServers": {
    "files": {"command": "npx", "args": ["-y", "@acme/files"]}, // keep
    "crm": {
      "command": "npx",
      "args": ["-y", "@acme/crm-mcp", "--api-key", "${secret}"],
      "env": {"CRM_TOKEN": "${secret}", "NODE_ENV": "production"}
    },
    "remote": {"url": "https://crm.acme.example/mcp?token=${secret}", "headers": {"Authorization": "Bearer ${secret}"}}
  }
}
`

interface Home extends ContainmentWorld {
  readonly folder: string
  readonly file: string
  readonly privateFolder: string
}

/** @param entry what stands in the file only while the server does */
async function home(content = config, name = '.cursor/mcp.json', entry = /"crm"|"remote"/): Promise<Home> {
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-clients-'))
  const file = join(folder, name)
  const privateFolder = join(folder, 'case', 'private')
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, content, { mode: 0o640 })
  const sha = createHash('sha256').update(content).digest('hex')
  return {
    adapter,
    target: target(file),
    absent: target(join(folder, 'none.json')),
    own: target(join(folder, 'case', 'mcp.json')),
    folder,
    file,
    privateFolder,
    secrets: [secret, canary],
    connected: async () => entry.test(await readFile(file, 'utf8')),
    // The bytes are kept, and the new file lies beside the old one, half written.
    half: async ([change]) => {
      await mkdir(join(privateFolder, 'clients'), { recursive: true })
      await writeFile(join(privateFolder, 'clients', sha), content)
      await writeFile(join(dirname(file), `.${basename(file)}.mcp-ir-${change?.id}`), '{')
    },
    disturb: async () => writeFile(file, content),
    stop: async () => rm(folder, { recursive: true, force: true }),
  }
}

containmentContract('mcp-client-config', () => home())
// One of each format, with entries in several places.
const formats = published.filter(({ path }) =>
  /^\.(?:claude\.json|codex)|zed|goose/.test(path.replace('.config/', '.')),
)
for (const { client, path, marked } of formats) {
  containmentContract(`mcp-client-config, ${client}`, () => home(bytesOf(marked).before, path, new RegExp(canary)))
}

const all = (file: string) => readFileSync(file)

describe('the published form of a configuration', () => {
  it.each(published)('of $client ($path): the entry out, the bytes back', async ({ path, marked, secrets }) => {
    const { before, after } = bytesOf(marked)
    const world = await home(before, path)
    const run = operate(world)
    expect(await run.check()).toEqual([])
    const changes = await run.plan()
    expect(changes).toHaveLength(1)
    await run.apply(changes)
    expect(all(world.file).toString()).toBe(after)
    const verdict = await run.verify()
    expect(verdict.observed).toMatchObject([{ holds: true }])
    const told = (verdict.output as { secrets: { name: string }[] }).secrets.map(({ name }) => name)
    expect(told.toSorted()).toEqual(secrets.toSorted())
    expect((await run.undo(changes)).state).toBe('verified')
    expect(all(world.file).toString()).toBe(before)
    await world.stop()
  })

  it.each(published)('of $client ($path), cut short or damaged: untouched, and listed', async ({ path, marked }) => {
    const { before } = bytesOf(marked)
    const damaged = /ya?ml$/.test(path) ? `${before}\n}: [` : path.endsWith('toml') ? `${before}=` : before.slice(0, -4)
    const world = await home(damaged, path)
    const run = operate(world)
    expect(await run.check()).toMatchObject([{ kind: 'warning', message: expect.stringMatching(/left as it is/) }])
    expect(await run.plan()).toEqual([])
    expect(await run.verify()).toMatchObject({ state: 'residual', residue: [expect.stringContaining(world.file)] })
    expect(all(world.file).toString()).toBe(damaged)
    await world.stop()
  })
})

describe('the file of a client', () => {
  it('keeps its mode and owner, and nothing lies beside it afterwards', async () => {
    const world = await home()
    await chmod(world.file, 0o604)
    const root = process.getuid?.() === 0
    if (root) await chown(world.file, 12345, 54321)
    const run = operate(world)
    const changes = await run.plan()
    await run.apply(changes)
    expect(await world.connected()).toBe(false)
    const look = () => {
      const { mode, uid, gid } = statSync(world.file)
      return [mode & 0o7777, uid, gid]
    }
    const owner = root ? [12345, 54321] : [process.getuid?.(), process.getgid?.()]
    expect(look()).toEqual([0o604, ...owner])
    expect(readdirSync(dirname(world.file))).toEqual(['mcp.json'])
    expect(all(world.file).toString()).toBe(
      '{\n  // mine\n  "mcpServers": {\n    "files": {"command": "npx", "args": ["-y", "@acme/files"]} // keep\n  }\n}\n',
    )
    for (const name of readdirSync(join(world.privateFolder, 'clients'), { recursive: true })) {
      const { mode } = statSync(join(world.privateFolder, 'clients', String(name)))
      expect(mode & 0o077).toBe(0)
    }
    expect(await keptFiles(world.privateFolder)).toEqual([world.file])
    await run.undo(changes)
    expect(all(world.file).toString()).toBe(config)
    expect(look()).toEqual([0o604, ...owner])
    expect(readdirSync(dirname(world.file))).toEqual(['mcp.json'])
    await world.stop()
  })

  it('tells what starts it, and which secrets stood there, by name', async () => {
    const world = await home()
    const run = operate(world)
    const [change] = await run.plan()
    expect(change?.facts).toMatchObject({
      client: 'Cursor',
      'entry 1': expect.stringMatching(/mcpServers\.crm: it runs the package.*stdio.*CRM_TOKEN.*--api-key/),
      'entry 2': expect.stringMatching(/mcpServers\.remote: its URL is that of deployment prod.*Authorization/),
    })
    await run.apply(change === undefined ? [] : [change])
    const verdict = await run.verify()
    expect(verdict.state).toBe('residual')
    expect(verdict.residue.join('\n')).toMatch(/stdio[\s\S]*CRM_TOKEN[\s\S]*token \(URL\)/)
    expect(verdict.output).toMatchObject({
      client: 'Cursor',
      removed: [{ starts: 'process' }, { starts: 'nothing' }],
      secrets: [
        { entry: 'mcpServers.crm', name: 'CRM_TOKEN', where: 'environment' },
        { entry: 'mcpServers.crm', name: '--api-key', where: 'argument' },
        { entry: 'mcpServers.remote', name: 'Authorization', where: 'header' },
        { entry: 'mcpServers.remote', name: 'token', where: 'URL' },
      ],
    })
    await world.stop()
  })

  it('lists what may be it, and leaves it', async () => {
    const text =
      '{"mcpServers": {"crm": {"url": "https://other.example/mcp"}, "\\u001b[31m": {"url": "https://crm.acme.example/x"}}}'
    const world = await home(text)
    const run = operate(world)
    expect((await run.check()).map(({ kind }) => kind)).toEqual(['warning', 'warning'])
    expect(await run.plan()).toEqual([])
    const verdict = await run.verify()
    expect([verdict.state, verdict.residue.length]).toEqual(['residual', 2])
    expect(JSON.stringify(verdict.residue)).not.toContain('\\u001b')
    expect(all(world.file).toString()).toBe(text)
    await world.stop()
  })

  it.each<[string, (world: Home) => Promise<unknown>, RegExp]>([
    [
      'is no JSON',
      ({ file }) => writeFile(file, '{"mcpServers": {"crm": {"command": "x"}'),
      /not valid JSON in line 1/,
    ],
    ['is not UTF-8', ({ file }) => writeFile(file, Buffer.from([0xff, 0xfe, 0x7b])), /UTF-8/],
    [
      'is a link',
      async ({ file, folder }) => {
        await rm(file)
        await writeFile(join(folder, 'real.json'), config)
        await symlink(join(folder, 'real.json'), file)
      },
      /symbolic link/,
    ],
    ['has a second name', async ({ file, folder }) => linkSync(file, join(folder, 'second.json')), /hard link/],
    [
      'is a folder',
      async ({ file }) => {
        await rm(file)
        await mkdir(file)
      },
      /no regular file/,
    ],
  ])('that %s is left as it is, and listed', async (_, make, why) => {
    const world = await home()
    await make(world)
    const before = existsSync(world.file) && statSync(world.file).isFile() ? all(world.file) : undefined
    const run = operate(world)
    expect(await run.check()).toMatchObject([{ kind: 'warning', message: expect.stringMatching(why) }])
    expect(await run.plan()).toEqual([])
    const verdict = await run.verify()
    expect(verdict).toMatchObject({ state: 'residual', residue: [expect.stringMatching(why)] })
    if (before !== undefined) expect(all(world.file)).toEqual(before)
    await world.stop()
  })

  it('that changed between plan and apply is refused', async () => {
    const world = await home()
    const run = operate(world)
    const changes = await run.plan()
    await writeFile(world.file, `${config} `)
    await expect(run.apply(changes)).rejects.toMatchObject({
      code: 'refused',
      message: expect.stringMatching(/changed/),
    })
    expect(all(world.file).toString()).toBe(`${config} `)
    await world.stop()
  })

  it('that others changed since: what came and went is told, and their bytes are not lost', async () => {
    const world = await home()
    const run = operate(world)
    const changes = await run.plan()
    await run.apply(changes)
    const theirs = '{"mcpServers": {"new\\u0007": {"command": "x"}}}'
    await writeFile(world.file, theirs)
    const drift = await run.drift(changes)
    expect(drift).toEqual([
      expect.stringMatching(/new\\u\{7\} was added, and would be lost/),
      expect.stringMatching(/mcpServers\.files was taken out/),
    ])
    expect((await run.undo(changes)).state).toBe('verified')
    expect(all(world.file).toString()).toBe(config)
    const kept = readdirSync(join(world.privateFolder, 'clients')).filter((name) => name !== 'files')
    expect(kept.map((name) => all(join(world.privateFolder, 'clients', name)).toString()).sort()).toEqual(
      [config, theirs].sort(),
    )
    await world.stop()
  })

  it.each([
    ['that is gone is made again', (file: string) => rm(file), 'verified'],
    ['in which a comment was added', (file: string) => writeFile(file, `${all(file)}// hello\n`), 'verified'],
  ])('%s, with the drift told', async (_, change, state) => {
    const world = await home()
    const run = operate(world)
    const changes = await run.plan()
    await run.apply(changes)
    await change(world.file)
    expect(await run.drift(changes)).toHaveLength(1)
    expect((await run.undo(changes)).state).toBe(state)
    expect(all(world.file).toString()).toBe(config)
    expect(statSync(world.file).mode & 0o777).toBe(0o640)
    await world.stop()
  })

  it('is not put back when the kept bytes are gone or were altered', async () => {
    const world = await home()
    const run = operate(world)
    const changes = await run.plan()
    await run.apply(changes)
    const after = all(world.file)
    const [kept] = readdirSync(join(world.privateFolder, 'clients')).filter((name) => name !== 'files')
    await writeFile(join(world.privateFolder, 'clients', kept ?? ''), 'altered')
    await expect(run.undo(changes)).rejects.toMatchObject({ code: 'refused' })
    expect(all(world.file)).toEqual(after)
    await world.stop()
  })

  it('has every entry of the server taken out, also one that stands twice', async () => {
    const text =
      '{"mcpServers": {"crm": {"command": "a"}, "crm": {"command": "b"}}, "projects": {"/p": {"mcpServers": {"crm": {}}}}}'
    const world = await home(text, '.claude.json')
    const run = operate(world)
    const changes = await run.plan()
    expect(changes).toHaveLength(1)
    await run.apply(changes)
    expect(all(world.file).toString()).toBe('{"mcpServers": {}, "projects": {"/p": {"mcpServers": {}}}}')
    await run.undo(changes)
    expect(all(world.file).toString()).toBe(text)
    await world.stop()
  })

  it('may have the same bytes as others that are changed at the same time', async () => {
    const worlds = await Promise.all(Array.from({ length: 12 }, () => home()))
    const privateFolder = join(worlds[0]?.folder ?? '', 'case', 'private')
    const runs = worlds.map((world) => operate({ ...world, privateFolder }))
    const plans = await Promise.all(runs.map((run) => run.plan()))
    await Promise.all(runs.map((run, at) => run.apply(plans[at] ?? [])))
    expect(await Promise.all(worlds.map((world) => world.connected()))).toEqual(worlds.map(() => false))
    expect(readdirSync(join(privateFolder, 'clients')).filter((name) => name !== 'files')).toHaveLength(1)
    await Promise.all(runs.map((run, at) => run.undo(plans[at] ?? [])))
    for (const world of worlds) expect(all(world.file).toString()).toBe(config)
    await Promise.all(worlds.map((world) => world.stop()))
  })

  it('whose layout does not allow it fails aloud', async () => {
    const world = await home(
      'base: &all\n  crm: {cmd: a, envs: {KEY: x}}\nextensions: *all\n',
      '.config/goose/config.yaml',
    )
    const run = operate(world)
    expect((await run.check())[0]?.message).toMatch(/layout/)
    expect(await run.plan()).toEqual([])
    expect(await run.verify()).toMatchObject({ state: 'failed', output: { secrets: [{ name: 'KEY' }] } })
    await world.stop()
  })

  it('gets back identical bytes, for any bytes around the entry', { timeout: 60_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('', '\uFEFF'),
        fc.constantFrom('\n', '\r\n', ' '),
        fc.string({ unit: 'grapheme', maxLength: 20 }),
        fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 3, noNullPrototype: true }),
        async (mark, eol, note, settings) => {
          const servers = { ...settings, crm: { command: 'x' } }
          const text = `${mark}{${eol}/* ${note.replaceAll('*/', '')} */"mcpServers":${JSON.stringify(servers)}${eol}}${eol}`
          const world = await home(text)
          const run = operate(world)
          const changes = await run.plan()
          await run.apply(changes)
          expect(all(world.file).length).toBeLessThan(Buffer.byteLength(text))
          await run.undo(changes)
          expect(all(world.file).equals(Buffer.from(text))).toBe(true)
          await world.stop()
        },
      ),
      { numRuns: 10 },
    )
  })
})

describe('a home folder', () => {
  it('is looked through for every file of the list, links too', async () => {
    const world = await home()
    const more = ['.config/Code/User/profiles/b/mcp.json', '.config/Code/User/profiles/a/mcp.json']
    const other = [
      '.config/Code/User/profiles/a/notes.json',
      '.continue/mcpServers/crm.txt',
      '.continue/mcpServers/.yaml',
    ]
    for (const path of [...more, ...other]) {
      await mkdir(dirname(join(world.folder, path)), { recursive: true })
      await writeFile(join(world.folder, path), '{}')
    }
    await symlink('/nonexistent', join(world.folder, '.continue/mcpServers/crm.yaml'))
    await mkdir(join(world.folder, '.codex'))
    await symlink('/nonexistent', join(world.folder, '.codex/config.toml'))
    const wanted = ['.cursor/mcp.json', '.codex/config.toml', '.continue/mcpServers/crm.yaml', ...more]
    const found = await knownFilesIn(world.folder)
    expect(found.toSorted()).toEqual(wanted.map((path) => join(world.folder, path)).sort())
    expect(found.filter((file) => file.includes('profiles'))).toEqual(
      more.toReversed().map((path) => join(world.folder, path)),
    )
    await expect(knownFilesIn(world.file)).rejects.toMatchObject({ code: 'input' })
    await world.stop()
  })

  it('has each published form found', async () => {
    const world = await home()
    for (const { path } of published) {
      await mkdir(dirname(join(world.folder, path)), { recursive: true })
      await writeFile(join(world.folder, path), '{}')
    }
    const found = await knownFilesIn(world.folder)
    expect(found.toSorted()).toEqual(published.map(({ path }) => join(world.folder, path)).sort())
    await world.stop()
  })
})
