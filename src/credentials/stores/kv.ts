import { IrError } from '../../errors.ts'
import { safe } from '../../ui/safe-text.ts'
import { objectOf, type VaultCall, type VaultClient, vaultClient } from '../vault/client.ts'

/** One secret of Vault's KV engine, version 1 or 2, as both versions can be used alike. Values stay in memory. */
export interface Kv {
  /** `secret/mcp/crm`, as the command line tools take it. */
  readonly path: string
  readonly engine: 1 | 2
  /**
   * The fields of one version, the newest where none is named, with the number of the newest one: 0 where nothing was ever
   * written. `fields` is undefined when it is not there, or was deleted.
   */
  read(version?: number): Promise<{ readonly fields: Fields | undefined; readonly version: number }>
  /** Newest first; empty with engine version 1. */
  versions(): Promise<readonly KvVersion[]>
  /**
   * Puts all fields, provided that the newest version is still `after` (not checked by engine version 1).
   * @returns the number of the new version, undefined with engine version 1; `conflict` when somebody wrote meanwhile
   */
  write(fields: Fields, after: number): Promise<number | undefined | 'conflict'>
  /**
   * Puts these fields beside what is there, under the same condition. Without the others in the request: Vault takes a thousand strings in
   * one, which are five hundred fields.
   * @returns as `write`; `unsupported` where it cannot be done so: engine version 1, an older Vault, no `patch` in our policies, nothing there
   */
  patch(fields: Fields, after: number): Promise<number | undefined | 'conflict' | 'unsupported'>
  /** Recoverably. */
  delete(versions: readonly number[]): Promise<void>
  undelete(versions: readonly number[]): Promise<void>
  /** For good. */
  destroy(versions: readonly number[]): Promise<void>
  /** The custom metadata by which somebody holds its versions, as `legal-hold=case 7`; undefined when nobody does. */
  hold(): Promise<string | undefined>
  /** What we may do: `read`, `update`, `delete` … `root`, by path. */
  capabilities(paths: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>>
  /** The path that an operation goes to, as policies name it. */
  at(operation: 'data' | 'metadata' | 'delete' | 'undelete' | 'destroy'): string
}

export type Fields = Readonly<Record<string, unknown>>

interface KvVersion {
  readonly version: number
  readonly state: 'there' | 'deleted' | 'destroyed'
}

export interface KvPlace {
  readonly mount: string
  readonly path: string
}

/** @throws IrError input when the mount is no KV engine; denied when there is none, or none that we may see */
export async function openKv(place: KvPlace, call: VaultCall): Promise<Kv> {
  const vault = vaultClient(call)
  const { mount, path, full } = partsOf(place)
  const engine = await engineOf(vault, mount, path, call.signal)
  const at: Kv['at'] = (operation) => (engine === 1 ? full : `${mount}/${operation}/${path}`)
  return {
    path: full,
    engine,
    at,
    capabilities: (paths) => capabilities(vault, paths),
    ...operations(vault, engine, at),
  }
}

/** As it is written for people, whatever slashes the registry has around them. */
export function kvPath(place: KvPlace): string {
  return partsOf(place).full
}

function partsOf(place: KvPlace): { readonly mount: string; readonly path: string; readonly full: string } {
  const [mount = '', path = ''] = [place.mount, place.path].map((part) => part.replace(/^\/+|\/+$/g, ''))
  return { mount, path, full: `${mount}/${path}` }
}

const engines = new WeakMap<AbortSignal, Map<string, Promise<1 | 2>>>()

/** Asked once in one run, as a thousand secrets lie in one mount. */
function engineOf(vault: VaultClient, mount: string, path: string, signal: AbortSignal): Promise<1 | 2> {
  const known = engines.get(signal) ?? new Map<string, Promise<1 | 2>>()
  engines.set(signal, known)
  const key = JSON.stringify([vault.address, vault.namespace, mount])
  const found = known.get(key) ?? detect(vault, mount, path)
  known.set(key, found)
  // What failed may work the next time.
  found.catch(() => known.delete(key))
  return found
}

async function detect(vault: VaultClient, mount: string, path: string): Promise<1 | 2> {
  // Unlike sys/mounts, whoever may do anything at this path may ask this.
  const { status, data } = await vault.request({
    method: 'GET',
    path: `sys/internal/ui/mounts/${mount}/${path}`,
    nature: 'read',
    expected: [403, 404],
  })
  if (status >= 400)
    throw new IrError('denied', `There is no ${safe(mount)}/${safe(path)} in Vault that we may see`, {
      hints: [
        `Is the mount right (vault secrets list), and may we read it (vault token capabilities ${safe(mount)}/…)?`,
      ],
    })
  const { type, options, path: found } = data
  if (type !== 'kv' && type !== 'generic')
    throw new IrError('input', `${safe(mount)} in Vault is no KV engine but ${safe(String(type))}`)
  if (typeof found === 'string' && found.replace(/\/$/, '') !== mount)
    throw new IrError('input', `${safe(mount)} is no mount in Vault: ${safe(found)} is`)
  return objectOf(options)?.version === '2' ? 2 : 1
}

async function capabilities(
  vault: VaultClient,
  paths: readonly string[],
): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = await vault.ask('sys/capabilities-self', { paths })
  return new Map(
    paths.map((path) => {
      const words = found?.data[path]
      return [path, Array.isArray(words) ? words.map(String) : []]
    }),
  )
}

type Operations = Pick<Kv, 'read' | 'versions' | 'write' | 'patch' | 'delete' | 'undelete' | 'destroy' | 'hold'>

function operations(vault: VaultClient, engine: 1 | 2, at: Kv['at']): Operations {
  if (engine === 1)
    return {
      async read() {
        const found = await vault.read(at('data'))
        return { fields: found?.data, version: 0 }
      },
      versions: async () => [],
      async write(fields) {
        await vault.write(at('data'), fields)
        return undefined
      },
      patch: async () => 'unsupported',
      delete: async () => {},
      undelete: async () => {},
      destroy: async () => {},
      hold: async () => undefined,
    }
  const put = (method: 'POST' | 'PATCH', fields: Fields, after: number, expected: readonly number[]) =>
    vault.request({
      method,
      path: at('data'),
      body: { data: fields, options: { cas: after } },
      // What was written once is a conflict the second time.
      nature: 'repeat',
      expected,
    })
  const isConflict = ({ status, said }: { readonly status: number; readonly said: string }): boolean =>
    status === 400 && /check-and-set/.test(said)
  return {
    async read(version) {
      const { data } = await vault.request({
        method: 'GET',
        path: at('data'),
        ...(version === undefined ? {} : { query: { version: `${version}` } }),
        nature: 'read',
        expected: [404],
      })
      // A deleted version is 404 with metadata, one that never was without.
      return { fields: objectOf(data.data), version: whole(objectOf(data.metadata)?.version) ?? 0 }
    },
    async versions() {
      const found = await vault.read(at('metadata'))
      return Object.entries(objectOf(found?.data.versions) ?? {})
        .map(([version, about]) => ({ version: Number(version), state: stateOf(objectOf(about)) }))
        .sort((a, b) => b.version - a.version)
    },
    async write(fields, after) {
      const answer = await put('POST', fields, after, [400])
      if (answer.status < 400) return whole(answer.data.version)
      if (isConflict(answer)) return 'conflict'
      if (/complexity/.test(answer.said))
        throw new IrError('input', `${safe(at('data'))} in Vault has more fields than it takes in one request`, {
          hints: [
            `Give us patch on it, so that one field can be put beside the others: path "${safe(at('data'))}" { capabilities = ["patch", …] }`,
          ],
        })
      throw new IrError('input', `Vault does not take what is to be written to ${safe(at('data'))} (400)`)
    },
    async patch(fields, after) {
      const answer = await put('PATCH', fields, after, [400, 403, 404, 405, 415])
      if (answer.status < 400) return whole(answer.data.version)
      return isConflict(answer) ? 'conflict' : 'unsupported'
    },
    async delete(versions) {
      await vault.write(at('delete'), { versions })
    },
    async undelete(versions) {
      await vault.write(at('undelete'), { versions })
    },
    async destroy(versions) {
      if (versions.length > 0) await vault.write(at('destroy'), { versions })
    },
    async hold() {
      const found = await vault.read(at('metadata'))
      return Object.entries(objectOf(found?.data.custom_metadata) ?? {})
        .filter(([name, value]) => /(?:^|[-_. ])(?:hold|retain|retention|keep)(?:$|[-_. ])/i.test(name) && !isNo(value))
        .map(([name, value]) => `${name}=${String(value)}`)[0]
    },
  }
}

function isNo(value: unknown): boolean {
  return /^(?:|0|no|none|false|off)$/i.test(String(value ?? ''))
}

function stateOf(about: Readonly<Record<string, unknown>> | undefined): KvVersion['state'] {
  if (about?.destroyed === true) return 'destroyed'
  const deleted = about?.deletion_time
  // With delete_version_after it lies in the future.
  return typeof deleted === 'string' && deleted !== '' && Date.parse(deleted) <= Date.now() ? 'deleted' : 'there'
}

function whole(value: unknown): number | undefined {
  return Number.isSafeInteger(value) ? (value as number) : undefined
}
