import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { dump } from 'js-yaml'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { IrError } from '../../src/errors.ts'
import { loadRegistry } from '../../src/registry/load.ts'

const fixture = fileURLToPath(new URL('fixtures/all-keys.yaml', import.meta.url))
const fixtures = dirname(fixture)

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcp-ir-registry-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

let count = 0
async function written(text: string | Uint8Array): Promise<string> {
  count += 1
  const file = join(folder, `registry-${count}.yaml`)
  await writeFile(file, text)
  return file
}

async function mistakes(
  text: string | Uint8Array,
): Promise<{ file: string; lines: string[]; hints: readonly string[] }> {
  const file = await written(text)
  const error = await loadRegistry(file).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof IrError)) throw new Error(`expected an IrError, got ${error}`)
  expect(error.code).toBe('input')
  return { file, lines: error.message.replaceAll(`${file}:`, '').split('\n'), hints: error.hints }
}

/** A server that is right, as lines of YAML; `extra` are further keys. */
const server = (name: string, extra = '') => `  - name: ${name}
    version: 1.0.0
    status: approved
    owner: team
    package: {registryType: npm, identifier: x, version: 1.0.0}
    deployments: []
${extra}`

describe('a registry that is right', () => {
  it('loads with every key, under the hash of its bytes', async () => {
    const registry = await loadRegistry(fixture)
    expect(registry.file).toBe(fixture)
    expect(registry.hash).toBe(
      createHash('sha256')
        .update(await readFile(fixture))
        .digest('hex'),
    )
    expect(registry.servers.map((entry) => entry.name)).toEqual(['org.harbour/berths', 'org.harbour/lights'])
  })

  it('has absolute paths, against the folder of the file', async () => {
    const [berths] = (await loadRegistry(fixture)).servers
    const at = (path: string) => join(fixtures, path)
    expect(berths?.package).toMatchObject({
      path: at('builds/berths-1.10.0.tgz'),
      attestations: at('builds/berths-1.10.0.tgz.json'),
      key: join(fixtures, '../keys/harbour.pub'),
      trustedRoot: join(fixtures, '../keys/trusted-root.json'),
    })
    expect(berths?.deployments[1]).toMatchObject({
      pidFile: at('run/berths.pid'),
      cwd: at('berths'),
      // Runs in the folder of the build, so this is not the registry's business.
      command: ['./bin/serve', '--quiet'],
    })
    expect(berths?.deployments[2]).toMatchObject({ redeploy: { command: [at('pipeline/redeploy.sh'), 'desk'] } })
    expect(berths?.clients).toEqual([at('clients/desk.json')])
    expect(berths?.deliverTo).toEqual({ kind: 'file', path: at('run/next.env') })
    const credential = (id: string) => berths?.credentials.find((entry) => entry.id === id)
    expect(credential('tide')).toMatchObject({ issuer: { command: [at('issuers/tide.sh'), '--short'] } })
    expect(credential('pilot')).toMatchObject({ issuer: { clientSecretFile: at('run/pilot-secret') } })
    expect(credential('customs')).toMatchObject({
      clientSecretFile: at('run/customs-secret'),
      tokenFile: at('run/customs-token'),
    })
    expect(credential('gate')).toMatchObject({ command: ['gatectl', 'revoke', 'berths'] })
    expect(credential('crane')).toMatchObject({ command: [join(fixtures, '../tools/crane.sh')] })
    expect(credential('tug')).toMatchObject({ command: [at('tools/tug.sh')] })
  })

  it('has its defaults', async () => {
    const lights = (await loadRegistry(fixture)).servers[1]
    expect(lights).toMatchObject({ criticality: 'normal', aliases: [], credentials: [], reaches: [], clients: [] })
    expect(lights?.knownGood).toBeUndefined()
  })

  it('may be empty', async () => {
    expect((await loadRegistry(await written('servers: []\n'))).servers).toEqual([])
  })

  it.each([
    ['2026-11-20T00:00:00Z', '2026-11-20T00:00:00.000Z'],
    ['"2026-11-20T00:00:00Z"', '2026-11-20T00:00:00.000Z'],
    ['2026-11-20T08:00:00.5+01:00', '2026-11-20T07:00:00.500Z'],
    ['2026-11-20 08:00:00 +1', '2026-11-20T07:00:00.000Z'],
    ['!!timestamp 2026-11-20T00:00:00Z', '2026-11-20T00:00:00.000Z'],
    ['2026-11-20', '2026-11-20T00:00:00.000Z'],
  ])('reads the moment %s as %s', async (text, expected) => {
    const file = await written(`servers:\n${server('a', `    knownGood: ${text}\n`)}`)
    expect((await loadRegistry(file)).servers[0]?.knownGood).toBe(expected)
  })

  it('keeps apart what two entries take from one alias', async () => {
    const file = await written(
      `servers:\n${server('a', '    clients: &c [one.json]\n')}${server('b', '    clients: *c\n')}`,
    )
    const { servers } = await loadRegistry(file)
    expect(servers[1]?.clients).toEqual([join(folder, 'one.json')])
  })
})

describe('a registry with mistakes', () => {
  it('names an unknown key, its line and the nearest known one', async () => {
    const { lines, hints } = await mistakes(`servers:\n${server('a', '    consumer: [x]\n')}`)
    expect(lines).toEqual(['8: servers[0].consumer: is not a known key'])
    expect(hints).toEqual(['did you mean consumers?'])
  })

  it('knows the keys of the kind that an entry has', async () => {
    const { lines, hints } = await mistakes(
      `servers:\n${server('a', '    credentials:\n      - {id: x, kind: exec, command: [a]}\n      - {id: y,\n         kind: oauth, tokenEndpoint: "https://a/b", clientId: c,\n         tokenfile: t}\n')}`,
    )
    expect(lines).toEqual(['12: servers[0].credentials[1].tokenfile: is not a known key'])
    expect(hints).toEqual(['did you mean tokenFile?'])
  })

  it('names the values that would do', async () => {
    const { lines, hints } = await mistakes(
      `servers:\n${server('a').replace('approved', 'aproved')}${server('b', '    deployments: []\n')
        .replace('    deployments: []\n', '    deployments: [{id: d, kind: kubernetes}]\n')
        .replace(/ {4}deployments: \[\]\n$/, '')}`,
    )
    expect(lines).toEqual([
      '4: servers[0].status: must be one of proposed, approved, suspended, retired',
      '13: servers[1].deployments[0].kind: must be one of aws-ec2, local-process',
    ])
    expect(hints).toEqual(['line 4: did you mean approved?', 'line 13: allowed: aws-ec2, local-process'])
  })

  it('says that a number which should be text wants quotes', async () => {
    const { lines, hints } = await mistakes(`servers:\n${server('a').replace('version: 1.0.0', 'version: 1.10')}`)
    expect(lines).toEqual(['3: servers[0].version: must be text, not a number'])
    expect(hints).toEqual(['put it in quotes'])
  })

  it('reports both lines of a name that is given twice', async () => {
    const { lines } = await mistakes(`servers:\n${server('a')}${server('b')}${server('a')}`)
    expect(lines).toEqual(['14: servers[2].name: "a" is already the name of another server (line 2)'])
  })

  it('reports both lines of an alias that is the name of another server', async () => {
    const { lines } = await mistakes(`servers:\n${server('a')}${server('b', '    aliases: [b, a]\n')}`)
    expect(lines).toEqual(['14: servers[1].aliases[1]: "a" is the name of another server (line 2)'])
  })

  it('reports ids that a server has twice, but not those of two servers', async () => {
    const credentials = '    credentials:\n      - {id: x, kind: exec, command: [a]}\n'
    const twice = `${credentials}      - {id: x, kind: exec, command: [b]}\n`
    const { lines } = await mistakes(`servers:\n${server('a', credentials)}${server('b', twice)}`)
    expect(lines).toEqual(['18: servers[1].credentials[1].id: "x" is already the id of another credential (line 17)'])
  })

  it('reports a reach through a credential that the server has not', async () => {
    const { lines, hints } = await mistakes(
      `servers:\n${server('a', '    credentials: [{id: x, kind: exec, command: [a]}]\n    reaches:\n      - {system: s, kind: k, access: read, via: y}\n')}`,
    )
    expect(lines).toEqual(['10: servers[0].reaches[0].via: "y" is no credential of this server'])
    expect(hints).toEqual(['its credentials: "x"'])
  })

  it('reports credentials that would overwrite each other in a delivered file', async () => {
    const { lines } = await mistakes(
      `servers:\n${server('a', '    deliverTo: {kind: file, path: x.env}\n    credentials:\n      - {id: api-key, kind: exec, command: [a]}\n      - {id: api.key, kind: exec, command: [a]}\n')}`,
    )
    expect(lines).toEqual([
      '11: servers[0].credentials[1].id: becomes API_KEY in the delivered file, as the credential on line 10 does',
    ])
  })

  it.each([
    ['    knownGood: yesterday\n', 'servers[0].knownGood: must be a moment such as 2026-11-20T08:00:00Z'],
    ['    knownGood: 2026-02-30T00:00:00Z\n', 'servers[0].knownGood: must be a moment such as 2026-11-20T08:00:00Z'],
    [
      '    knownGood: 2026-11-20T08:00:00\n',
      'servers[0].knownGood: has no time zone: write it as 2026-11-20T08:00:00Z or with an offset such as +01:00',
    ],
    ['    aliases:\n', 'servers[0].aliases: is empty: it must be a list'],
    ['    owner2: x\n', 'servers[0].owner2: is not a known key'],
    ['    <<: {}\n', 'servers[0].<<: is not a known key'],
    ['    __proto__: {}\n', 'servers[0].__proto__: is not a known key'],
    ['    clients: ["~/x.json"]\n', 'servers[0].clients[0]: must be a path: ~ is not expanded, write it out'],
    [
      '    credentials: [{id: x, kind: oauth, clientId: c, tokenEndpoint: "https://u:s3cr3t@h/t"}]\n',
      'servers[0].credentials[0].tokenEndpoint: must not carry a user name or password',
    ],
    [
      '    credentials: [{id: x, kind: oauth, clientId: c, tokenEndpoint: "javascript:alert(1)"}]\n',
      'servers[0].credentials[0].tokenEndpoint: must be a URL that begins with http:// or https://',
    ],
  ])('says what is wrong with %j', async (extra, expected) => {
    const { lines } = await mistakes(`servers:\n${server('a', extra)}`)
    expect(lines).toEqual([`8: ${expected}`])
  })

  it('says what a deployment without a target lacks', async () => {
    const { lines } = await mistakes(
      `servers:\n${server('a').replace('deployments: []', 'deployments:\n      - {id: x, kind: local-process}')}`,
    )
    expect(lines).toEqual(['8: servers[0].deployments[0]: names no target: give pidFile, url or match'])
  })

  it('reports all mistakes at once, by line, what the schema finds and what it cannot', async () => {
    const { lines } = await mistakes(`servers:\n${server('a', '    x: 1\n')}${server('a', '    y: 1\n')}z: 1\n`)
    expect(lines.map((line) => line.split(': ').slice(0, 2).join(': '))).toEqual([
      '8: servers[0].x',
      '9: servers[1].name',
      '15: servers[1].y',
      '16: z',
    ])
  })

  it('shows the first twenty and counts the rest', async () => {
    const { lines } = await mistakes(
      `servers:\n${Array.from({ length: 27 }, (_, index) => server(`s${index}`, '    x: 1\n')).join('')}`,
    )
    expect(lines).toHaveLength(21)
    expect(lines[0]).toMatch(/^8: /)
    expect(lines[20]).toBe('… and 7 more')
  })

  it('finds the line of a mistake behind an alias, and of one in a mapping that an alias repeats', async () => {
    const { lines } = await mistakes(
      `servers:\n${server('a', '    credentials:\n      - {id: x, kind: postgres, user: u, database: &db\n          {engine: mysql, host: h, name: n}}\n      - {id: y, kind: postgres, user: u, database: *db}\n')}`,
    )
    expect(lines).toEqual([
      '10: servers[0].credentials[0].database.engine: must be one of postgres',
      '10: servers[0].credentials[1].database.engine: must be one of postgres',
    ])
  })

  it.each([
    ['servers: [', /^1: unexpected end/],
    ['servers: []\nservers: []\n', /^2: duplicated mapping key/],
    ['a: 1\n\tb: 2\n', /^2: /],
    ['servers: !!js/function x\n', /^1: unknown .*tag/],
    ['--- {servers: []}\n--- {servers: []}\n', /^1: expected a single document/],
    ['', /^1: the file is empty/],
    ['~\n', /^1: the file is empty/],
    ['[]\n', /^1: must be a mapping/],
    [Buffer.from([0x73, 0x3a, 0x20, 0xff, 0xfe]), /is not UTF-8/],
  ])('refuses %j', async (text, expected) => {
    expect((await mistakes(text)).lines[0]).toMatch(expected)
  })

  it('refuses nested aliases that would multiply', async () => {
    const level = (name: string, of: string) =>
      `    ${name}: [${Array.from({ length: 60 }, () => `*${of}`).join(', ')}]\n`
    const { lines } = await mistakes(
      `servers:\n${server('a', `    a: &a [x]\n${level('b', 'a').replace('b: ', 'b: &b ')}${level('c', 'b').replace('c: ', 'c: &c ')}${level('d', 'c').replace('d: ', 'd: &d ')}${level('e', 'd')}`)}`,
    )
    expect(lines[0]).toMatch(/aliases exceeded/)
  })

  it('never shows what the file holds beside the names of its keys', async () => {
    const { lines } = await mistakes('servers:\n  - name: "s3cr3t\n')
    expect(lines.join('\n')).not.toContain('s3cr3t')
  })

  it('escapes control characters', async () => {
    const { lines } = await mistakes(`servers:\n${server('a', '    "\\e[2J": 1\n')}`)
    expect(lines).toEqual(['8: servers[0].\\u{1b}[2J: is not a known key'])
  })

  it('does not wait for a pipe, nor read a folder', async () => {
    await expect(loadRegistry(folder)).rejects.toMatchObject({ code: 'input' })
    await expect(loadRegistry(join(folder, 'none.yaml'))).rejects.toMatchObject({
      code: 'input',
      message: `${join(folder, 'none.yaml')} does not exist`,
    })
  })
})

describe('whatever a registry looks like', () => {
  const required: (string | number)[][] = [
    ['servers'],
    ...['name', 'version', 'status', 'owner', 'package', 'deployments'].map((key) => ['servers', 0, key]),
    ...['registryType', 'identifier', 'version'].map((key) => ['servers', 0, 'package', key]),
    ['servers', 0, 'tools', 'digest'],
    ['servers', 0, 'deployments', 0, 'id'],
    ['servers', 0, 'deployments', 0, 'kind'],
    ['servers', 0, 'credentials', 0, 'role'],
    ['servers', 0, 'credentials', 0, 'database', 'host'],
    ['servers', 0, 'deliverTo', 'path'],
    ['servers', 0, 'reaches', 0, 'system'],
    ['servers', 0, 'reaches', 0, 'access'],
    ['servers', 0, 'resources', 0, 'tool'],
  ]
  const whole = () => ({
    servers: [
      {
        name: 'a',
        version: '1',
        status: 'approved',
        owner: 'o',
        package: { registryType: 'npm', identifier: 'i', version: '1' },
        tools: { digest: `sha256-${'A'.repeat(43)}=` },
        deployments: [{ id: 'd', kind: 'aws-ec2', instances: ['i-1'] }],
        credentials: [
          {
            id: 'c',
            kind: 'vault-database',
            mount: 'm',
            role: 'r',
            database: { engine: 'postgres', host: 'h', name: 'n' },
          },
        ],
        deliverTo: { kind: 'file', path: 'p' },
        reaches: [{ system: 's', kind: 'k', access: 'read' }],
        resources: [{ tool: 't', access: 'read', resource: 'r' }],
      },
    ],
  })

  it('loads as it stands', async () => {
    expect((await loadRegistry(await written(dump(whole())))).servers).toHaveLength(1)
  })

  it.each(required.map((path) => [path.join('.'), path] as const))(
    'says that %s is missing, on the line of what lacks it',
    async (_, path) => {
      const document = whole()
      const key = path.at(-1) as string
      const parents = path.slice(0, -1)
      const parent = parents.reduce<unknown>((at, part) => (at as Record<string | number, unknown>)[part], document)
      delete (parent as Record<string, unknown>)[key]
      // Marks where the parent begins: its key's line, or its first line in a list.
      const text = dump(document)
      const { lines } = await mistakes(text)
      const where = path.reduce<string>(
        (shown, part) => (typeof part === 'number' ? `${shown}[${part}]` : shown === '' ? part : `${shown}.${part}`),
        '',
      )
      const line = lines.find((each) => each.includes(`: ${where}: `))
      expect(line).toMatch(key === 'kind' || key === 'status' ? /is missing$/ : /: is missing$/)
      expect(Number(line?.split(':')[0])).toBe(lineOf(text, parents))
    },
  )

  /** By indentation, as js-yaml dumps it: independent of the parser's positions. */
  function lineOf(text: string, path: readonly (string | number)[]): number {
    const lines = text.split('\n')
    let at = -1
    let indent = -1
    for (const part of path) {
      if (typeof part === 'number') {
        at = lines.findIndex((line, index) => index > at && /^ *- /.test(line))
        indent = (lines[at]?.indexOf('- ') ?? 0) + 1
        continue
      }
      const from = at
      at = lines.findIndex((line, index) => {
        const bare = line.replace('- ', '  ')
        return index >= Math.max(from, 0) && bare.trimStart().startsWith(`${part}:`) && bare.search(/\S/) > indent
      })
      indent = (lines[at] ?? '').replace('- ', '  ').search(/\S/)
    }
    return Math.max(at, 0) + 1
  }

  it('gives a registry or an IrError of code input, never another error', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...'a:-[]{}&*!|>\'"#,? \n\t<~1') })),
        async (text) => {
          const file = await written(text)
          const result = await loadRegistry(file).catch((error: unknown) => error)
          expect(result instanceof IrError ? result.code : typeof result).toMatch(/^(input|object)$/)
          if (result instanceof Error) expect(result).toBeInstanceOf(IrError)
        },
      ),
      { numRuns: 150 },
    )
  })

  it('points to the line of any one value of it that is made wrong', async () => {
    const text = await readFile(fixture, 'utf8')
    const lines = text.split('\n')
    // Every line with a plain value, that value replaced by a list of mappings, which no key takes.
    const targets = lines.flatMap((line, index) => (/^ +(?:- )?[a-zA-Z]+: [^[{&]/.test(line) ? [index] : []))
    expect(targets.length).toBeGreaterThan(25)
    for (const target of targets) {
      const changed = lines
        .map((line, index) => (index === target ? line.replace(/: .*?(,?)$/, ': [{}]$1') : line))
        .join('\n')
      const { lines: found } = await mistakes(changed)
      expect(found.map((line) => Number(line.split(':')[0]))).toContain(target + 1)
    }
  })
})
