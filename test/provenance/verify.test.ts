import { createHash, createPublicKey, type KeyObject } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { expectationsOf, provenance } from '../../src/provenance/index.ts'
import type { Expectations } from '../../src/provenance/port.ts'
import { signStatement, slsaStatement } from '../../src/provenance/sign.ts'
import { provenanceContract } from '../contracts/provenance.ts'
import { type BuildFiles, newKey, type SignedBuild, signedBuild, writeBuild } from '../testbed/signed-build.ts'

const signal = AbortSignal.timeout(60_000)
let folder: string
let build: SignedBuild
let files: BuildFiles
let expected: Expectations

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcp-ir-verify-'))
  build = await signedBuild({ files: { 'server.js': 'console.log("good")\n' } })
  files = await writeBuild(folder, build)
  expected = everything(build, files)
})
afterAll(async () => await rm(folder, { recursive: true, force: true }))

function everything(of: SignedBuild, at: BuildFiles): Expectations {
  return {
    integrity: of.integrity,
    bundle: at.bundle,
    key: at.key,
    tlog: false,
    repository: of.repository,
    commit: of.commit,
    package: { identifier: of.identifier, version: of.version },
  }
}

async function twoBuilds(at: string, keyType: 'ec' | 'ed25519') {
  const right = await signedBuild({ keyType, files: { 'server.js': 'good' } })
  const wrong = await signedBuild({ key: right.privateKey, files: { 'server.js': 'evil' } })
  return {
    right,
    file: await writeBuild(at, right, 'right'),
    other: await writeBuild(at, wrong, 'wrong'),
  }
}

provenanceContract('digest', provenance, async (at) => {
  const { right, file, other } = await twoBuilds(at, 'ec')
  return {
    file: file.tarball,
    other: other.tarball,
    expected: { integrity: right.integrity, package: { identifier: right.identifier, version: right.version } },
  }
})

for (const keyType of ['ec', 'ed25519'] as const) {
  provenanceContract(`bundle with a managed key (${keyType})`, provenance, async (at) => {
    const { right, file, other } = await twoBuilds(at, keyType)
    const { integrity: _, ...rest } = everything(right, file)
    return { file: file.tarball, other: other.tarball, expected: rest }
  })
}

/** Verifies with some expectations replaced. */
const verifying = async (replaced: Partial<Expectations>, file = files.tarball) =>
  await provenance.verify(file, { ...expected, ...replaced }, signal)

async function write(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, content)
  return path
}

describe('integrity', () => {
  const sri = (algorithm: string) => `${algorithm}-${createHash(algorithm).update(build.tarball).digest('base64')}`
  const onlyIntegrity = async (integrity: string) => await provenance.verify(files.tarball, { integrity }, signal)
  const other = (algorithm: string) => `${algorithm}-${createHash(algorithm).update('other').digest('base64')}`

  test.each(['sha256', 'sha384', 'sha512'])('%s that matches verifies', async (algorithm) => {
    expect(await onlyIntegrity(sri(algorithm))).toMatchObject({ state: 'verified' })
  })

  test('the strongest of several decides', async () => {
    expect((await onlyIntegrity(`${sri('sha256')} ${other('sha512')}`)).state).toBe('invalid')
    expect((await onlyIntegrity(`${other('sha256')} ${sri('sha512')}`)).state).toBe('verified')
  })

  test('any of several of the same strength is enough', async () => {
    expect((await onlyIntegrity(`${other('sha512')} ${sri('sha512')}`)).state).toBe('verified')
    expect((await onlyIntegrity(`${other('sha512')} ${other('sha512')}`)).state).toBe('invalid')
  })

  test.each(['sha256', 'sha512'])('%s in hex, as OCI and MCPB write it, verifies or not', async (algorithm) => {
    const hex = createHash(algorithm).update(build.tarball).digest('hex')
    expect((await onlyIntegrity(`${algorithm}:${hex}`)).state).toBe('verified')
    expect((await onlyIntegrity(hex.toUpperCase())).state).toBe('verified')
    expect((await onlyIntegrity(hex.replace(/./, (digit) => (digit === '0' ? '1' : '0')))).state).toBe('invalid')
    await expect(onlyIntegrity(`sha384:${hex}`)).rejects.toMatchObject({ code: 'input' })
  })

  test.each([
    ['sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk='],
    ['nonsense'],
    ['sha512-short'],
    ['sha512-short sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='],
  ])('%s is an input error, never a weaker check', async (integrity) => {
    await expect(onlyIntegrity(integrity)).rejects.toMatchObject({ code: 'input' })
  })
})

describe('signed bundle', () => {
  test('integrity that fails makes it invalid although the bundle holds, and the other way round', async () => {
    const evil = await signedBuild({ files: { 'server.js': 'evil' }, key: build.privateKey })
    expect((await verifying({ integrity: evil.integrity })).state).toBe('invalid')
    const otherBundle = await write('other.json', evil.bundle)
    const verdict = await verifying({ bundle: otherBundle })
    expect(verdict.state).toBe('invalid')
    expect(verdict.reasons[0]).toContain('another file')
  })

  test('a right signature by somebody else is invalid', async () => {
    const stranger = await signedBuild({ files: { 'server.js': 'console.log("good")\n' } })
    expect(stranger.integrity).toBe(build.integrity)
    const verdict = await verifying({ bundle: await write('stranger.json', stranger.bundle) })
    expect(verdict.state).toBe('invalid')
    expect(verdict.reasons[0]).toContain('not by the key')
  })

  test('without a transparency log entry only the named exception is accepted', async () => {
    const verdict = await verifying({ tlog: undefined })
    expect(verdict.state).toBe('invalid')
    expect(verdict.reasons[0]).toContain('tlog: false')
    expect((await verifying({ tlog: true })).state).toBe('invalid')
  })

  test('a log entry that does not hold is never taken for one', async () => {
    const bundle = JSON.parse(build.bundle)
    bundle.verificationMaterial.tlogEntries = [
      {
        logIndex: '1',
        logId: { keyId: 'AAAA' },
        kindVersion: { kind: 'dsse', version: '0.0.1' },
        integratedTime: '1700000000',
        inclusionProof: { logIndex: '1', rootHash: 'AAAA', treeSize: '2', hashes: [], checkpoint: { envelope: 'x' } },
        canonicalizedBody: 'e30=',
      },
    ]
    const logged = await write('logged.json', JSON.stringify(bundle))
    expect((await verifying({ bundle: logged, tlog: undefined })).state).toBe('invalid')
    // The exception says that the log does not count: neither for nor against.
    expect((await verifying({ bundle: logged, tlog: false })).state).toBe('verified')
  })

  test.each([
    ['repository', { repository: 'https://github.com/acme-evil/crm-mcp' }],
    ['repository as prefix', { repository: 'https://github.com/acme/crm-mcp-2' }],
    ['commit', { commit: '0000000000000000000000000000000000000000' }],
    ['version', { package: { identifier: '@acme/crm-mcp', version: '1.4.1' } }],
    ['name', { package: { identifier: '@acme/crm', version: '1.4.0' } }],
  ])('a wrong %s is invalid', async (_, replaced) => {
    const verdict = await verifying(replaced)
    expect(verdict.state).toBe('invalid')
    expect(verdict.observed.some(({ holds }) => !holds)).toBe(true)
  })

  test.each([['git+https://github.com/acme/crm-mcp.git'], ['https://GitHub.com/acme/crm-mcp/']])(
    '%s is the same repository',
    async (repository) => expect((await verifying({ repository })).state).toBe('verified'),
  )

  test('SLSA v0.2 says repository and commit too', async () => {
    const commit = build.commit
    const old = await signedBuild({
      key: build.privateKey,
      files: { 'server.js': 'console.log("good")\n' },
      statement: (sha512) => ({
        _type: 'https://in-toto.io/Statement/v0.1',
        subject: [{ name: 'pkg:npm/%40acme/crm-mcp@1.4.0', digest: { sha512 } }],
        predicateType: 'https://slsa.dev/provenance/v0.2',
        predicate: {
          invocation: {
            configSource: { uri: 'git+https://github.com/acme/crm-mcp@refs/tags/v1.4.0', digest: { sha1: commit } },
          },
        },
      }),
    })
    const bundle = await write('v02.json', old.bundle)
    expect(await verifying({ bundle })).toMatchObject({ state: 'verified', reasons: [] })
    expect((await verifying({ bundle, commit: 'f'.repeat(40) })).state).toBe('invalid')
    expect((await verifying({ bundle, repository: 'https://github.com/acme/other' })).state).toBe('invalid')
  })

  test('what the statement does not say is not taken for proven', async () => {
    const silent = await signStatement(
      {
        _type: 'https://in-toto.io/Statement/v1',
        subject: [{ name: 'x', digest: { sha512: build.sha512 } }],
        predicateType: 'https://example.com/reviewed/v1',
        predicate: { by: 'somebody' },
      },
      build.privateKey,
    )
    const bundle = await write('silent.json', silent)
    expect((await verifying({ bundle })).state).toBe('unverifiable')
    expect((await verifying({ bundle, repository: undefined, commit: undefined })).state).toBe('verified')
  })

  test('a subject that names another package is invalid although its digest is right', async () => {
    const renamed = await signStatement(slsaStatement({ ...build, version: '1.3.9' }), build.privateKey)
    expect((await verifying({ bundle: await write('renamed.json', renamed) })).state).toBe('invalid')
  })

  test('a subject with one right and one wrong digest is not this file', async () => {
    const mixed = await signStatement(
      {
        _type: 'https://in-toto.io/Statement/v1',
        subject: [{ digest: { sha512: build.sha512, sha256: '0'.repeat(64) } }],
        predicateType: 'https://slsa.dev/provenance/v1',
        predicate: {},
      },
      build.privateKey,
    )
    expect((await verifying({ bundle: await write('mixed.json', mixed) })).state).toBe('invalid')
  })

  test.each([
    ['not JSON', '{'],
    ['a list', '[]'],
    ['null', 'null'],
    ['empty', ''],
    ['of an unknown version', '{"mediaType":"application/vnd.dev.sigstore.bundle.v9.9+json"}'],
    ['without a media type', '{"dsseEnvelope":{}}'],
    ['of a version that is no text', '{"mediaType":{"toString":1}}'],
    ['of a version without end', `{"mediaType":${'['.repeat(100_000)}${']'.repeat(100_000)}}`],
    ['an npm document without attestations', '{"attestations":[]}'],
    ['an npm document of anything', '{"attestations":[1,null,{"bundle":[]}]}'],
    [
      'without verification material',
      '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AAAA"}]}}',
    ],
    ['without content', '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}'],
    [
      'without a signature',
      '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"x"}},"dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[]}}',
    ],
    ['nested without end', `${'['.repeat(200_000)}${']'.repeat(200_000)}`],
  ])('a bundle that is %s is invalid', async (_, text) => {
    const verdict = await verifying({ bundle: await write('broken.json', text) })
    expect(verdict.state).toBe('invalid')
    expect(verdict.reasons[0]).toMatch(/bundle/)
  })

  test('a bundle of a version that is not known yet is invalid, however much it looks like one', async () => {
    const bundle = { ...JSON.parse(build.bundle), mediaType: 'application/vnd.dev.sigstore.bundle.v0.9+json' }
    const verdict = await verifying({ bundle: await write('newer.json', JSON.stringify(bundle)) })
    expect(verdict.state).toBe('invalid')
    expect(verdict.reasons[0]).toContain('unknown version')
  })

  test('a bundle of more than 16 MB is invalid and not read', async () => {
    const huge = await write('huge.json', Buffer.alloc(16 * 1024 ** 2 + 1, 0x20))
    expect((await verifying({ bundle: huge })).reasons[0]).toContain('larger')
  })

  test('a bundle without an expected key is unverifiable, a key without a bundle too', async () => {
    expect((await verifying({ key: undefined })).state).toBe('unverifiable')
    expect((await verifying({ bundle: undefined })).state).toBe('unverifiable')
  })

  test('a bundle with a certificate where a key is expected, or with one that is none, is invalid', async () => {
    const bundle = JSON.parse(build.bundle)
    bundle.verificationMaterial = { certificate: { rawBytes: 'AAAA' }, tlogEntries: [] }
    const path = await write('certificate.json', JSON.stringify(bundle))
    const identity = { issuer: 'https://issuer.example', identity: 'https://github.com/acme/x' }
    expect(await verifying({ bundle: path, key: undefined, ...identity })).toMatchObject({ state: 'invalid' })
    expect(await verifying({ bundle: path })).toMatchObject({ state: 'invalid' })
  })

  test('a bundle signed with a key where an identity is expected is invalid', async () => {
    const identity = { issuer: 'https://issuer.example', identity: 'https://github.com/acme/x' }
    const verdict = await verifying({ key: undefined, ...identity })
    expect(verdict).toMatchObject({ state: 'invalid' })
    expect(verdict.reasons[0]).toContain('not by the certificate identity')
  })

  test('hostile text in a bundle is made inert in the reasons', async () => {
    const path = await write('hostile.json', JSON.stringify({ mediaType: '\u001b[2J\u202eevil' }))
    const { reasons } = await verifying({ bundle: path })
    expect(reasons.join()).not.toMatch(/\p{C}/u)
  })

  test.each([
    ['missing', async () => join(folder, 'none.pub')],
    ['no key', async () => await write('none.pub', 'not a key')],
    [
      'a private key',
      async () => await write('secret.pem', newKey('ec').privateKey.export({ type: 'pkcs8', format: 'pem' })),
    ],
  ])('a key file that is %s is an input error', async (_, key) => {
    await expect(verifying({ key: await key() })).rejects.toMatchObject({ code: 'input' })
  })

  test('a missing bundle is an input error', async () => {
    await expect(verifying({ bundle: join(folder, 'none.json') })).rejects.toMatchObject({ code: 'input' })
  })
})

describe('package', () => {
  test('a file that is no tarball is invalid where a package is expected', async () => {
    const file = await write('plain.bin', 'plain')
    const integrity = `sha512-${createHash('sha512').update('plain').digest('base64')}`
    const identity = { identifier: '@acme/crm-mcp', version: '1.4.0' }
    expect((await provenance.verify(file, { integrity, package: identity }, signal)).state).toBe('invalid')
    expect((await provenance.verify(file, { integrity }, signal)).state).toBe('verified')
  })

  test('the expectations of a registry entry name the package only where the file can say it', () => {
    const entry = { identifier: 'x', version: '1', integrity: 'sha512-x' }
    expect(expectationsOf({ package: { ...entry, registryType: 'npm' } }).package).toEqual({
      identifier: 'x',
      version: '1',
    })
    expect(expectationsOf({ package: { ...entry, registryType: 'mcpb' } }).package).toBeUndefined()
  })
})

describe('one changed bit', () => {
  const sameKey = (pem: string, der: Buffer): boolean => {
    try {
      const numbers = (key: KeyObject) => JSON.stringify(key.export({ format: 'jwk' }))
      return numbers(createPublicKey(pem)) === numbers(createPublicKey({ key: der, format: 'der', type: 'spki' }))
    } catch {
      return false
    }
  }
  /** Flips one bit of some bytes. */
  const flipped = (bytes: Uint8Array, at: number, bit: number): Buffer => {
    const copy = Buffer.from(bytes)
    copy[at % copy.length] = (copy[at % copy.length] ?? 0) ^ (1 << bit)
    return copy
  }
  const place = [fc.nat({ max: 1_000_000 }), fc.nat({ max: 7 })] as const

  test('in the tarball is never verified, by digest or by bundle', async () => {
    await fc.assert(
      fc.asyncProperty(...place, async (at, bit) => {
        const file = await write('flipped.tgz', flipped(build.tarball, at, bit))
        expect((await provenance.verify(file, { integrity: build.integrity }, signal)).state).toBe('invalid')
        expect((await verifying({ integrity: undefined }, file)).state).toBe('invalid')
      }),
      { numRuns: 40 },
    )
  })

  test.each(['ec', 'ed25519'] as const)('in payload or signature is invalid (%s)', async (keyType) => {
    const signed = await signedBuild({ keyType })
    const at = await writeBuild(folder, signed, keyType)
    const base = everything(signed, at)
    const bundle = JSON.parse(signed.bundle)
    const envelope = bundle.dsseEnvelope
    await fc.assert(
      fc.asyncProperty(...place, fc.boolean(), async (where, bit, inPayload) => {
        const change = (base64: string) => flipped(Buffer.from(base64, 'base64'), where, bit).toString('base64')
        const changed = inPayload
          ? { ...envelope, payload: change(envelope.payload) }
          : { ...envelope, signatures: [{ ...envelope.signatures[0], sig: change(envelope.signatures[0].sig) }] }
        const path = await write('flipped.json', JSON.stringify({ ...bundle, dsseEnvelope: changed }))
        expect((await provenance.verify(at.tarball, { ...base, bundle: path }, signal)).state).toBe('invalid')
      }),
      { numRuns: 50 },
    )
  })

  test('anywhere in the text of payload and signature is invalid, unused bits of base64 included', async () => {
    const text = Buffer.from(build.bundle)
    const spans = ['payload', 'sig'].map((key) => {
      const value =
        key === 'sig'
          ? JSON.parse(build.bundle).dsseEnvelope.signatures[0].sig
          : JSON.parse(build.bundle).dsseEnvelope.payload
      return { start: build.bundle.indexOf(value), length: value.length as number }
    })
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...spans), ...place, async (span, at, bit) => {
        // The last characters are where unused bits are.
        const offset = at % 3 === 0 ? span.length - 1 - (at % 4) : at % span.length
        const path = await write('flipped-text.json', flipped(text, span.start + offset, bit))
        expect((await verifying({ bundle: path })).state).not.toBe('verified')
      }),
      { numRuns: 80 },
    )
  })

  test('in the key is never verified', async () => {
    const der = createPublicKey(build.publicKey).export({ type: 'spki', format: 'der' })
    await fc.assert(
      fc.asyncProperty(...place, async (at, bit) => {
        const body = flipped(der, at, bit).toString('base64')
        const pem = `-----BEGIN PUBLIC KEY-----\n${body}\n-----END PUBLIC KEY-----\n`
        // DER can write one key in several ways (count of unused bits, hybrid points): the same key is no change.
        fc.pre(!sameKey(pem, der))
        const key = await write('flipped.pub', pem)
        const outcome = await verifying({ key }).catch((error: unknown) => error)
        expect(outcome).not.toMatchObject({ state: 'verified' })
      }),
      { numRuns: 50 },
    )
  })
})
