import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { verifyArtifact } from '../../src/provenance/artifact.ts'
import { mcpIr } from '../testbed/cli.ts'
import { type Descriptor, ImageStore, type OciRegistry, ociRegistry } from '../testbed/oci-registry.ts'
import { at, type SignOptions, sigstoreWorld } from './sigstore-world.ts'

const world = sigstoreWorld()
const identity = 'https://github.com/acme/crm-mcp/.github/workflows/release.yml@refs/tags/v1'
const issuer = 'https://token.actions.githubusercontent.com'
const folder = mkdtempSync(join(tmpdir(), 'mcp-ir-oci-'))
const write = (name: string, content: string | Uint8Array) => {
  writeFileSync(join(folder, name), content)
  return join(folder, name)
}
const root = write('root.json', JSON.stringify(world.trustedRoot()))
const key = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const keyFile = write('key.pub', key.publicKey.export({ type: 'spki', format: 'pem' }))
const by = ['--trusted-root', root, '--certificate-identity', identity, '--certificate-oidc-issuer', issuer]

const certificate = (uri = identity) => world.certificate({ names: [{ uri }], issuer })
const about = ({ digest }: Descriptor, predicateType = 'https://sigstore.dev/cosign/sign/v1') => ({
  _type: 'https://in-toto.io/Statement/v1',
  subject: [{ name: 'crm', digest: { sha256: digest.replace('sha256:', '') } }],
  predicateType,
  predicate: {},
})
/** What a builder signs of an image. */
const signed = (store: ImageStore, image: Descriptor, options: Partial<SignOptions> = {}) =>
  world.signed({
    as: certificate(),
    statement: about(image),
    file: store.bytes(image.digest),
    logged: at('10:05'),
    ...options,
  })

/** As cosign did before bundles: a text that names the image, its signature in an annotation. */
function olderSignature(
  store: ImageStore,
  image: Descriptor,
  names = image.digest,
  as: SignOptions['as'] = certificate(),
) {
  const payload = JSON.stringify({
    critical: {
      identity: { 'docker-reference': '' },
      image: { 'docker-manifest-digest': names },
      type: 'cosign container image signature',
    },
    optional: null,
  })
  const bundle = world.signed({ as, file: Buffer.from(payload), logged: at('10:05'), version: '0.1' })
  const layer = store.blob(payload, 'application/vnd.dev.cosign.simplesigning.v1+json', annotations(bundle, as))
  const config = store.blob('{}', 'application/vnd.oci.image.config.v1+json')
  store.tags.set(`${image.digest.replace(':', '-')}.sig`, store.manifest({ config, layers: [layer] }).digest)
}

function olderAttestation(store: ImageStore, image: Descriptor) {
  const as = certificate()
  const bundle = signed(store, image, { as, version: '0.1', entry: 'dsse' })
  const content = JSON.stringify('dsseEnvelope' in bundle ? bundle.dsseEnvelope : {})
  const layer = store.blob(content, 'application/vnd.dsse.envelope.v1+json', annotations(bundle, as))
  const config = store.blob('{}', 'application/vnd.oci.image.config.v1+json')
  store.tags.set(`${image.digest.replace(':', '-')}.att`, store.manifest({ config, layers: [layer] }).digest)
}

function annotations(bundle: ReturnType<typeof world.signed>, as: SignOptions['as']): Record<string, string> {
  const [entry] = bundle.verificationMaterial.tlogEntries
  if (entry === undefined || !('integratedTime' in entry)) throw new TypeError('an entry with a promise is needed')
  const pem =
    'der' in as ? `-----BEGIN CERTIFICATE-----\n${as.der.toString('base64')}\n-----END CERTIFICATE-----\n` : ''
  return {
    'dev.cosignproject.cosign/signature': 'messageSignature' in bundle ? bundle.messageSignature.signature : '',
    'dev.sigstore.cosign/certificate': pem,
    'dev.sigstore.cosign/bundle': JSON.stringify({
      SignedEntryTimestamp: entry.inclusionPromise?.signedEntryTimestamp,
      Payload: {
        body: entry.canonicalizedBody,
        integratedTime: Number(entry.integratedTime),
        logIndex: 0,
        logID: Buffer.from(entry.logId.keyId, 'base64').toString('hex'),
      },
    }),
  }
}

const store = new ImageStore()
const right = store.image('the right image')
store.attach(right, signed(store, right))
const unsigned = store.image('nobody signed this')
const stranger = store.image('signed by somebody else')
store.attach(stranger, signed(store, stranger, { as: certificate(identity.replace('acme', 'acme-evil')) }))
/** Both a bundle of somebody else, one about another image, nonsense, and the right one. */
const crowded = store.image('one of many is right')
store.attach(crowded, signed(store, crowded, { as: certificate('https://evil.example') }))
store.attach(crowded, signed(store, right))
store.attach(crowded, { mediaType: 'nonsense' })
store.attach(crowded, signed(store, crowded))
const other = store.image('a bundle of another image was attached')
store.attach(other, signed(store, right))
const keyed = store.image('signed with a key')
store.attach(keyed, signed(store, keyed, { as: key.privateKey }))
const older = store.image('signed as it was done before')
olderSignature(store, older)
const olderStranger = store.image('the older way, by somebody else')
olderSignature(store, olderStranger, olderStranger.digest, certificate('https://evil.example'))
const olderMoved = store.image('the older signature of another image')
olderSignature(store, olderMoved, right.digest)
const olderKeyed = store.image('the older way, with a key')
olderSignature(store, olderKeyed, olderKeyed.digest, key.privateKey)
const olderAttested = store.image('attested as it was done before')
olderAttestation(store, olderAttested)

let registry: OciRegistry
beforeAll(async () => {
  registry = await ociRegistry(store)
})
afterAll(async () => {
  await registry.close()
  rmSync(folder, { recursive: true, force: true })
})

const reference = ({ digest }: Descriptor) => `oci://${registry.host}/acme/crm@${digest}`
const verifying = async (image: Descriptor, args: readonly string[] = by) => {
  const ran = await mcpIr(['verify', reference(image), ...args, '--json'])
  return { code: ran.code, state: ran.json.result?.output.state, told: ran.stdout }
}
const withKey = ['--trusted-root', root, '--key', keyFile]

describe('an image in a registry', () => {
  test.each<[string, Descriptor, number, string, string[]]>([
    ['signed by whom it should be', right, 0, 'verified', by],
    ['among attestations that are not', crowded, 0, 'verified', by],
    ['with a key', keyed, 0, 'verified', withKey],
    ['by its digest alone', unsigned, 0, 'verified', ['--digest', unsigned.digest]],
    ['in the older way', older, 0, 'verified', by],
    ['in the older way, with a key', olderKeyed, 0, 'verified', withKey],
    ['attested in the older way', olderAttested, 0, 'verified', by],
    ['signed by a look-alike', stranger, 4, 'invalid', by],
    ['with the bundle of another image', other, 4, 'invalid', by],
    ['with the older signature of another image', olderMoved, 4, 'invalid', by],
    ['in the older way by somebody else', olderStranger, 4, 'invalid', by],
    ['of another digest', right, 4, 'invalid', [...by, '--digest', unsigned.digest]],
    ['signed by nobody', unsigned, 4, 'unverifiable', by],
  ])('%s', async (_, image, code, state, args) => {
    expect(await verifying(image, args)).toMatchObject({ code, state })
  })

  test('without an expected signer or digest there is nothing to verify against: code 2', async () => {
    expect((await verifying(right, ['--trusted-root', root])).code).toBe(2)
  })

  test('also where the right one is on the last of several pages', async () => {
    registry.pageSize = 1
    const { code } = await verifying(crowded)
    registry.pageSize = undefined
    expect(code).toBe(0)
    expect(registry.asked.filter((path) => path.includes('/referrers/')).length).toBeGreaterThan(3)
  })

  test('a list that goes on elsewhere over plain HTTP is refused; one without end is not followed for ever', async () => {
    const goesOn = (to: string) => (request: IncomingMessage, response: ServerResponse) => {
      if (request.url?.includes('/referrers/') === true) response.setHeader('link', `<${to}>; rel="next"`)
      return false
    }
    registry.meddle = goesOn('http://192.0.2.1/v2/more')
    expect((await verifying(right)).code).toBe(4)
    registry.meddle = goesOn('?again=1')
    expect((await verifying(unsigned)).state).toBe('unverifiable')
    registry.meddle = () => false
  })

  test('also where the registry has no referrers API, or wants the token that anybody gets', async () => {
    registry.referrersApi = false
    registry.token = true
    const { code } = await verifying(crowded)
    const unsignedThere = await verifying(unsigned)
    registry.referrersApi = true
    registry.token = false
    expect([code, unsignedThere.state]).toEqual([0, 'unverifiable'])
    expect(registry.asked).toContain('/token')
  })

  test('with a bundle of one’s own: the registry is not asked for another', async () => {
    const bundle = write('own.json', JSON.stringify(signed(store, unsigned)))
    expect(await verifying(unsigned, [...by, '--bundle', bundle])).toMatchObject({ code: 0 })
    expect(await verifying(right, [...by, '--bundle', bundle])).toMatchObject({ code: 4, state: 'invalid' })
  })

  test('that does not answer, or not to everybody: code 5; that is not there, or not named by its digest: code 2', async () => {
    registry.meddle = (_, response) => response.writeHead(403).end() !== undefined
    expect((await verifying(right)).code).toBe(5)
    registry.meddle = (_, response) => response.writeHead(500).end() !== undefined
    expect((await verifying(right)).code).toBe(5)
    registry.meddle = (request) => request.socket.destroy() !== undefined
    expect((await verifying(right)).code).toBe(5)
    registry.meddle = () => false
    expect((await verifying({ ...right, digest: `sha256:${'0'.repeat(64)}` })).code).toBe(2)
    for (const name of ['crm:latest', 'crm', 'crm@sha256:abc', '../crm@sha256:abc', `crm?x@${right.digest}`])
      expect((await mcpIr(['verify', `oci://${registry.host}/acme/${name}`, ...by])).code).toBe(2)
  })

  test('that answers with something else, too much, or leads elsewhere: code 4', async () => {
    for (const answer of [store.bytes(unsigned.digest), Buffer.alloc(5 * 1024 ** 2, 0x20)]) {
      registry.meddle = (_, response) => response.writeHead(200).end(answer) !== undefined
      expect((await verifying(right)).code).toBe(4)
    }
    registry.meddle = (_, response) =>
      response.writeHead(307, { location: 'http://192.0.2.1/evil' }).end() !== undefined
    expect((await verifying(right)).code).toBe(4)
    registry.meddle = (_, response) => response.writeHead(307, { location: '/again' }).end() !== undefined
    expect((await verifying(right)).code).toBe(5)
    registry.meddle = (request, response) =>
      request.headers.authorization === undefined &&
      response.writeHead(401, { 'www-authenticate': 'Bearer realm="http://192.0.2.1/token"' }).end() !== undefined
    expect((await verifying(right)).code).toBe(4)
    // A bundle that was exchanged counts for nothing.
    registry.meddle = ({ url }, response) =>
      url?.includes('/blobs/') === true && response.writeHead(200).end('{}') !== undefined
    expect((await verifying(right)).state).toBe('unverifiable')
    registry.meddle = () => false
  })

  test('a blob that is said to lie elsewhere, over plain HTTP, is not fetched, and the token goes nowhere', async () => {
    const elsewhere = await ociRegistry(store)
    const tokens: (string | undefined)[] = []
    elsewhere.meddle = ({ headers }) => {
      tokens.push(headers.authorization)
      return false
    }
    registry.token = true
    registry.meddle = ({ url, headers }, response) =>
      headers.authorization !== undefined &&
      url?.includes('/blobs/') === true &&
      response.writeHead(307, { location: `http://${elsewhere.host}${url}` }).end() !== undefined
    // Plain HTTP to another place than the registry itself is refused, on loopback too.
    expect((await verifying(right)).state).toBe('unverifiable')
    registry.token = false
    registry.meddle = () => false
    await elsewhere.close()
    expect(tokens).toEqual([])
  })
})

describe('a layout on disk', () => {
  /** Of one image and what is said about it. */
  const laidOut = (content = 'an image on disk') => {
    const own = new ImageStore()
    const image = own.image(content)
    own.attach(image, signed(own, image))
    return { own, image, path: own.layout() }
  }
  const verify = async (path: string, args: readonly string[] = by) => {
    const ran = await mcpIr(['verify', path, ...args, '--json'])
    return { code: ran.code, state: ran.json.result?.output.state }
  }

  test('a folder, and a tar of it, without a network', async () => {
    const { path, image } = laidOut()
    expect(await verify(path)).toEqual({ code: 0, state: 'verified' })
    execFileSync('tar', ['-cf', join(folder, 'image.tar'), '-C', path, '.'])
    expect(await verify(join(folder, 'image.tar'))).toEqual({ code: 0, state: 'verified' })
    expect(await verify(path, ['--digest', image.digest])).toEqual({ code: 0, state: 'verified' })
    expect(await verify(path, ['--digest', right.digest])).toEqual({ code: 4, state: 'invalid' })
    const evil = by.map((arg) => arg.replace('/acme/', '/acme-evil/'))
    expect(await verify(path, evil)).toEqual({ code: 4, state: 'invalid' })
  })

  test('of the older way, by tags', async () => {
    const own = new ImageStore()
    const image = own.image('older, on disk')
    olderSignature(own, image)
    expect(await verify(own.layout(), [...by, '--digest', image.digest])).toEqual({ code: 0, state: 'verified' })
  })

  test('of several images the one whose digest is named', async () => {
    const { own, image } = laidOut()
    const second = own.image('another one')
    const path = own.layout()
    expect((await verify(path)).code).toBe(2)
    expect(await verify(path, [...by, '--digest', image.digest])).toEqual({ code: 0, state: 'verified' })
    expect(await verify(path, [...by, '--digest', second.digest])).toEqual({ code: 4, state: 'unverifiable' })
  })

  test('that lacks a layer cannot be told; a folder that is no layout is no file', async () => {
    const { path, own, image } = laidOut()
    const [, layer] = [...own.blobs.keys()]
    rmSync(join(path, 'blobs', layer?.replace(':', '/') ?? ''))
    expect(await verify(path)).toEqual({ code: 4, state: 'unverifiable' })
    rmSync(join(path, 'index.json'))
    expect((await verify(path)).code).toBe(2)
    expect(image.digest).toMatch(/^sha256:/)
  })

  test('one changed bit of manifest, config, layer or bundle is never verified', async () => {
    const { path } = laidOut('a layer of some length, so that there is something to change')
    const expected = { trustedRoot: root, identity, issuer }
    const signal = AbortSignal.timeout(100_000)
    expect((await verifyArtifact(path, expected, signal)).state).toBe('verified')
    const blobs = join(path, 'blobs', 'sha256')
    // The manifest of the bundle and its empty config say nothing that is relied on: a wrong digest is found all the same.
    const names = readdirSync(blobs)
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...names), fc.nat(1_000_000), fc.nat(7), async (name, place, bit) => {
        const file = join(blobs, name)
        const original = readFileSync(file)
        const changed = Buffer.from(original)
        changed[place % changed.length] = (changed[place % changed.length] ?? 0) ^ (1 << bit)
        writeFileSync(file, changed)
        const outcome = await verifyArtifact(path, expected, signal).catch((error: unknown) => error)
        writeFileSync(file, original)
        if (original.toString() === '{}') return
        expect(outcome).not.toMatchObject({ state: 'verified' })
      }),
      { numRuns: 120 },
    )
  })

  test('a tar that is no layout is a file like any other', async () => {
    writeFileSync(join(folder, 'plain.txt'), 'plain')
    execFileSync('tar', ['-cf', join(folder, 'plain.tar'), '-C', folder, 'plain.txt'])
    const file = join(folder, 'plain.tar')
    const bundle = write(
      'plain.json',
      JSON.stringify(world.signed({ as: certificate(), file: readFileSync(file), logged: at('10:05') })),
    )
    expect(await verify(file, [...by, '--bundle', bundle])).toEqual({ code: 0, state: 'verified' })
    const sum = execFileSync('sha256sum', [file]).toString().slice(0, 64)
    expect(await verify(file, ['--digest', `sha256:${sum}`])).toEqual({ code: 0, state: 'verified' })
    writeFileSync(file, readFileSync(file).subarray(0, 700))
    expect((await verify(file, ['--digest', `sha256:${sum}`])).state).toBe('invalid')
  })
})
