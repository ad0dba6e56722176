import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { mcpIr, workplace } from '../testbed/cli.ts'
import { at, sigstoreWorld } from './sigstore-world.ts'

const npm = fileURLToPath(new URL('../data/npm-provenance/provenance-npm-test-cli-v1-prega.tgz', import.meta.url))
const npmIdentity = 'https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main'
const issuer = 'https://token.actions.githubusercontent.com'
const world = sigstoreWorld()
const identity = 'https://github.com/acme/crm-mcp/.github/workflows/release.yml@refs/tags/v1'
const content = Buffer.from('the file in hand')
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' })

let folder: string
const files: Record<string, string> = {}
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcp-ir-verify-'))
  const as = world.certificate({ names: [{ uri: identity }], issuer })
  const byKey = { as: key.privateKey, file: content }
  const contents: Record<string, unknown> = {
    'file.mcpb': content,
    'root.json': world.trustedRoot(),
    'no-log.json': world.trustedRoot({ log: false }),
    'certificate.json': world.signed({ as, file: content, logged: at('10:05') }),
    'key.json': world.signed({ ...byKey, logged: at('10:05') }),
    'unlogged.json': world.signed(byKey),
    'other.json': world.signed({ ...byKey, file: Buffer.from('another file'), logged: at('10:05') }),
    'key.pub': key.publicKey.export({ type: 'spki', format: 'pem' }),
    'broken.json': '{"mediaType":',
  }
  for (const [name, value] of Object.entries(contents)) {
    const path = join(folder, name)
    files[name] = path
    await writeFile(path, typeof value === 'string' || Buffer.isBuffer(value) ? value : JSON.stringify(value))
  }
  files['huge.json'] = join(folder, 'huge.json')
  await writeFile(files['huge.json'], '{')
  await truncate(files['huge.json'], 100 * 1024 ** 2)
})
afterAll(async () => await rm(folder, { recursive: true, force: true }))

/** Names of files above stand for their paths. */
async function verifying(...args: readonly string[]) {
  return await mcpIr(['verify', ...args.map((arg) => files[arg] ?? arg), '--json'])
}
const byIdentity = ['--certificate-identity', identity, '--certificate-oidc-issuer', issuer]
const root = ['--trusted-root', 'root.json']

describe('mcp-ir verify', () => {
  test.each<[string, number, string, string[]]>([
    ['certificate', 0, 'verified', ['--bundle', 'certificate.json', ...root, ...byIdentity]],
    ['key', 0, 'verified', ['--bundle', 'key.json', ...root, '--key', 'key.pub']],
    ['digest', 4, 'invalid', ['--digest', `sha256:${'0'.repeat(64)}`]],
    ['another file', 4, 'invalid', ['--bundle', 'other.json', ...root, '--key', 'key.pub']],
    ['unlogged', 4, 'invalid', ['--bundle', 'unlogged.json', ...root, '--key', 'key.pub']],
    ['unlogged, shipped trust root', 4, 'invalid', ['--bundle', 'unlogged.json', '--key', 'key.pub']],
    ['unlogged by consent', 0, 'verified', ['--bundle', 'unlogged.json', '--key', 'key.pub', '--insecure-ignore-tlog']],
    [
      'unlogged where there is no log',
      0,
      'verified',
      ['--bundle', 'unlogged.json', '--key', 'key.pub', '--trusted-root', 'no-log.json'],
    ],
    ['nobody expected', 4, 'unverifiable', ['--bundle', 'certificate.json', ...root]],
    ['broken', 4, 'invalid', ['--bundle', 'broken.json', ...root, ...byIdentity]],
    ['100 MB', 4, 'invalid', ['--bundle', 'huge.json', ...root, ...byIdentity]],
  ])('%s: code %d, %s', async (_, code, state, args) => {
    const ran = await verifying('file.mcpb', ...args)
    expect({ code: ran.code, state: ran.json.result.output.state }).toEqual({ code, state })
    expect(ran.json).toMatchObject({ schema: 'mcp-ir/verify/1', case: null, status: code === 0 ? 'done' : 'refused' })
  })

  test.each<[string, string[]]>([
    ['no file', ['nothing.bin', '--digest', `sha256:${'0'.repeat(64)}`]],
    ['no bundle', ['file.mcpb', '--bundle', 'nothing.json', ...byIdentity]],
    ['no trust root', ['file.mcpb', '--bundle', 'certificate.json', '--trusted-root', 'nothing.json', ...byIdentity]],
    ['no key', ['file.mcpb', '--bundle', 'key.json', '--key', 'nothing.pub']],
    ['no such digest', ['file.mcpb', '--digest', 'sha1:abc']],
    ['nothing to check against', ['file.mcpb']],
    ['an identity without its issuer', ['file.mcpb', '--bundle', 'certificate.json', '--certificate-identity', 'x']],
    ['key and identity', ['file.mcpb', '--bundle', 'key.json', '--key', 'key.pub', ...byIdentity]],
  ])('%s: code 2', async (_, args) => {
    const ran = await verifying(...args)
    expect(ran.code).toBe(2)
    expect(ran.json).toMatchObject({ schema: 'mcp-ir/error/1', status: 'error' })
  })

  test('npm attestations with the shipped trust root, without a network, and what a person reads', async () => {
    const by = async (identity: string) =>
      await mcpIr([
        'verify',
        npm,
        '--bundle',
        `${npm}.json`,
        '--certificate-identity',
        identity,
        '--certificate-oidc-issuer',
        issuer,
      ])
    const ran = await by(npmIdentity)
    expect(ran.code).toBe(0)
    expect(ran.stdout).toContain('verified: ')
    expect(ran.stdout).toContain(npmIdentity)
    const evil = await by(npmIdentity.replace('/sigstore/', '/sigstore-evil/'))
    expect(evil.code).toBe(4)
    expect(evil.stdout).toContain('invalid: ')
  })

  test('the expectations of a registry entry', async () => {
    const cwd = workplace(`
servers:
  - name: io.acme/sigstore
    version: 2.3.1
    status: approved
    owner: team
    package: {registryType: npm, identifier: sigstore, version: 2.3.1, attestations: ${npm}.json}
    source:
      repository: https://github.com/sigstore/sigstore-js
      commit: 46e7056ff9912ebfee5298d94024895a9fea76c0
      issuer: ${issuer}
      identity: ${npmIdentity}
      builder: https://github.com/actions/runner/github-hosted
    deployments: []
  - name: io.acme/bare
    version: 2.3.1
    status: approved
    owner: team
    package: {registryType: npm, identifier: sigstore, version: 2.3.1}
    deployments: []
`)
    const right = await mcpIr(['verify', npm, '--server', 'io.acme/sigstore', '--json'], { cwd })
    expect({ code: right.code, reasons: right.json.result.output.reasons }).toEqual({ code: 0, reasons: [] })
    const bare = await mcpIr(['verify', npm, '--server', 'io.acme/bare', '--json'], { cwd })
    expect({ code: bare.code, state: bare.json.result.output.state }).toEqual({ code: 4, state: 'unverifiable' })
    const other = await mcpIr(['verify', `${npm}.json`, '--server', 'io.acme/sigstore', '--json'], { cwd })
    expect({ code: other.code, state: other.json.result.output.state }).toEqual({ code: 4, state: 'invalid' })
    await rm(cwd, { recursive: true, force: true })
  })

  test("a registry entry names the trust root of an instance of one's own; --trusted-root goes before it", async () => {
    const entry = (name: string, trustedRoot: string) => `  - name: ${name}
    version: 1.0.0
    status: approved
    owner: team
    package: {registryType: file, identifier: file, version: 1.0.0, attestations: "${files['certificate.json']}"${trustedRoot}}
    source: {identity: "${identity}", issuer: "${issuer}"}
    deployments: []
`
    const own = entry('io.acme/own', `, trustedRoot: "${files['root.json']}"`)
    const cwd = workplace(`servers:\n${own}${entry('io.acme/shipped', '')}`)
    const file = files['file.mcpb'] ?? ''
    const state = async (...args: readonly string[]) => {
      const ran = await mcpIr(['verify', file, ...args, '--json'], { cwd })
      return [ran.code, ran.json.result.output.state]
    }
    expect(await state('--server', 'io.acme/own')).toEqual([0, 'verified'])
    expect(await state('--server', 'io.acme/shipped')).toEqual([4, 'invalid'])
    expect(await state('--server', 'io.acme/shipped', '--trusted-root', files['root.json'] ?? '')).toEqual([
      0,
      'verified',
    ])
    await rm(cwd, { recursive: true, force: true })
  })
})
