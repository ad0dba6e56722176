import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { provenance } from '../../src/provenance/index.ts'
import type { Expectations } from '../../src/provenance/port.ts'
import { provenanceContract } from '../contracts/provenance.ts'

const signal = AbortSignal.timeout(60_000)
const data = fileURLToPath(new URL('../data/npm-provenance/', import.meta.url))
const issuer = 'https://token.actions.githubusercontent.com'

interface Package {
  readonly file: string
  readonly expected: Expectations
}

/** What is publicly known of three packages of the npm registry. */
const packages: readonly Package[] = [
  {
    file: 'gundam-visor-cli-v1-tag',
    expected: {
      identity: 'https://github.com/ramonpetgrave64/gundam-visor/.github/workflows/npm-publish.yml@refs/tags/v1.0.1',
      issuer,
      repository: 'https://github.com/ramonpetgrave64/gundam-visor',
      commit: '599500821344b070902a7a5666064bfdaba715df',
      builder: 'https://github.com/actions/runner/github-hosted',
      package: { identifier: 'gundam-visor', version: '1.0.1' },
    },
  },
  {
    file: 'provenance-npm-test-cli-v1-prega',
    expected: {
      identity: 'https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main',
      issuer,
      repository: 'https://github.com/sigstore/sigstore-js',
      commit: '46e7056ff9912ebfee5298d94024895a9fea76c0',
      builder: 'https://github.com/actions/runner/github-hosted',
      package: { identifier: 'sigstore', version: '2.3.1' },
    },
  },
  {
    file: 'provenance-npm-test-ossf',
    expected: {
      identity:
        'https://github.com/slsa-framework/slsa-github-generator/.github/workflows/delegator_lowperms-generic_slsa3.yml@refs/tags/v1.6.0',
      issuer,
      repository: 'https://github.com/laurentsimon/provenance-npm-test',
      commit: '34490b44db557f009617bcb92b8780f972c189ab',
      builder:
        'https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_nodejs_slsa3.yml@refs/tags/v1.6.0',
      package: { identifier: '@laurentsimon/provenance-npm-test', version: '1.0.5' },
    },
  },
]

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mcp-ir-npm-'))
})
afterAll(async () => await rm(folder, { recursive: true, force: true }))

async function write(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, content)
  return path
}

const tarball = (name: string) => join(data, `${name}.tgz`)
const document = (name: string) => join(data, `${name}.tgz.json`)
const verifying = async ({ file, expected }: Package, replaced: Partial<Expectations> = {}, path = tarball(file)) =>
  await provenance.verify(path, { bundle: document(file), ...expected, ...replaced }, signal)

provenanceContract('npm attestations', provenance, async () => {
  const [one, other] = packages as [Package, Package]
  const { identity, issuer, package: named } = one.expected
  return {
    file: tarball(one.file),
    other: tarball(other.file),
    expected: { bundle: document(one.file), identity, issuer, package: named },
  }
})

describe('nine packages of the registry, offline', () => {
  test.each(packages)('$file verifies with everything that can be expected of it', async (one) => {
    expect(await verifying(one)).toMatchObject({ state: 'verified', reasons: [] })
  })

  const changed = packages.flatMap((one) =>
    ['-invalidsigprov', '-invalidsigpub'].map((suffix) => ({ ...one, file: `${one.file}${suffix}` })),
  )
  test.each(changed)('$file is invalid', async (one) => {
    const { state, reasons } = await verifying(one)
    expect(state).toBe('invalid')
    expect(reasons).toHaveLength(1)
  })

  test.each(packages)('$file without the identity that should have signed is unverifiable', async (one) => {
    expect((await verifying(one, { identity: undefined, issuer: undefined })).state).toBe('unverifiable')
  })
})

// Sampled: a verification takes some 15 ms, most of it for the certificate chains on P-384.
describe('one changed byte', { timeout: 30_000 }, () => {
  interface Attestations {
    readonly attestations: { bundle: { dsseEnvelope: { payload: string; signatures: { sig: string }[] } } }[]
  }
  const flip = (bytes: Uint8Array, at: number, bit: number): Buffer => {
    const copy = Buffer.from(bytes)
    copy[at % copy.length] = (copy[at % copy.length] ?? 0) ^ (1 << bit)
    return copy
  }
  const which = fc.constantFrom(...packages)
  const place = [fc.nat({ max: 1_000_000 }), fc.nat({ max: 7 })] as const
  /** The document with one of its two attestations changed. */
  async function changedDocument(
    { file }: Package,
    second: boolean,
    change: (envelope: Attestations['attestations'][number]['bundle']['dsseEnvelope']) => void,
  ): Promise<string> {
    const parsed: Attestations = JSON.parse(await readFile(document(file), 'utf8'))
    const attestation = parsed.attestations[second ? 1 : 0]
    if (attestation === undefined) throw new TypeError(file)
    change(attestation.bundle.dsseEnvelope)
    return await write('changed.json', JSON.stringify(parsed))
  }
  /** The hash in the statement of the file, in hex, is what is changed: a change that nothing but the signature could tell. */
  const subjectAt = (payload: Buffer, at: number) => payload.indexOf('"sha512":"') + 10 + (at % 128)

  test('of the tarball', async () => {
    await fc.assert(
      fc.asyncProperty(which, ...place, async (one, at, bit) => {
        const path = await write('changed.tgz', flip(await readFile(tarball(one.file)), at, bit))
        expect((await verifying(one, {}, path)).state).toBe('invalid')
      }),
      { numRuns: 15 },
    )
  })

  test('of the end of the tarball, where only its checksum is damaged', async () => {
    for (const one of packages) {
      const bytes = await readFile(tarball(one.file))
      const path = await write('checksum.tgz', flip(bytes, bytes.length - 8, 0))
      expect((await verifying(one, { bundle: undefined, identity: undefined }, path)).state).toBe('invalid')
    }
  })

  test('of a subject, in either attestation', async () => {
    await fc.assert(
      fc.asyncProperty(which, ...place, fc.boolean(), async (one, at, bit, second) => {
        const bundle = await changedDocument(one, second, (envelope) => {
          const payload = Buffer.from(envelope.payload, 'base64')
          envelope.payload = flip(payload, subjectAt(payload, at), bit).toString('base64')
        })
        expect((await verifying(one, { bundle })).state).toBe('invalid')
      }),
      { numRuns: 15 },
    )
  })

  test('of a subject, so that it names another file in hand', async () => {
    const another = await write('another.tgz', 'another')
    const sha512 = createHash('sha512').update('another').digest('hex')
    for (const one of packages) {
      const bundle = await changedDocument(one, true, (envelope) => {
        const payload = Buffer.from(envelope.payload, 'base64')
        payload.write(sha512, subjectAt(payload, 0))
        envelope.payload = payload.toString('base64')
      })
      expect((await verifying(one, { bundle, package: undefined }, another)).state).toBe('invalid')
    }
  })

  test('of a signature, in either attestation', async () => {
    await fc.assert(
      fc.asyncProperty(which, ...place, fc.boolean(), async (one, at, bit, second) => {
        const bundle = await changedDocument(one, second, (envelope) => {
          for (const signature of envelope.signatures) {
            signature.sig = flip(Buffer.from(signature.sig, 'base64'), at, bit).toString('base64')
          }
        })
        expect((await verifying(one, { bundle })).state).toBe('invalid')
      }),
      { numRuns: 15 },
    )
  })

  test('of an expectation', async () => {
    const keys = ['identity', 'issuer', 'repository', 'commit', 'builder'] as const
    await fc.assert(
      fc.asyncProperty(which, fc.constantFrom(...keys), ...place, async (one, key, at, bit) => {
        const right = one.expected[key] ?? ''
        // Bit 7 would make it something that is no text.
        const wrong = flip(Buffer.from(right), at, bit % 7).toString()
        // Case does not count in a commit, nor in the host of a repository.
        fc.pre(!['repository', 'commit'].includes(key) || wrong.toLowerCase() !== right.toLowerCase())
        expect((await verifying(one, { [key]: wrong })).state).toBe('invalid')
      }),
      { numRuns: 25 },
    )
  })

  test('of the digest that is expected', async () => {
    await fc.assert(
      fc.asyncProperty(which, ...place, async (one, at, bit) => {
        const right = createHash('sha512')
          .update(await readFile(tarball(one.file)))
          .digest()
        const integrity = (bytes: Uint8Array) => `sha512-${Buffer.from(bytes).toString('base64')}`
        expect((await verifying(one, { integrity: integrity(right) })).state).toBe('verified')
        expect((await verifying(one, { integrity: integrity(flip(right, at, bit)) })).state).toBe('invalid')
      }),
      { numRuns: 4 },
    )
  })
})

describe('what the document can do', () => {
  const [one] = packages as [Package]
  const parse = async () => JSON.parse(await readFile(document(one.file), 'utf8'))
  const changed = async (change: (parsed: Awaited<ReturnType<typeof parse>>) => void) => {
    const parsed = await parse()
    change(parsed)
    return await verifying(one, { bundle: await write('document.json', JSON.stringify(parsed)) })
  }

  test('without the provenance, the expected identity signed nothing: invalid', async () => {
    expect((await changed((parsed) => parsed.attestations.splice(1, 1))).state).toBe('invalid')
  })

  test('publication alone is unverifiable when nobody is expected to have signed', async () => {
    const parsed = await parse()
    parsed.attestations.splice(1, 1)
    const bundle = await write('document.json', JSON.stringify(parsed))
    expect((await provenance.verify(tarball(one.file), { bundle }, signal)).state).toBe('unverifiable')
  })

  test("the provenance's bundle alone verifies too", async () => {
    const bundle = await write('alone.json', JSON.stringify((await parse()).attestations[1].bundle))
    expect((await verifying(one, { bundle })).state).toBe('verified')
  })

  test('an attestation of another package beside its own: invalid', async () => {
    const other = JSON.parse(await readFile(document('provenance-npm-test-ossf'), 'utf8'))
    expect((await changed((parsed) => parsed.attestations.push(other.attestations[0]))).state).toBe('invalid')
  })

  test('a key that is none of the registry: invalid', async () => {
    const { state, reasons } = await changed((parsed) => {
      parsed.attestations[0].bundle.verificationMaterial.publicKey.hint = 'SHA256:somebody'
    })
    expect({ state, reason: reasons[0] }).toMatchObject({ state: 'invalid' })
  })

  test('an expected key that signed none of it: invalid', async () => {
    const { generateKeyPairSync } = await import('node:crypto')
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const key = await write('key.pub', publicKey.export({ type: 'spki', format: 'pem' }))
    expect((await verifying(one, { key })).state).toBe('invalid')
  })

  test('what stands beside the bundles is not signed and counts for nothing', async () => {
    const { state } = await changed((parsed) => {
      parsed.attestations[1].predicateType = 'https://example.com/else'
    })
    expect(state).toBe('verified')
  })

  test('cut off anywhere: never verified', async () => {
    const text = await readFile(document(one.file))
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: text.length - 2 }), async (length) => {
        const bundle = await write('cut.json', text.subarray(0, length))
        expect((await verifying(one, { bundle })).state).toBe('invalid')
      }),
      { numRuns: 12 },
    )
  })
})
