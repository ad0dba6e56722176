import { createHash, generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { provenance } from '../../src/provenance/index.ts'
import type { Expectations } from '../../src/provenance/port.ts'
import { loadTrustRoot } from '../../src/provenance/trust-root.ts'
import { provenanceContract } from '../contracts/provenance.ts'
import { at, type CertificateOptions, type SignOptions, sigstoreWorld } from './sigstore-world.ts'

const signal = AbortSignal.timeout(60_000)
const world = sigstoreWorld()
const repository = 'https://github.com/acme/crm-mcp'
const identity = `${repository}/.github/workflows/release.yml@refs/tags/v1`
const issuer = 'https://token.actions.githubusercontent.com'
const commit = '34490b44db557f009617bcb92b8780f972c189ab'
const builder = 'https://github.com/actions/runner/github-hosted'
const file = Buffer.from('the file in hand')
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' })

let folder: string
let path: string
let root: string
let keyFile: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcp-ir-sigstore-'))
  path = await write('file.bin', file)
  root = await write('root.json', JSON.stringify(world.trustedRoot()))
  keyFile = await write('key.pub', key.publicKey.export({ type: 'spki', format: 'pem' }))
})
afterAll(async () => await rm(folder, { recursive: true, force: true }))

async function write(name: string, content: string | Uint8Array): Promise<string> {
  const to = join(folder, name)
  await writeFile(to, content)
  return to
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const about = (digest: string, predicateType: string, predicate: unknown) => ({
  _type: 'https://in-toto.io/Statement/v1',
  subject: [{ name: 'file.bin', digest: { sha256: digest } }],
  predicateType,
  predicate,
})
const slsa = (from = repository, by = builder, made = commit) =>
  about(sha256(file), 'https://slsa.dev/provenance/v1', {
    buildDefinition: {
      externalParameters: { workflow: { repository: from } },
      resolvedDependencies: [{ uri: `git+${from}@refs/tags/v1`, digest: { gitCommit: made } }],
    },
    runDetails: { builder: { id: by } },
  })
const extensions = { 9: identity, 11: 'github-hosted', 12: repository, 13: commit }
const certificate = (options: Partial<CertificateOptions> = {}) =>
  world.certificate({ names: [{ uri: identity }], issuer, extensions, ...options })

/** Signs, and verifies what was signed. */
async function verdict(signing: Partial<SignOptions>, expected: Expectations = {}) {
  const signed = world.signed({ as: certificate(), file, logged: at('10:05'), ...signing })
  return await verifyBundle(signed, expected)
}

async function verifyBundle(bundle: unknown, expected: Expectations = {}) {
  const named = await write('bundle.json', JSON.stringify(bundle))
  const by = expected.key === undefined ? { identity, issuer } : {}
  return await provenance.verify(path, { bundle: named, trustedRoot: root, ...by, ...expected }, signal)
}

provenanceContract('Sigstore bundle with a certificate', provenance, async (at_) => {
  const [good, other, bundle, trustedRoot] = ['good', 'other', 'bundle', 'root'].map((name) => join(at_, name)) as [
    string,
    string,
    string,
    string,
  ]
  await writeFile(good, file)
  await writeFile(other, 'another file')
  await writeFile(bundle, JSON.stringify(world.signed({ as: certificate(), file, logged: at('10:05') })))
  await writeFile(trustedRoot, JSON.stringify(world.trustedRoot()))
  return { file: good, other, expected: { bundle, trustedRoot, identity, issuer } }
})

describe('what verifies', () => {
  const statement = slsa()
  test.each<[string, Partial<SignOptions>]>([
    ['a statement, bundle 0.1', { statement, version: '0.1', entry: 'intoto' }],
    ['a statement, bundle 0.2', { statement, version: '0.2', entry: 'dsse' }],
    ['a statement, bundle 0.3', { statement, version: '0.3' }],
    ['the file itself, bundle 0.1', { version: '0.1' }],
    ['the file itself, bundle 0.3', {}],
    ['the file itself, with a timestamp too', { stamped: at('10:06') }],
    ['the file itself, logged by the second Rekor', { rekor2: true, stamped: at('10:06') }],
    ['a statement, logged by the second Rekor', { statement, rekor2: true, stamped: at('10:06') }],
  ])('%s', async (_, signing) => {
    expect(await verdict(signing)).toMatchObject({ state: 'verified', reasons: [] })
  })

  test.each<[string, Partial<SignOptions>]>([
    ['the file itself', {}],
    ['a statement', { statement }],
    ['the file itself, Ed25519', { as: generateKeyPairSync('ed25519').privateKey }],
    ['the file itself, RSA', { as: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey }],
    ['a statement, logged by the second Rekor', { statement, rekor2: true }],
  ])('%s, signed with a key', async (_, signing) => {
    const as = (signing.as as typeof key.privateKey | undefined) ?? key.privateKey
    const { createPublicKey } = await import('node:crypto')
    const named = await write('this.pub', createPublicKey(as).export({ type: 'spki', format: 'pem' }))
    expect(await verdict({ ...signing, as }, { key: named })).toMatchObject({ state: 'verified', reasons: [] })
    // The same bundle by the key of somebody else.
    expect((await verdict({ ...signing, as }, { key: await otherKey() })).state).toBe('invalid')
  })

  const otherKey = async () =>
    await write(
      'other.pub',
      generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'pem' }),
    )

  test('everything that a registry entry can expect', async () => {
    const expected = { repository, commit, builder }
    expect(await verdict({ statement }, expected)).toMatchObject({ state: 'verified', reasons: [] })
  })
})

describe('who signed', () => {
  test.each([
    ['an owner that begins alike', identity.replace('acme', 'acme-evil')],
    ['a dot as any character', identity.replaceAll('.', 'x')],
    ['one dot as any character', identity.replace('release.yml', 'releaseXyml')],
    ['something in front', `https://evil.example/?${identity}`],
    ['something behind', `${identity}-evil`],
    ['another tag', identity.replace('v1', 'v2')],
    ['upper case', identity.replace('acme', 'Acme')],
    ['a letter with the eighth bit set', identity.replace('acme', 'acm\u00e5')],
    ['a new line behind', `${identity}\n`],
    ['nothing', ''],
  ])('%s is not the expected identity', async (_, uri) => {
    const { state, reasons } = await verdict({ as: certificate({ names: [{ uri }] }) })
    expect(state).toBe('invalid')
    expect(reasons.join()).not.toMatch(/\p{C}/u)
  })

  test('an expectation is no pattern', async () => {
    for (const pattern of ['.*', `^${identity}$`, identity.replace('crm-mcp', '.*'), 'https://github.com/acme/*']) {
      expect((await verdict({}, { identity: pattern })).state).toBe('invalid')
    }
  })

  test('a letter that reads as another one without its eighth bit', async () => {
    // U+00E1 without it is "a", U+00E5 is "e".
    const uri = identity.replace('acme', '\u00e1cme')
    expect(Buffer.from(uri, 'latin1').toString('ascii')).toBe(identity)
    expect((await verdict({ as: certificate({ names: [{ uri }] }) })).state).toBe('invalid')
  })

  test.each([
    ['an e-mail address', { email: 'release@acme.example' }, 'release@acme.example'],
    ['a user name', { user: 'release!acme.example' }, 'release!acme.example'],
  ])('%s can be the identity', async (_, name, expected) => {
    const as = certificate({ names: [name] })
    expect((await verdict({ as }, { identity: expected })).state).toBe('verified')
    expect((await verdict({ as }, { identity: `x${expected}` })).state).toBe('invalid')
  })

  test('the issuer counts, exactly, and a certificate without one does not', async () => {
    expect((await verdict({ as: certificate({ issuer: `${issuer}.evil.example` }) })).state).toBe('invalid')
    expect((await verdict({ as: world.certificate({ names: [{ uri: identity }] }) })).state).toBe('invalid')
  })

  test('without an expected identity, or with half of one, it is unverifiable; a broken signature is invalid all the same', async () => {
    const nobody = { identity: undefined, issuer: undefined }
    expect((await verdict({}, nobody)).state).toBe('unverifiable')
    expect((await verdict({}, { issuer: undefined })).state).toBe('unverifiable')
    expect((await verdict({}, { identity: undefined })).state).toBe('unverifiable')
    const broken = world.signed({ as: certificate(), file: Buffer.from('another'), logged: at('10:05') })
    expect((await verifyBundle(broken, nobody)).state).toBe('invalid')
  })

  test('a certificate by an authority that is not trusted', async () => {
    const elsewhere = sigstoreWorld()
    const as = elsewhere.certificate({ names: [{ uri: identity }], issuer, extensions })
    const { state, reasons } = await verdict({ as })
    expect(state).toBe('invalid')
    expect(reasons[0]).toContain('certificate')
  })

  test('a certificate with several names: one of them is enough; with the names twice: none is', async () => {
    const names = [{ email: 'release@acme.example' }, { uri: identity }]
    expect((await verdict({ as: certificate({ names }) })).state).toBe('verified')
    expect((await verdict({ as: certificate({ again: [{ uri: 'https://evil.example' }] }) })).state).toBe('invalid')
    const evil = [{ uri: 'https://evil.example' }]
    expect((await verdict({ as: certificate({ names: evil, again: [{ uri: identity }] }) })).state).toBe('invalid')
  })

  test('a certificate of an authority', async () => {
    expect((await verdict({ as: certificate({ authority: true }) })).state).toBe('invalid')
  })

  test('a certificate that is not for signing code', async () => {
    expect((await verdict({ as: certificate({ usage: '1.3.6.1.5.5.7.3.1' }) })).state).toBe('invalid')
  })
})

describe('when it was signed', () => {
  test.each([
    ['before the certificate', { logged: at('09:59') }],
    ['after the certificate', { logged: at('10:11') }],
    ['after it by the time-stamp authority alone', { stamped: at('10:11') }],
    ['after it by the authority, without a log time', { rekor2: true, stamped: at('10:11') }],
  ])('%s: invalid', async (_, signing) => {
    expect((await verdict(signing)).state).toBe('invalid')
  })

  test('a certificate that expired long ago holds when it was used in time, whatever the clock of this machine says', async () => {
    const year = (text: string) => new Date(`2021-${text}Z`)
    const as = certificate({ from: year('05-01T10:00:00'), to: year('05-01T10:10:00') })
    expect((await verdict({ as, logged: year('05-01T10:05:00') })).state).toBe('verified')
    const future = (text: string) => new Date(`2037-${text}Z`)
    const later = certificate({ from: future('05-01T10:00:00'), to: future('05-01T10:10:00') })
    expect((await verdict({ as: later, logged: future('05-01T10:05:00') })).state).toBe('verified')
  })

  test('without any time that somebody trusted signed: invalid', async () => {
    expect((await verdict({ rekor2: true })).state).toBe('invalid')
  })

  test('the time in an entry cannot be moved', async () => {
    const late = world.signed({ as: certificate(), file, logged: at('10:11') })
    for (const entry of late.verificationMaterial.tlogEntries) {
      entry.integratedTime = `${at('10:05').getTime() / 1000}`
    }
    expect((await verifyBundle(late)).state).toBe('invalid')
  })
})

describe('the log', () => {
  test('is demanded, also with a key; only the named exception goes without', async () => {
    expect((await verdict({ logged: undefined, stamped: at('10:05') })).state).toBe('invalid')
    const unlogged = { as: key.privateKey, logged: undefined }
    const { state, reasons } = await verdict(unlogged, { key: keyFile })
    expect(state).toBe('invalid')
    expect(reasons[0]).toContain('--insecure-ignore-tlog')
    expect((await verdict(unlogged, { key: keyFile, tlog: false })).state).toBe('verified')
    expect((await verdict({ logged: undefined, stamped: at('10:05') }, { tlog: false })).state).toBe('verified')
  })

  test('is not demanded by a trust root that has none', async () => {
    const none = await write('no-log.json', JSON.stringify(world.trustedRoot({ log: false })))
    const unlogged = { as: key.privateKey, logged: undefined }
    expect((await verdict(unlogged, { key: keyFile, trustedRoot: none })).state).toBe('verified')
    const stamped = { logged: undefined, stamped: at('10:05') }
    expect((await verdict(stamped, { trustedRoot: none })).state).toBe('verified')
    // Its entries cannot be judged by this root, so that the time in them is none.
    expect((await verdict({ logged: at('10:05') }, { trustedRoot: none })).state).toBe('invalid')
  })

  test('a trust root that knows no time at all cannot tell', async () => {
    const timeless = world.trustedRoot({ log: false, stamper: false })
    const none = await write('timeless.json', JSON.stringify(timeless))
    expect((await verdict({}, { trustedRoot: none })).state).toBe('unverifiable')
  })

  test('an entry of another log, for another file, another signer, or of another tree', async () => {
    const other = sigstoreWorld().signed({ as: certificate(), file, logged: at('10:05') })
    const as = certificate()
    const right = world.signed({ as, file, logged: at('10:05') })
    expect((await verifyBundle(right)).state).toBe('verified')
    const withEntries = (entries: unknown) => ({
      ...right,
      verificationMaterial: { ...right.verificationMaterial, tlogEntries: entries },
    })
    const entriesOf = (bundle: typeof right) => bundle.verificationMaterial.tlogEntries
    expect((await verifyBundle(withEntries(entriesOf(other)))).state).toBe('invalid')
    const another = world.signed({ as, file: Buffer.from('another'), logged: at('10:05') })
    expect((await verifyBundle(withEntries(entriesOf(another)))).state).toBe('invalid')
    const tree = structuredClone(entriesOf(right))
    for (const entry of tree) entry.inclusionProof.rootHash = Buffer.alloc(32).toString('base64')
    expect((await verifyBundle(withEntries(tree))).state).toBe('invalid')
    expect((await verifyBundle(withEntries([...entriesOf(right), ...entriesOf(right)]))).state).toBe('invalid')
    expect((await verifyBundle(withEntries(Array(40).fill(entriesOf(right)[0])))).reasons[0]).toContain('more than')
  })

  test.each(['dsse', 'intoto', 'hashedrekord'] as const)(
    'an entry (%s) that names another certificate for the same signature',
    async (entry) => {
      const stranger = world.signed({
        as: certificate({ names: [{ uri: 'https://evil.example' }] }),
        file,
        logged: at('10:05'),
        statement: entry === 'hashedrekord' ? undefined : slsa(),
        entry,
      })
      const verifierOf = (body: string) => /LS0tLS1[A-Za-z0-9+/=]+/.exec(body)?.[0] ?? ''
      const theirs = verifierOf(
        Buffer.from(stranger.verificationMaterial.tlogEntries[0]?.canonicalizedBody ?? '', 'base64').toString(),
      )
      expect(theirs.length).toBeGreaterThan(500)
      const signing = { statement: entry === 'hashedrekord' ? undefined : slsa(), entry }
      const { state, reasons } = await verdict({ ...signing, body: (body) => body.replace(verifierOf(body), theirs) })
      expect(state).toBe('invalid')
      expect(reasons[0]).toContain('another key or certificate')
    },
  )
})

describe('an entry for another certificate of the same key', () => {
  test.each([{ rekor2: false }, { rekor2: true, stamped: at('10:06') }])('is invalid (%j)', async (signing) => {
    const first = certificate()
    const second = certificate({ key: first.key })
    const logged = world.signed({ as: first, file, logged: at('10:05'), ...signing })
    expect((await verifyBundle(logged)).state).toBe('verified')
    const rawBytes = second.der.toString('base64')
    const verificationMaterial = { ...logged.verificationMaterial, certificate: { rawBytes } }
    const { state, reasons } = await verifyBundle({ ...logged, verificationMaterial })
    expect(state).toBe('invalid')
    expect(reasons[0]).toContain('another key or certificate')
  })
})

describe('where it was built', () => {
  const evil = 'https://github.com/acme/crm-mcp-evil'
  test.each([
    ['the statement names another repository', { statement: slsa(evil) }],
    ['the statement names another commit', { statement: slsa(repository, builder, 'f'.repeat(40)) }],
    ['the statement names another builder', { statement: slsa(repository, 'https://evil.example/builder') }],
    ['the certificate names another repository', { as: certificate({ extensions: { ...extensions, 12: evil } }) }],
    [
      'the certificate names another commit',
      { as: certificate({ extensions: { ...extensions, 13: 'f'.repeat(40) } }) },
    ],
    ['the certificate names another runner', { as: certificate({ extensions: { ...extensions, 11: 'self-hosted' } }) }],
  ])('%s: invalid', async (_, signing) => {
    const expected = { repository, commit, builder }
    expect((await verdict({ statement: slsa(), ...signing }, expected)).state).toBe('invalid')
  })

  test('a signature over the file alone: the certificate says it', async () => {
    expect((await verdict({}, { repository, commit, builder: identity })).state).toBe('verified')
    expect((await verdict({}, { repository: evil })).state).toBe('invalid')
    const silent = certificate({ extensions: {} })
    expect((await verdict({ as: silent }, { repository })).state).toBe('unverifiable')
    expect((await verdict({ as: silent }, { builder })).state).toBe('unverifiable')
  })
})

describe('what is signed', () => {
  test('another file, by statement or by itself', async () => {
    const another = Buffer.from('another file')
    const statement = about(sha256(another), 'https://slsa.dev/provenance/v1', {})
    expect((await verdict({ file: another })).reasons[0]).toContain('another file')
    expect((await verdict({ file: another, statement })).reasons[0]).toContain('another file')
  })

  test('a signature over another file whose digest was put right', async () => {
    const bundle = world.signed({ as: key.privateKey, file: Buffer.from('another file') })
    const messageDigest = { algorithm: 'SHA2_256', digest: createHash('sha256').update(file).digest('base64') }
    const { messageSignature } = bundle as { messageSignature?: object }
    const named = { ...bundle, messageSignature: { ...messageSignature, messageDigest } }
    const { state, reasons } = await verifyBundle(named, { key: keyFile, tlog: false })
    expect(state).toBe('invalid')
    expect(reasons[0]).toContain('signature')
  })

  test('a payload that is no in-toto statement', async () => {
    expect((await verdict({ statement: slsa(), payloadType: 'text/plain' })).state).toBe('invalid')
    expect((await verdict({ statement: { _type: 'https://in-toto.io/Statement/v9' } })).state).toBe('invalid')
  })
})

describe('the trust root', () => {
  test.each([
    ['missing', async () => join(folder, 'none.json')],
    ['not JSON', async () => await write('root-1.json', '{')],
    ['a bundle', async () => await write('root-2.json', JSON.stringify(world.signed({ as: key.privateKey, file })))],
    ['of an unknown version', async () => await write('root-3.json', '{"mediaType":"x"}')],
    [
      'malformed',
      async () =>
        await write('root-4.json', JSON.stringify({ ...world.trustedRoot(), certificateAuthorities: [{ uri: 'x' }] })),
    ],
  ])('that is %s is an input error', async (_, trustedRoot) => {
    await expect(verdict({}, { trustedRoot: await trustedRoot() })).rejects.toMatchObject({ code: 'input' })
  })

  test("a key of the npm registry is only good for the time that it was the registry's", async () => {
    const { npmKeys } = await loadTrustRoot(undefined)
    const old = npmKeys.get('SHA256:jl3bwswu80PjjokCgh0o2w5c2U4LhQAE57gj9cz1kzA')
    const now = npmKeys.get('SHA256:DhQ8wR5APBvFHLF/+Tc+AYvPOdTpcIDqOhxsBHRwC7U')
    const valid = (year: string) => [old, now].map((one) => one?.validFor(new Date(`${year}-06-01`)))
    expect(['2022', '2024', '2026'].map(valid)).toEqual([
      [false, false],
      [true, false],
      [false, true],
    ])
  })

  test('the shipped one does not know an instance of our own', async () => {
    expect((await verdict({}, { trustedRoot: undefined })).state).toBe('invalid')
  })
})
