import fc from 'fast-check'
import { parse as parseJsonc } from 'jsonc-parser'
import { describe, expect, it } from 'vitest'
import { parse as parseYaml } from 'yaml'
import { parseClientFile } from '../../src/clients/document.ts'
import { type Entry, entriesOf } from '../../src/clients/entries.ts'
import { Uneditable, Unparsable } from '../../src/clients/tree.ts'
import { type Pick, picker, type Servers, servers } from './trees.ts'

const bytes = (text: string): Uint8Array => Buffer.from(text, 'utf8')
const text = (content: Uint8Array): string => Buffer.from(content).toString('utf8')

function take(file: string, content: string, name = 'crm'): string {
  const document = parseClientFile(file, bytes(content))
  const entry = entriesOf(document.tree).find((one: Entry) => one.name === name)
  if (entry === undefined) throw new TypeError(`no entry ${name}`)
  return text(document.without(entry.path))
}

describe('one entry is taken out of', () => {
  it.each([
    [
      'JSON, the first',
      'a.json',
      '{\n  "mcpServers": {\n    "crm": {"command": "x"},\n    "b": {}\n  }\n}\n',
      '{\n  "mcpServers": {\n    "b": {}\n  }\n}\n',
    ],
    [
      'JSON, the last',
      'a.json',
      '{\n  "mcpServers": {\n    "b": {},\n    "crm": {\n      "command": "x"\n    }\n  }\n}\n',
      '{\n  "mcpServers": {\n    "b": {}\n  }\n}\n',
    ],
    ['JSON, the only one', 'a.json', '{"mcpServers":{"crm":{"command":"x"}},"z":1}', '{"mcpServers":{},"z":1}'],
    [
      'JSON on one line',
      'a.json',
      '{"mcpServers": {"a": {}, "crm": {}, "b": {}}}',
      '{"mcpServers": {"a": {}, "b": {}}}',
    ],
    [
      'JSON with CRLF, tabs and a mark',
      'a.json',
      '\uFEFF{\r\n\t"servers": {\r\n\t\t"crm": {},\r\n\t\t"b": {}\r\n\t}\r\n}',
      '\uFEFF{\r\n\t"servers": {\r\n\t\t"b": {}\r\n\t}\r\n}',
    ],
    [
      'JSON with commas first',
      'a.json',
      '{"mcpServers":\n  { "a": {}\n  , "crm": {}\n  , "b": {}\n  }\n}',
      '{"mcpServers":\n  { "a": {}\n  , "b": {}\n  }\n}',
    ],
    [
      'JSONC with comments and a comma at the end',
      'settings.json',
      '{\n  // all of them\n  "context_servers": {\n    "a": {}, // first\n    /* ours */\n    "crm": {"command": {"path": "x"}}, // second\n  },\n}\n',
      '{\n  // all of them\n  "context_servers": {\n    "a": {}, // first\n    /* ours */\n    // second\n  },\n}\n',
    ],
    [
      'JSONC, the last behind a comment',
      'a.json',
      '{"servers": {\n  "a": {}, // first\n  "crm": {} // second\n}}',
      '{"servers": {\n  "a": {} // first\n // second\n}}',
    ],
    [
      'TOML, a table with its tables',
      'config.toml',
      '# top\nmodel = "x"\n\n[mcp_servers.a]\ncommand = "a" # one\n\n# ours\n[mcp_servers.crm]\ncommand = "npx"\nargs = [\n  "-y", # yes\n]\n\n[mcp_servers.crm.env]\nKEY = "v"\n\n[tui]\nx = 1\n',
      '# top\nmodel = "x"\n\n[mcp_servers.a]\ncommand = "a" # one\n\n# ours\n\n\n[tui]\nx = 1\n',
    ],
    [
      'TOML, keys with dots',
      'config.toml',
      'mcp_servers.crm.command = "x"\nmcp_servers.b.command = "y"\nmcp_servers.crm.args = []\n[mcp_servers]\n',
      undefined,
    ],
    [
      'TOML, an inline table',
      'config.toml',
      'mcp_servers = { a = {command = "x"}, crm = {command = "y"} }\n',
      'mcp_servers = { a = {command = "x"} }\n',
    ],
    [
      'TOML, keys in the table above',
      'config.toml',
      '[mcp_servers]\n"crm".command = "x"\nb.command = "y"\ncrm.env.K = "v"\n',
      '[mcp_servers]\nb.command = "y"\n',
    ],
    [
      'YAML, Goose',
      'config.yaml',
      '# mine\nextensions:\n  a:\n    cmd: x # one\n  crm:\n    type: stdio\n    envs:\n      KEY: v\n  # the last\n  b: {cmd: y}\nGOOSE: 1\n',
      '# mine\nextensions:\n  a:\n    cmd: x # one\n  # the last\n  b: {cmd: y}\nGOOSE: 1\n',
    ],
    [
      'YAML, Continue',
      'config.yaml',
      'name: x\nmcpServers:\n  - name: a\n    command: x\n  - name: crm\n    command: y\n    env:\n      K: v\n\nmodels: []\n',
      'name: x\nmcpServers:\n  - name: a\n    command: x\n\nmodels: []\n',
    ],
    [
      'YAML, the only one',
      'config.yaml',
      'extensions: # all\n  crm:\n    cmd: |\n      x\n\nb: 1\n',
      'extensions: {} # all\n\nb: 1\n',
    ],
    [
      'TOML, the last, without an end of line',
      'config.toml',
      '[mcp_servers.a]\ncommand = "a"\n\n[mcp_servers.crm]\ncommand = "x"',
      '[mcp_servers.a]\ncommand = "a"\n\n',
    ],
    [
      'TOML, an inline table over a table of keys with dots',
      'config.toml',
      '[mcp_servers]\r\na.command = "a"\r\ncrm = { command = "x", env = { K = "v" } } # c\r\nz = {command = "z"}\r\n',
      '[mcp_servers]\r\na.command = "a"\r\n # c\r\nz = {command = "z"}\r\n',
    ],
    [
      'TOML, tables that stand apart',
      'config.toml',
      '[mcp_servers.crm]\ncommand = "x"\n[tui]\nx = 1\n[mcp_servers."crm".env]\nK = "v"\n["mcp_servers"]\nb = {command = "y"}\n',
      '[tui]\nx = 1\n["mcp_servers"]\nb = {command = "y"}\n',
    ],
    [
      'JSON, a key that stands twice, the first',
      'a.json',
      '{"mcpServers": {"crm": {"command": "old"}, "b": {}, "crm": {"command": "new"}}}',
      '{"mcpServers": {"b": {}, "crm": {"command": "new"}}}',
    ],
    [
      'YAML, one that merges what others share',
      'config.yaml',
      'base: &base\n  type: stdio\nextensions:\n  crm:\n    <<: *base\n    cmd: x\n  b:\n    <<: *base\n    cmd: y\n',
      'base: &base\n  type: stdio\nextensions:\n  b:\n    <<: *base\n    cmd: y\n',
    ],
    [
      'YAML, with an anchor that nobody uses, and no end of line',
      'config.yaml',
      'extensions:\n  b: {cmd: y}\n  crm: &crm\n    cmd: >-\n      x\n      y',
      'extensions:\n  b: {cmd: y}\n',
    ],
    ['YAML, the only one of a list', 'config.yaml', 'mcpServers:\n- name: crm\n  url: http://x\n', 'mcpServers: []\n'],
    [
      'YAML in braces, with CRLF',
      'config.yml',
      'extensions: {a: {cmd: x},\r\n  crm: {cmd: y}, # c\r\n  b: {}}\r\n',
      'extensions: {a: {cmd: x},\r\n  # c\r\n  b: {}}\r\n',
    ],
  ])('%s', (_, file, before, after) => {
    if (after === undefined) expect(() => take(file, before)).toThrow(Unparsable)
    else expect(take(file, before)).toBe(after)
  })

  it('Claude Code, also in a project', () => {
    const before = '{"numStartups": 3, "projects": {"/w": {"mcpServers": {"crm": {"url": "http://x"}}, "h": [1]}}}'
    expect(take('.claude.json', before)).toBe('{"numStartups": 3, "projects": {"/w": {"mcpServers": {}, "h": [1]}}}')
  })

  it('Visual Studio Code, in its settings', () => {
    expect(take('settings.json', '{"mcp": {"inputs": [], "servers": {"crm": {}}}}')).toBe(
      '{"mcp": {"inputs": [], "servers": {}}}',
    )
  })
})

describe('a file is left alone', () => {
  it.each([
    ['no JSON', 'a.json', '{"mcpServers": {'],
    ['nothing', 'a.json', ''],
    ['JSON that goes on', 'a.json', '{} {}'],
    ['deep JSON', 'a.json', '['.repeat(100_000)],
    ['deep JSON that closes', 'a.json', `${'['.repeat(5000)}${']'.repeat(5000)}`],
    ['no TOML', 'a.toml', '[mcp_servers\n'],
    ['TOML that says a key twice', 'a.toml', 'a = 1\na = 2\n'],
    ['deep TOML', 'a.toml', `a = ${'['.repeat(5000)}${']'.repeat(5000)}`],
    ['no YAML', 'a.yaml', 'a: [1\nb: }'],
    ['YAML that says a key twice', 'a.yaml', 'a: 1\na: 2\n'],
    ['several YAML documents', 'a.yaml', 'a: 1\n---\nb: 2\n'],
    ['an alias that leads nowhere', 'a.yaml', 'a: *b\n'],
    ['deep YAML', 'a.yaml', `a: ${'['.repeat(3000)}${']'.repeat(3000)}`],
    ['an alias of itself', 'a.yaml', 'a: &a [*a]\n'],
    [
      'aliases that multiply',
      'a.yaml',
      `a0: &a0 [x]\n${Array.from({ length: 30 }, (_, at) => `a${at + 1}: &a${at + 1} [*a${at}, *a${at}]`).join('\n')}\n`,
    ],
  ])('with %s', (_, file, content) => {
    expect(() => parseClientFile(file, bytes(content))).toThrow(Unparsable)
  })

  it('that is not UTF-8', () => {
    expect(() => parseClientFile('a.json', Buffer.from([0x7b, 0xff, 0x7d]))).toThrow(Unparsable)
    expect(() => parseClientFile('a.json', Buffer.from('\uFEFF{}', 'utf16le'))).toThrow(Unparsable)
  })

  it.each([
    ['an anchor that others use', 'extensions:\n  crm: &x {cmd: a}\nother: *x\n'],
    ['an alias for all of them', 'base: &all\n  crm: {cmd: a}\nextensions: *all\n'],
    ['a key that is explicit', 'extensions:\n  ? crm\n  : {cmd: a}\n  ? b\n  : {}\n'],
  ])('whose layout has %s', (_, content) => {
    expect(() => take('config.yaml', content)).toThrow()
    expect(() => take('config.yaml', content)).toThrow(Uneditable)
  })

  it('and names that every object has do no harm', () => {
    const toml = '[mcp_servers.__proto__]\ncommand = "x"\n[mcp_servers.crm]\ncommand = "y"\n'
    expect(take('config.toml', toml, '__proto__')).toBe('[mcp_servers.crm]\ncommand = "y"\n')
    expect(take('a.json', '{"mcpServers":{"__proto__":{"command":"x"},"b":{}}}', '__proto__')).toBe(
      '{"mcpServers":{"b":{}}}',
    )
    expect(({} as Record<string, unknown>).command).toBeUndefined()
  })
})

function jsonOf({ servers: all }: Servers, pick: Pick, comments: boolean) {
  const eol = pick('\n', '\r\n')
  let marks = 0
  const markers: string[] = []
  const gap = (): string => {
    if (comments && pick(0, 0, 0, 1) === 1) {
      const marker = `note${marks++}.`
      markers.push(marker)
      return pick(` /* ${marker} */ `, ` // ${marker}${eol}\t`)
    }
    return pick('', '', ' ', eol, `${eol}    `, '\t', ` ${eol}${eol}`)
  }
  const inner = JSON.stringify
  const parts = all.map(
    ([key, value]) =>
      `${inner(key)}${pick('', ' ')}:${pick('', ' ', eol)}${inner(value, undefined, pick(0, 2)).replaceAll('\n', eol)}`,
  )
  const body = parts.map((part, at) => `${gap()}${part}${gap()}${at < parts.length - 1 ? ',' : ''}`).join('')
  const end = comments ? pick('', ',') : ''
  const content = `${pick('', '\uFEFF')}{${gap()}"first": [1, 2],${gap()}"mcpServers": {${body}${end}${gap()}}${gap()},${gap()}"last": {"x": null}${gap()}}${eol}`
  return { content, markers }
}

function tomlOf({ servers: all }: Servers, pick: Pick) {
  const eol = pick('\n', '\r\n')
  const markers: string[] = []
  const note = (): string => {
    const marker = `note${markers.length}.`
    markers.push(marker)
    return `# ${marker}${eol}`
  }
  const gap = (): string =>
    pick(
      () => '',
      () => eol,
      () => `  ${eol}`,
      note,
    )()
  const inline = (value: unknown): string =>
    Array.isArray(value)
      ? `[${pick('', ' ')}${value.map(inline).join(pick(',', ', ', `,${eol}  `))}]`
      : typeof value === 'object' && value !== null
        ? `{${Object.entries(value)
            .map(([key, one]) => `${JSON.stringify(key)} = ${inline(one)}`)
            .join(pick(', ', ' , '))}}`
        : JSON.stringify(value).replaceAll('\u007f', '\\u007f')
  let content = `${pick('', '\uFEFF')}${note()}first = [1, 2]${eol}`
  for (const [key, { env, ...rest }] of all) {
    content += `${gap()}${pick('', '  ')}[${pick('mcp_servers', '"mcp_servers"', ' mcp_servers ')}.${JSON.stringify(key)}]${pick('', ' ')}${eol}`
    for (const [field, value] of Object.entries(rest))
      content += `${pick('', ' ')}${field}${pick('=', ' = ')}${inline(value)}${eol}`
    if (env !== undefined)
      content +=
        pick(0, 1) === 0
          ? `env = ${inline(env)}${eol}`
          : `[mcp_servers.${JSON.stringify(key)}.env]${eol}${Object.entries(env as object)
              .map(([field, value]) => `${JSON.stringify(field)} = ${inline(value)}${eol}`)
              .join('')}`
  }
  content += `${gap()}[last]${eol}x = 1 ${note()}`
  return { content, markers }
}

function yamlOf({ servers: all }: Servers, pick: Pick) {
  const eol = pick('\n', '\r\n')
  const markers: string[] = []
  const note = (indent: string): string => {
    const marker = `note${markers.length}.`
    markers.push(marker)
    return `${indent}# ${marker}${eol}`
  }
  const pad = pick('  ', '    ', ' ')
  const gap = (): string =>
    pick(
      () => '',
      () => eol,
      () => note(pad),
      () => note(''),
    )()
  let content = `${pick('', '\uFEFF')}${note('')}first: [1, 2]${eol}extensions:${pick('', ' # all of them')}${eol}`
  for (const [key, value] of all) {
    content += gap()
    const head = `${pad}${JSON.stringify(key)}:`
    if (pick(0, 1) === 0) content += `${head} ${JSON.stringify(value)}${eol}`
    else {
      content += `${head}${eol}`
      for (const [field, one] of Object.entries(value)) content += `${pad}${pad}${field}: ${JSON.stringify(one)}${eol}`
    }
  }
  content += `${gap()}last:${eol}  x: null ${note('')}`
  return { content, markers }
}

describe('for any document, the entry goes and every other byte stays', { timeout: 60_000 }, () => {
  const runs = { numRuns: 50 }
  const rest = ({ servers: all, index }: Servers) => Object.fromEntries(all.filter((_, at) => at !== index))
  const nameOf = ({ servers: all, index }: Servers) => all[index]?.[0] ?? ''

  it.each([true, false])('in JSON, comments: %s', (comments) => {
    fc.assert(
      fc.property(servers, picker, (given, pick) => {
        const { content, markers } = jsonOf(given, pick, comments)
        const after = take('a.json', content, nameOf(given))
        const read = (source: string) => (comments ? parseJsonc : JSON.parse)(source.replace(/^\uFEFF/, ''))
        expect(read(after)).toEqual({ ...read(content), mcpServers: rest(given) })
        for (const marker of markers) expect(after).toContain(marker)
        expectOrder(content, after)
      }),
      runs,
    )
  })

  it('in TOML', () => {
    fc.assert(
      fc.property(servers, picker, (given, pick) => {
        const { content, markers } = tomlOf(given, pick)
        const after = take('config.toml', content, nameOf(given))
        const left = entriesOf(parseClientFile('config.toml', bytes(after)).tree)
        const before = entriesOf(parseClientFile('config.toml', bytes(content)).tree)
        expect(left.map(({ node }) => node)).toEqual(
          before.filter(({ name }) => name !== nameOf(given)).map(({ node }) => node),
        )
        expect(left.map(({ name }) => name)).toEqual(
          Object.keys(rest(given)).length === 0
            ? []
            : before.filter(({ name }) => name !== nameOf(given)).map(({ name }) => name),
        )
        for (const marker of markers) expect(after).toContain(marker)
        expectOrder(content, after)
      }),
      runs,
    )
  })

  it('in YAML', () => {
    fc.assert(
      fc.property(servers, picker, (given, pick) => {
        const { content, markers } = yamlOf(given, pick)
        const after = take('config.yaml', content, nameOf(given))
        expect(parseYaml(after)).toEqual({ ...parseYaml(content), extensions: rest(given) })
        for (const marker of markers) expect(after).toContain(marker)
        expectOrder(content.replace('extensions:', 'extensions: {}'), after)
      }),
      runs,
    )
  })
})

/** What is left stands in the original in the same order: nothing was written anew. */
function expectOrder(before: string, after: string): void {
  let at = 0
  for (const character of after) {
    at = before.indexOf(character, at) + 1
    expect(at).toBeGreaterThan(0)
  }
}
