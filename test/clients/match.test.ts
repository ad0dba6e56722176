import { describe, expect, it } from 'vitest'
import { parseClientFile } from '../../src/clients/document.ts'
import { entriesOf } from '../../src/clients/entries.ts'
import { clientOf, knownFiles } from '../../src/clients/known-files.ts'
import { match, type Wanted } from '../../src/clients/match.ts'
import { secretsOf } from '../../src/clients/secrets.ts'
import type { Deployment } from '../../src/registry/port.ts'

const wanted: Wanted = {
  server: 'io.acme/crm',
  aliases: ['crm-mcp', 'shared'],
  package: { registryType: 'npm', identifier: '@acme/crm-mcp' },
  deployments: [
    { id: 'prod', kind: 'aws-ec2', url: 'https://crm.acme.example/mcp' },
    {
      id: 'dev',
      kind: 'local-process',
      url: 'http://127.0.0.1:7001/mcp',
      command: ['node', 'server.js'],
      cwd: '/srv/crm',
    },
    { id: 'desk', kind: 'local-process', match: { command: '*/crm-desktop *' } },
  ] as unknown as Deployment[],
  others: ['shared'],
}

function entryOf(value: unknown, name = 'x', holder = 'mcpServers') {
  const [entry] = entriesOf(
    parseClientFile('a.json', Buffer.from(JSON.stringify({ [holder]: { [name]: value } }))).tree,
  )
  if (entry === undefined) throw new TypeError('no entry')
  return entry
}
const certain = (value: unknown, name?: string, of = wanted): boolean | undefined =>
  match(entryOf(value, name), of)?.certain

describe('an entry is the server', () => {
  it.each([
    ['by its registry name', {}, 'io.acme/crm'],
    ['by an alias', { command: 'x' }, 'crm-mcp'],
    ['by the last part of the name', { command: 'node', args: ['/x.js'] }, 'crm'],
    [
      'by the last part of the name, with a package that is called alike',
      { command: 'npx', args: ['-y', 'crm-mcp@2'] },
      'crm',
    ],
    ['by the last part of the name, with no package told', { command: 'npx' }, 'crm'],
    ['by its URL', { url: 'https://crm.acme.example/mcp' }],
    ['by its URL, written otherwise', { serverUrl: 'HTTPS://CRM.acme.example:443/mcp/?token=x' }],
    ['by its URL, by another name of this machine', { type: 'http', httpUrl: 'http://localhost:7001/mcp' }],
    [
      'by the URL that a bridge goes to',
      { command: 'npx', args: ['-y', 'mcp-remote', 'https://crm.acme.example/mcp'] },
    ],
    ['by a URL in its transport', { transport: { type: 'sse', url: 'https://crm.acme.example/mcp' } }],
    ['by its package', { command: 'npx', args: ['-y', '@acme/crm-mcp'] }],
    ['by its package with a version', { command: ['npx', '-y', '@acme/crm-mcp@2.4.1'] }],
    ['by its package in a line for a shell', { command: 'sh', args: ['-c', 'exec npx -y @acme/crm-mcp@latest --x'] }],
    ['by its package, installed', { command: { path: 'node', args: ['/o/node_modules/@acme/crm-mcp/dist/i.js'] } }],
    ['by its command and folder', { command: 'node', args: ['server.js'], cwd: '/srv/crm' }],
    ['by its command with the whole path', { cmd: 'node', args: ['/srv/crm/server.js'] }],
    ['by the pattern of its command', { command: '/opt/crm-desktop', args: ['--stdio'] }],
  ])('%s', (_, value, name?: string) => {
    expect(certain(value, name)).toBe(true)
  })

  it.each([
    ['it has the name of another server too', { command: 'x' }, 'shared'],
    ['only the last part of the name, and another URL', { url: 'https://crm.other.example/mcp' }, 'crm'],
    ['only the last part of the name, and another package', { command: 'npx', args: ['-y', '@other/sales'] }, 'crm'],
    ['the same address with another path', { url: 'https://crm.acme.example/other' }],
    ['the same command in no folder', { command: 'node', args: ['server.js'] }],
    ['a program of the same name', { command: '/usr/bin/crm-mcp' }],
  ])('perhaps, when it has %s: listed only', (_, value, name?: string) => {
    expect(certain(value, name)).toBe(false)
  })

  it.each([
    ['another name', { command: 'x' }, 'crm2'],
    ['the name in capitals', { command: 'x' }, 'CRM'],
    ['a URL that begins alike', { url: 'https://crm.acme.example.evil.example/mcp' }],
    ['a URL that has it as a value', { url: 'https://evil.example/?u=https://crm.acme.example/mcp' }],
    ['a package that begins alike', { command: 'npx', args: ['@acme/crm-mcp-viewer', '@acme/crm-mcp@1/x'] }],
    ['another command', { command: 'node', args: ['server.mjs'], cwd: '/srv/crm' }],
    ['no URL at all', { url: 'not a url', args: [1, null, {}] }],
  ])('not with %s', (_, value, name?: string) => {
    expect(certain(value, name)).toBeUndefined()
  })

  it('never by a package that is not known', () => {
    const of = { ...wanted, package: { registryType: 'file' as const, identifier: 'unknown' } }
    expect(certain({ command: 'run', args: ['unknown'] }, 'x', of)).toBeUndefined()
  })
})

describe('secrets of an entry', () => {
  it('are told by name, and never by value', () => {
    const found = secretsOf(
      entryOf({
        command: 'docker',
        args: [
          'run',
          '-e',
          'API_TOKEN=hunter2',
          '--api-key',
          'hunter2',
          '--password=hunter2',
          'X-Auth-Token: hunter2',
          '-v',
          '/a:/b',
        ],
        url: 'https://me:hunter2@crm.acme.example/mcp?token=hunter2&page=1',
        env: { CRM_KEY: 'hunter2', PATH: '/bin', DB: 'hunter2' },
        env_keys: ['LEDGER', 'hunter-2'],
        headers: { Authorization: 'Bearer hunter2', 'Content-Type': 'x' },
        requestOptions: { headers: { 'X-Key': 'hunter2' } },
        oauth: { clientSecret: 'hunter2', scope: 'x' },
        bearer_token_env_var: 'hunter2',
      }),
    )
    expect(found.map(({ name, where }) => `${where} ${name}`).sort()).toEqual([
      'URL token',
      'URL user and password',
      'argument --api-key',
      'argument --password',
      'argument API_TOKEN',
      'argument X-Auth-Token',
      'entry bearer_token_env_var',
      'entry clientSecret',
      'environment (without a name)',
      'environment CRM_KEY',
      'environment DB',
      'environment LEDGER',
      'header Authorization',
      'header X-Key',
    ])
    expect(JSON.stringify(found)).not.toContain('hunter2')
  })
})

describe('the list of client files', () => {
  it('tells a client by where its file lies', () => {
    for (const { client, path } of knownFiles) expect(clientOf(`/home/somebody/${path}`)).toBe(client)
    expect(clientOf('/home/somebody/other.json')).toBeUndefined()
    expect(new Set(knownFiles.map(({ path }) => path)).size).toBe(knownFiles.length)
  })
})
