import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
  readonly artifactType?: string
  readonly annotations?: Readonly<Record<string, string>>
}

const image = 'application/vnd.oci.image.manifest.v1+json'
const index = 'application/vnd.oci.image.index.v1+json'
const bundleType = 'application/vnd.dev.sigstore.bundle.v0.3+json'

/** Images and what is said about them: put into a registry of the test's own, or written as a layout. */
export class ImageStore {
  readonly blobs = new Map<string, Buffer>()
  readonly manifests = new Map<string, { readonly bytes: Buffer; readonly descriptor: Descriptor; subject?: string }>()
  readonly tags = new Map<string, string>()

  blob(content: string | Uint8Array, mediaType: string, annotations?: Descriptor['annotations']): Descriptor {
    const bytes = Buffer.from(content as Uint8Array)
    const digest = digestOf(bytes)
    this.blobs.set(digest, bytes)
    return { mediaType, digest, size: bytes.length, ...(annotations === undefined ? {} : { annotations }) }
  }

  manifest(manifest: {
    readonly artifactType?: string
    readonly subject?: Descriptor
    readonly [key: string]: unknown
  }): Descriptor {
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: image, ...manifest }))
    const digest = digestOf(bytes)
    const { artifactType, subject } = manifest
    const descriptor = {
      mediaType: image,
      digest,
      size: bytes.length,
      ...(artifactType === undefined ? {} : { artifactType }),
    }
    this.manifests.set(digest, { bytes, descriptor, ...(subject === undefined ? {} : { subject: subject.digest }) })
    return descriptor
  }

  /** An image of one layer. */
  image(content: string): Descriptor {
    const config = this.blob('{"architecture":"amd64","os":"linux"}', 'application/vnd.oci.image.config.v1+json')
    return this.manifest({ config, layers: [this.blob(content, 'application/vnd.oci.image.layer.v1.tar')] })
  }

  bytes(digest: string): Buffer {
    return this.manifests.get(digest)?.bytes ?? Buffer.alloc(0)
  }

  /** As cosign attaches a bundle (BUNDLE_SPEC). */
  attach(subject: Descriptor, bundle: unknown): Descriptor {
    const config = this.blob('{}', 'application/vnd.oci.empty.v1+json')
    const layers = [this.blob(JSON.stringify(bundle), bundleType)]
    return this.manifest({ artifactType: bundleType, config, layers, subject })
  }

  referrers(digest: string): Buffer {
    const manifests = [...this.manifests.values()].filter(({ subject }) => subject === digest)
    return Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: index, manifests: manifests.map(({ descriptor }) => descriptor) }),
    )
  }

  /** An OCI image layout in a new folder. */
  layout(): string {
    const folder = mkdtempSync(join(tmpdir(), 'mcp-ir-layout-'))
    mkdirSync(join(folder, 'blobs', 'sha256'), { recursive: true })
    const put = (digest: string, bytes: Buffer) => writeFileSync(join(folder, 'blobs', digest.replace(':', '/')), bytes)
    for (const [digest, bytes] of this.blobs) put(digest, bytes)
    for (const [digest, { bytes }] of this.manifests) put(digest, bytes)
    const named = new Map([...this.tags].map(([tag, digest]) => [digest, tag]))
    const manifests = [...this.manifests.values()].map(({ descriptor }) => {
      const tag = named.get(descriptor.digest)
      return tag === undefined
        ? descriptor
        : { ...descriptor, annotations: { 'org.opencontainers.image.ref.name': tag } }
    })
    writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
    writeFileSync(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, mediaType: index, manifests }))
    return folder
  }
}

export interface OciRegistry {
  /** `127.0.0.1:PORT`. */
  readonly host: string
  /** Whether it knows the referrers API; else there is an index under a tag. */
  referrersApi: boolean
  /** So many referrers in one answer; undefined: all. */
  pageSize: number | undefined
  /** Whether it demands the token that it hands to anybody. */
  token: boolean
  /** Before it answers: returns true when the answer was given. */
  meddle: (request: IncomingMessage, response: ServerResponse) => boolean
  readonly asked: string[]
  readonly close: () => Promise<void>
}

/** A registry of the test's own that speaks the OCI distribution API on loopback: no public one is asked. */
export async function ociRegistry(store: ImageStore): Promise<OciRegistry> {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '', 'http://localhost')
    registry.asked.push(pathname)
    if (registry.meddle(request, response)) return
    const send = (bytes: Buffer | undefined, type: string) =>
      bytes === undefined
        ? response.writeHead(404).end('{}')
        : response.writeHead(200, { 'content-type': type }).end(bytes)
    if (pathname === '/token') return void send(Buffer.from('{"token":"for-anybody"}'), 'application/json')
    if (registry.token && request.headers.authorization !== 'Bearer for-anybody') {
      const realm = `http://${registry.host}/token`
      return void response
        .writeHead(401, {
          'www-authenticate': `Bearer realm="${realm}",service="test",scope="repository:acme/crm:pull"`,
        })
        .end('{}')
    }
    const [, kind, reference = ''] = /^\/v2\/acme\/crm\/(manifests|blobs|referrers)\/(.+)$/.exec(pathname) ?? []
    if (kind === 'blobs') return void send(store.blobs.get(reference), 'application/octet-stream')
    if (kind === 'referrers' && registry.referrersApi && registry.pageSize !== undefined) {
      const { manifests, ...rest } = JSON.parse(store.referrers(reference).toString()) as { manifests: unknown[] }
      const from = Number(new URL(request.url ?? '', 'http://localhost').searchParams.get('last') ?? 0)
      const to = from + registry.pageSize
      if (to < manifests.length) response.setHeader('link', `<${pathname}?last=${to}>; rel="next"`)
      return void send(Buffer.from(JSON.stringify({ ...rest, manifests: manifests.slice(from, to) })), index)
    }
    if (kind === 'referrers') return void send(registry.referrersApi ? store.referrers(reference) : undefined, index)
    const fallback = /^sha256-([0-9a-f]{64})$/.exec(reference)?.[1]
    if (fallback !== undefined && !registry.referrersApi) return void send(store.referrers(`sha256:${fallback}`), index)
    send(store.manifests.get(store.tags.get(reference) ?? reference)?.bytes, image)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const registry: OciRegistry = {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    referrersApi: true,
    pageSize: undefined,
    token: false,
    meddle: () => false,
    asked: [],
    close: () =>
      new Promise((done) => {
        server.closeAllConnections()
        server.close(() => done())
      }),
  }
  return registry
}

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
