import { IrError, systemCode } from '../../errors.ts'
import { safe } from '../../ui/safe-text.ts'
import { textAt } from '../json-path.ts'
import {
  type Descriptor,
  digestForm,
  digestOf,
  type ImageSource,
  maxManifestBytes,
  maxReferrers,
  parseManifest,
} from './descriptor.ts'
import type { ImageReference } from './reference.ts'

/** For one exchange, its body included. */
const timeoutMs = 30_000
const maxRedirects = 5
const maxTokenBytes = 64 * 1024
const accept = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
].join(', ')

/**
 * A registry that speaks the OCI distribution API, over HTTPS (plain HTTP on loopback only). Asked anonymously: with a token
 * where it hands one to anybody; credentials are not read. Everything is bounded, and what has a digest is held against it.
 */
export function registrySource({ host, name }: ImageReference): ImageSource {
  const local = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])(?::\d+)?$/.test(host)
  const scheme = local ? 'http:' : 'https:'
  const base = new URL(`${scheme}//${host === 'docker.io' ? 'registry-1.docker.io' : host}/v2/${name}/`)
  let token: string | undefined

  const get = async (path: string, limit: number, signal: AbortSignal) => (await answer(path, limit, signal))?.bytes

  async function answer(
    path: string | URL,
    limit: number,
    signal: AbortSignal,
  ): Promise<{ readonly bytes: Buffer; readonly next: URL | undefined } | undefined> {
    let url = new URL(path, base)
    let asked = false
    for (let hops = 0; hops <= maxRedirects; hops++) {
      const own = url.origin === base.origin
      const response = await once(url, own ? token : undefined, signal)
      if (response.status === 401 && own && !asked) {
        asked = true
        token = await anonymous(response.headers.get('www-authenticate') ?? '', signal)
        continue
      }
      if ([301, 302, 303, 307, 308].includes(response.status)) {
        url = secure(new URL(response.headers.get('location') ?? '', url))
        continue
      }
      if (response.status === 404) return undefined
      if (response.status === 401 || response.status === 403)
        throw new IrError('denied', `${safe(host)} does not hand it out to everybody (${response.status}).`, {
          hints: ['Copy the image to a layout on disk (skopeo copy docker://… oci:FOLDER) and verify that.'],
        })
      if (response.status !== 200) throw new IrError('unreachable', `${safe(host)} answers with ${response.status}.`)
      return { bytes: await bounded(response, limit, host), next: nextOf(response, url) }
    }
    throw new IrError('unreachable', `${safe(host)} redirects without end.`)
  }

  /** Where a list goes on (distribution specification, Link header). */
  function nextOf(response: Response, url: URL): URL | undefined {
    const [, next] = /<([^>]*)>\s*;[^,]*\brel="?next"?/i.exec(response.headers.get('link') ?? '') ?? []
    return next === undefined || !URL.canParse(next, url.href) ? undefined : secure(new URL(next, url))
  }

  function secure(url: URL): URL {
    if (url.protocol === 'https:' || (local && url.origin === base.origin)) return url
    throw new IrError('refused', `${safe(host)} leads to ${safe(url.host, 100)}, which is not asked over HTTPS.`)
  }

  /** The token that anybody gets (distribution specification, token authentication). */
  async function anonymous(challenge: string, signal: AbortSignal): Promise<string | undefined> {
    const parts = new Map([...challenge.matchAll(/([a-z]+)="([^"]*)"/gi)].map(([, key, value]) => [key, value]))
    const realm = parts.get('realm')
    if (!/^bearer /i.test(challenge) || realm === undefined || !URL.canParse(realm)) return undefined
    const url = secure(new URL(realm))
    for (const key of ['service', 'scope']) {
      const value = parts.get(key)
      if (value !== undefined) url.searchParams.set(key, value)
    }
    const response = await once(url, undefined, signal)
    if (response.status !== 200) return undefined
    try {
      const answer: unknown = JSON.parse((await bounded(response, maxTokenBytes, host)).toString('utf8'))
      const found = textAt(answer, 'token') ?? textAt(answer, 'access_token')
      return found !== undefined && /^[\x21-\x7e]+$/.test(found) ? found : undefined
    } catch (error) {
      if (error instanceof IrError) throw error
      return undefined
    }
  }

  async function once(url: URL, bearer: string | undefined, signal: AbortSignal): Promise<Response> {
    try {
      return await fetch(url, {
        headers: { accept: `${accept}, */*`, ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }) },
        redirect: 'manual',
        signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
      })
    } catch (error) {
      throw lost(url.host, error, signal)
    }
  }

  async function bounded(response: Response, limit: number, from: string): Promise<Buffer> {
    const parts: Uint8Array[] = []
    let size = 0
    try {
      for await (const part of response.body ?? []) {
        size += part.byteLength
        if (size > limit) throw new IrError('refused', `${safe(from)} answers with more than ${limit} bytes.`)
        parts.push(part)
      }
    } catch (error) {
      if (error instanceof IrError) throw error
      throw lost(from, error, AbortSignal.abort())
    }
    return Buffer.concat(parts)
  }

  function checked(bytes: Buffer | undefined, digest: string): Buffer | undefined {
    if (bytes === undefined || digestOf(bytes) === digest) return bytes
    throw new IrError('refused', `${safe(host)} answers with something else than ${digest}.`)
  }

  return {
    name: safe(`${host}/${name}`),
    async manifest(reference, signal) {
      const bytes = await get(`manifests/${reference}`, maxManifestBytes, signal)
      return digestForm.test(reference) ? checked(bytes, reference) : bytes
    },
    blob: async (digest, limit, signal) => checked(await get(`blobs/${digest}`, limit, signal), digest),
    async referrers(digest, signal): Promise<readonly Descriptor[]> {
      let page =
        (await answer(`referrers/${digest}`, maxManifestBytes, signal)) ??
        // Of a registry that does not know the referrers API: the index under a tag that is made of the digest.
        (await answer(`manifests/${digest.replace(':', '-')}`, maxManifestBytes, signal))
      const found: Descriptor[] = []
      for (let pages = 1; page !== undefined; pages++) {
        found.push(...(parseManifest(page.bytes)?.manifests ?? []))
        // One more than are read says that there are more.
        if (page.next === undefined || found.length > maxReferrers || pages === maxReferrers) break
        page = await answer(page.next, maxManifestBytes, signal)
      }
      return found
    },
  }
}

function lost(host: string, error: unknown, signal: AbortSignal): IrError {
  if (signal.aborted && error instanceof Error && error.name === 'AbortError')
    return new IrError('interrupted', `Interrupted while ${safe(host)} was asked.`)
  const cause = error instanceof Error ? error.cause : undefined
  const timeout = error instanceof Error && error.name === 'TimeoutError' ? 'time-out' : undefined
  const code = timeout ?? systemCode(cause) ?? systemCode(error) ?? 'no connection'
  return new IrError('unreachable', `${safe(host)} does not answer (${code}).`)
}
