import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { client as NodeVault } from 'node-vault'
import { IrError, systemCode } from '../../errors.ts'
import { sharedOf } from '../../shared-answers.ts'
import { gateOf } from '../gate.ts'
import { environment } from './environment.ts'
import { type Exchange, transport } from './transport.ts'

/**
 * HashiCorp Vault and OpenBao, as all adapters of ours talk to them: node-vault for the protocol, our own errors. Messages hold
 * the host, the status and what was asked for; never what the server said, as a storage or database error may carry a secret.
 */
export interface VaultClient {
  readonly address: string
  /** From VAULT_NAMESPACE; shown in plans and commands. */
  readonly namespace: string | undefined
  /** GET. @returns undefined when there is nothing */
  read(path: string): Promise<Answer | undefined>
  /** LIST: the keys, empty when there are none. */
  list(path: string): Promise<readonly string[]>
  /** `read` and `list`, once for all who ask in the same moment: see shared-answers.ts. For looks, never right before a change. */
  readonly once: Pick<VaultClient, 'read' | 'list'>
  /** A POST that changes nothing, such as a look-up by accessor: repeated like a read. @returns undefined when there is nothing */
  ask(path: string, body: object): Promise<Answer | undefined>
  /** POST that may be made twice: repeated when the server says that it did not make it, and when its answer is lost. */
  write(path: string, body: object): Promise<Answer>
  /** POST that makes something new each time: never repeated, never cut off by Ctrl-C, as its answer would be lost. */
  create(path: string, body: object): Promise<Answer>
  /** DELETE. What is gone already is deleted. */
  delete(path: string): Promise<void>
  /** Everything else, and where a status is an answer and not an error. */
  request(request: VaultRequest): Promise<Answer>
  /** A question that many credentials ask, under a key of its own: see shared-answers.ts. */
  shared<T>(key: string, work: () => Promise<T>): Promise<T>
  /** The same Vault with another token, or without one, to try what somebody else holds or to log in. */
  as(token: string | undefined): VaultClient
}

interface Answer {
  readonly status: number
  /** `data` of the body; empty when it has none. */
  readonly data: Readonly<Record<string, unknown>>
  /** Of a login or a new token. Secret. */
  readonly auth: Readonly<Record<string, unknown>> | undefined
  readonly leaseId: string | undefined
  /** The errors of a status that was `expected`, to tell them apart. May hold a secret: not to be repeated to anybody. */
  readonly said: string
}

/**
 * What asking again would do. `read`: nothing. `repeat`: a change that may be made twice. `create`: makes something new each
 * time.
 */
type Nature = 'read' | 'repeat' | 'create'

interface VaultRequest {
  readonly method: 'GET' | 'LIST' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Without `/v1/`; every part is encoded, so that a name with `?` or `%` is a name. */
  readonly path: string
  readonly body?: object
  readonly query?: Readonly<Record<string, string>>
  readonly nature: Nature
  /** Statuses from 400 on that are an answer. */
  readonly expected?: readonly number[]
  /** For the whole exchange, in milliseconds, where it is longer than usual (a revocation that is waited for). */
  readonly timeoutMs?: number
}

/** The part of a call that a client needs. */
export interface VaultCall {
  readonly target: { readonly vault?: { readonly address?: string | undefined } | undefined }
  readonly signal: AbortSignal
}

export interface VaultSettings {
  readonly timeoutMs: number
  /** Exchanges in all for a read, for a change, and for a change while it is throttled, the first one included. */
  readonly reads: number
  readonly changes: number
  readonly throttled: number
  /** Before the second exchange; doubled for each further one. */
  readonly pauseMs: number
}

const defaults: VaultSettings = { timeoutMs: 30_000, reads: 16, changes: 6, throttled: 7, pauseMs: 50 }
const maxPauseMs = 2000
/** The server was never asked, so that a change cannot have happened. */
const neverSent = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ENETUNREACH', 'EHOSTUNREACH'])

function vaultAddress({ target }: Pick<VaultCall, 'target'>): string {
  return (environment('ADDR') ?? target.vault?.address ?? 'https://127.0.0.1:8200').replace(/\/+$/, '')
}

/** Whether anybody said where Vault is, or logged in to the default one. */
export async function isConfigured({ target }: Pick<VaultCall, 'target'>): Promise<boolean> {
  return (environment('ADDR') ?? target.vault?.address ?? (await ownToken())) !== undefined
}

/** The responder's own: VAULT_TOKEN, or the file that `vault login` writes. */
async function ownToken(): Promise<string | undefined> {
  const given = environment('TOKEN')
  if (given !== undefined) return given
  try {
    return (await readFile(join(homedir(), '.vault-token'), 'utf8')).trim() || undefined
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw new IrError('input', `~/.vault-token cannot be read (${systemCode(error) ?? 'unknown'})`)
  }
}

/** By command, and by the address in the configuration. */
const clients = new WeakMap<AbortSignal, Map<string | undefined, VaultClient>>()

/** One for a command, however many credentials ask for it. @param overrides for tests */
export function vaultClient(call: VaultCall, overrides?: Partial<VaultSettings>): VaultClient {
  if (overrides !== undefined) return clientWith(call, ownToken, { ...defaults, ...overrides })
  const ofCommand = clients.get(call.signal) ?? new Map<string | undefined, VaultClient>()
  clients.set(call.signal, ofCommand)
  const configured = call.target.vault?.address
  const client = ofCommand.get(configured) ?? clientWith(call, ownToken, defaults)
  ofCommand.set(configured, client)
  return client
}

function clientWith(call: VaultCall, token: () => Promise<string | undefined>, settings: VaultSettings): VaultClient {
  const { signal } = call
  const address = vaultAddress(call)
  const namespace = environment('NAMESPACE')
  if (!URL.canParse(address) || !/^https?:$/.test(new URL(address).protocol))
    throw new IrError('input', 'the address of Vault is not a URL', {
      hints: ['Set VAULT_ADDR, or vault.address in the configuration, to something like https://vault.example:8200'],
    })
  const { host } = new URL(address)
  const gate = gateOf(address)
  const answers = sharedOf(signal, `${address} ${namespace ?? ''}`)
  let opened: Promise<NodeVault> | undefined
  const open = (): Promise<NodeVault> => {
    opened ??= connect(address, namespace, token).catch((error: unknown) => {
      opened = undefined
      throw error
    })
    return opened
  }
  /** Somebody logged in anew while a person was asked: whether there is another token by now than the one that was `shown`. */
  const renewed = async (vault: NodeVault, shown: string): Promise<boolean> => {
    // Another request, which was refused at the same time, has found it.
    if (vault.token !== shown) return true
    const now = (await token()) ?? ''
    if (now === shown) return false
    vault.token = now
    return true
  }

  function request(what: VaultRequest): Promise<Answer> {
    return what.nature === 'read' ? asked(what) : answers.changing(() => asked(what))
  }

  async function asked(what: VaultRequest): Promise<Answer> {
    const vault = await open()
    for (let attempt = 1; ; attempt++) {
      stopIfAborted(signal)
      const exchange: Exchange = {
        timeoutMs: what.timeoutMs ?? settings.timeoutMs,
        signal: what.nature === 'create' ? undefined : signal,
      }
      let failure: unknown
      let shown = ''
      try {
        return await gate.run(() => {
          shown = vault.token
          return once(vault, what, exchange, host)
        }, signal)
      } catch (error) {
        if (error instanceof IrError) throw error
        failure = error
      }
      const { status } = exchange.seen ?? {}
      const { nature } = what
      const attempts = settings[nature === 'read' ? 'reads' : status === 429 ? 'throttled' : 'changes']
      if (status === 429) gate.throttled()
      if (status === 403 && attempt < attempts && saysExpired(failure) && (await renewed(vault, shown))) continue
      if (status !== undefined && what.expected?.includes(status) === true) return answerOf(status, bodyOf(failure))
      if (signal.aborted && what.nature !== 'create')
        throw new IrError('interrupted', 'Interrupted.', { ambiguous: what.nature !== 'read' })
      if (attempt < attempts && mayRepeat(what.nature, status, failure, attempt)) {
        await pause(exchange.seen?.retryAfterMs ?? settings.pauseMs * 2 ** (attempt - 1), signal)
        continue
      }
      throw asIrError(failure, exchange, what, { host, namespace, path: what.path })
    }
  }

  const read: VaultClient['read'] = (path) =>
    orAbsent(request({ method: 'GET', path, nature: 'read', expected: [404] }))
  const list: VaultClient['list'] = async (path) => {
    const found = await orAbsent(request({ method: 'LIST', path, nature: 'read', expected: [404] }))
    const keys = found?.data.keys
    return Array.isArray(keys) ? keys.filter((key): key is string => typeof key === 'string') : []
  }

  return {
    address,
    namespace,
    request,
    read,
    list,
    once: {
      read: (path) => answers.ask(`GET ${path}`, () => read(path)),
      list: (path) => answers.ask(`LIST ${path}`, () => list(path)),
    },
    ask: (path, body) => orAbsent(request({ method: 'POST', path, body, nature: 'read', expected: [404] })),
    write: (path, body) => request({ method: 'POST', path, body, nature: 'repeat' }),
    create: (path, body) => request({ method: 'POST', path, body, nature: 'create' }),
    async delete(path) {
      await request({ method: 'DELETE', path, nature: 'repeat', expected: [404] })
    },
    shared: answers.ask,
    as: (other) => clientWith(call, async () => other, settings),
  }
}

async function connect(
  endpoint: string,
  namespace: string | undefined,
  token: () => Promise<string | undefined>,
): Promise<NodeVault> {
  const { default: nodeVault } = await import('node-vault')
  const vault = nodeVault({
    endpoint,
    // Its own would write every request to stderr, secrets included, when DEBUG is set.
    debug: () => undefined,
    // Its place for another HTTP client: the one it brings follows redirects with the token, and cannot be aborted.
    'request-promise': { defaults: () => transport },
    // Without it the library reads the environment by itself.
    ...(namespace === undefined ? {} : { namespace }),
  })
  vault.token = (await token()) ?? ''
  return vault
}

/** @throws what node-vault throws */
async function once(vault: NodeVault, what: VaultRequest, exchange: Exchange, host: string): Promise<Answer> {
  const parts = what.path.split('/')
  if (parts.some((part) => part === '.' || part === '..'))
    throw new IrError('input', `${host} is not asked for a path with . or .. in it`)
  // LIST as Vault's documentation spells it for whoever has only common methods: proxies in between know no other.
  const isList = what.method === 'LIST'
  const query = new URLSearchParams({ ...what.query, ...(isList ? { list: 'true' } : {}) }).toString()
  const body: unknown = await vault.request({
    method: isList ? 'GET' : what.method,
    path: `/${parts.map(encodeURIComponent).join('/')}${query === '' ? '' : `?${query}`}`,
    ...(what.body === undefined ? {} : { json: what.body }),
    ...(what.method === 'PATCH' ? { headers: { 'content-type': 'application/merge-patch+json' } } : {}),
    exchange,
  })
  return answerOf(exchange.seen?.status ?? 200, body)
}

function answerOf(status: number, body: unknown): Answer {
  const { data, auth, lease_id, errors } = objectOf(body) ?? {}
  return {
    status,
    data: objectOf(data) ?? {},
    auth: objectOf(auth),
    leaseId: typeof lease_id === 'string' && lease_id !== '' ? lease_id : undefined,
    said: Array.isArray(errors) ? errors.filter((one) => typeof one === 'string').join('\n') : '',
  }
}

function bodyOf(failure: unknown): unknown {
  return objectOf(objectOf(failure)?.response)?.body
}

export function objectOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined
}

/** 404 is what Vault answers for an empty list too; with errors in it, the path itself is wrong or the engine is not there. */
async function orAbsent(asked: Promise<Answer>): Promise<Answer | undefined> {
  const answer = await asked
  return answer.status === 404 ? undefined : answer
}

function stopIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new IrError('interrupted', 'Interrupted.')
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  // Not all at the same moment again.
  const jittered = Math.min(ms, maxPauseMs) * (0.5 + Math.random() / 2)
  await sleep(jittered, undefined, { signal }).catch(() => stopIfAborted(signal))
}

function mayRepeat(nature: Nature, status: number | undefined, failure: unknown, attempt: number): boolean {
  // 429 says that nothing was done.
  if (status === 429) return true
  if (isSealed(status, failure)) return false
  if (nature === 'create') return false
  if (status !== undefined) return nature === 'repeat' ? status === 503 : status >= 500
  const code = networkCode(failure)
  if (code === 'time-out') return attempt < 2
  return neverSent.has(code) ? attempt < 3 : true
}

function isSealed(status: number | undefined, failure: unknown): boolean {
  return status === 503 && /sealed/i.test(answerOf(503, bodyOf(failure)).said)
}

/** That nothing was done with the token that was shown. */
function saysExpired(failure: unknown): boolean {
  return /invalid token|bad token|missing client token|token expired/i.test(answerOf(403, bodyOf(failure)).said)
}

function asIrError(
  failure: unknown,
  { seen }: Exchange,
  { nature, method }: VaultRequest,
  { host, namespace, path }: { host: string; namespace: string | undefined; path: string },
): IrError {
  const changes = nature !== 'read'
  const doing = `${method.toLowerCase()} ${path}${namespace === undefined ? '' : ` in namespace ${namespace}`}`
  const status = seen?.status
  if (status === undefined) {
    const code = networkCode(failure)
    return new IrError('unreachable', `Vault at ${host} does not answer (${code}): ${doing}`, {
      ambiguous: changes && !neverSent.has(code),
      hints: neverSent.has(code) ? ['Is VAULT_ADDR right, and does Vault run?'] : [],
    })
  }
  if (isSealed(status, failure))
    return new IrError('unreachable', `Vault at ${host} is sealed: ${doing}`, {
      hints: ['Unseal it (vault operator unseal), then run this again'],
    })
  if (status === 429)
    return new IrError('unreachable', `Vault at ${host} stays throttled (429): ${doing}`, {
      // It was not done, and may be tried again later.
      ambiguous: changes,
    })
  if (status >= 500)
    return new IrError('unreachable', `Vault at ${host} answers with ${status}: ${doing}`, { ambiguous: changes })
  if (status === 403) {
    const expired = saysExpired(failure)
    return new IrError(
      'denied',
      expired
        ? `Vault at ${host} does not know our token (any more): ${doing}`
        : `Vault at ${host} does not permit it (403): ${doing}`,
      { hints: expired ? ['Log in again (vault login), or set VAULT_TOKEN'] : [] },
    )
  }
  if (status >= 300 && status < 400)
    return new IrError(
      'unreachable',
      `Vault at ${host} answers with a redirect (${status}), which is not followed: ${doing}`,
      {
        hints: ['Point VAULT_ADDR to the active node'],
      },
    )
  return new IrError('input', `Vault at ${host} refuses it (${status}): ${doing}`)
}

function networkCode(failure: unknown): string {
  if (failure instanceof Error && (failure.name === 'TimeoutError' || failure.name === 'AbortError')) return 'time-out'
  return systemCode(failure) ?? 'no connection'
}
