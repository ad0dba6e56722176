import { randomBytes } from 'node:crypto'
import { execCredentials } from '../../src/credentials/exec.ts'
import type { Credentials, CredentialTarget } from '../../src/credentials/port.ts'
import { storedCredential } from '../../src/credentials/stored.ts'
import { stored } from '../../src/credentials/vault-kv.ts'
import type { CredentialOf } from '../../src/registry/port.ts'
import type { CredentialsWorld } from '../contracts/credentials.ts'
import type { Openbao } from '../testbed/openbao.ts'
import { type ExecWorld, startExecWorld } from './exec-world.ts'

type KvCredential = CredentialOf<'vault-kv'>
export type KvTarget = CredentialTarget<KvCredential>

export interface KvWorld extends CredentialsWorld<KvCredential> {
  readonly issuer: ExecWorld
  readonly path: string
  /** What lies there now, by the test's own client. */
  read(version?: number): Promise<Record<string, unknown> | undefined>
  /** By state, oldest first. */
  versions(): Promise<string[]>
}

/** Our own token and the address, as a responder has them. @returns what puts the environment back */
export function actAs(bao: Pick<Openbao, 'url'>, token: string): () => void {
  const before = { VAULT_ADDR: process.env.VAULT_ADDR, VAULT_TOKEN: process.env.VAULT_TOKEN }
  Object.assign(process.env, { VAULT_ADDR: bao.url, VAULT_TOKEN: token })
  return () => {
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  }
}

/**
 * A value of the test's own program at a path of its own, in a mount of engine version 1 or 2. It is replaced where it lies. Beside
 * it is a field that is somebody else's.
 */
export async function startKvWorld(bao: Openbao, mount: string): Promise<KvWorld> {
  const issuer = await startExecWorld()
  const path = `mcp/crm/${randomBytes(4).toString('hex')}`
  const v2 = mount === 'secret'
  const write = (data: object): Promise<unknown> =>
    v2 ? bao.ok('POST', `${mount}/data/${path}`, { data }) : bao.ok('POST', `${mount}/${path}`, data)
  const read: KvWorld['read'] = async (version) => {
    const at = v2 ? `${mount}/data/${path}${version === undefined ? '' : `?version=${version}`}` : `${mount}/${path}`
    const { body } = await bao.call('GET', at)
    return v2 ? (body.data?.data ?? undefined) : body.data
  }
  const versions: KvWorld['versions'] = async () => {
    const { data } = await bao.ok('GET', `${mount}/metadata/${path}`)
    return Object.values(data.versions as Record<string, { destroyed: boolean; deletion_time: string }>).map((one) =>
      one.destroyed ? 'destroyed' : one.deletion_time === '' ? 'there' : 'deleted',
    )
  }
  await write({ value: 'an-older-one-4711', url: 'https://partner.example' })
  await write({ value: issuer.oldSecret, url: 'https://partner.example' })

  const credential: KvCredential = { id: 'api-key', kind: 'vault-kv', mount, path, fields: ['value'] }
  const target: KvTarget = {
    server: 'io.acme/crm',
    credential,
    sharedWith: [],
    vault: { address: bao.url },
    deployments: [],
  }
  // As the steps put the two together.
  const composed = (of: KvTarget): Credentials<KvCredential> =>
    storedCredential(stored, {
      adapter: execCredentials({ attempts: 3, pauseMs: 1 }) as unknown as Credentials,
      target: {
        ...of,
        credential: { ...issuer.target.credential, id: credential.id },
        deliverTo: { kind: 'vault-kv', mount, path },
        replaces: { field: 'value' },
      },
    })
  return {
    issuer,
    path: `${mount}/${path}`,
    read,
    versions,
    // The contract alters whom it is shared with: the issuer's part has to know.
    adapter: { ...composed(target), plan: (call) => composed(call.target).plan(call) },
    target,
    oldWorks: issuer.oldWorks,
    deliveredWorks: async () => {
      const value = (await read())?.value
      return issuer.read().secrets.some(({ secret, dead }) => secret === value && dead !== true)
    },
    liveNew: issuer.liveNew,
    changingCalls: issuer.changingCalls,
    secrets: () => [...issuer.secrets(), 'an-older-one-4711'],
    fault: issuer.fault,
    stop: issuer.stop,
  }
}
