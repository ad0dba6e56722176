import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Call } from '../../change.ts'
import { IrError, systemCode } from '../../errors.ts'
import { isOutside } from '../../working-hours.ts'
import type { CredentialTarget } from '../port.ts'
import { objectOf, type VaultClient } from './client.ts'
import type { Token } from './tokens.ts'

/** Requests of one credential in Vault's audit log, in one span of time. */
interface Span {
  requests: number
  outside: number
  last: string
  readonly addresses: Set<string>
  /** By the hour, as `2026-11-23T10`. */
  readonly hours: Map<string, number>
}

interface Use {
  /** Before the window: what is usual. */
  readonly before: Span
  readonly since: Span
}

/** So many addresses are kept for one credential. */
const maxAddresses = 1000
/** Far above the usual: so many times the busiest hour of before, and so many at least. */
const times = 5
const least = 20

/** Whose requests are meant: by the entity that all its tokens carry, else by the name of the role that they were issued for. */
export interface Whose {
  readonly entity?: string | undefined
  readonly role?: string | undefined
  /** By their own accessors: the log has a keyed hash of each, which Vault tells. */
  readonly tokens: readonly Token[]
}

/**
 * What is unusual about the use of a credential since the window began, from Vault's audit log: addresses never seen before,
 * requests outside of working hours, far more of them. In plain words; empty when no log is configured. The log is read once for all
 * who ask; that it cannot be read is one of the words.
 */
export async function unusualUse(
  call: Call<CredentialTarget>,
  vault: VaultClient,
  { entity, role, tokens }: Whose,
): Promise<readonly string[]> {
  const { since, hours, vault: { auditLog } = {} } = call.target
  if (auditLog === undefined || since === undefined) return []
  let uses: ReadonlyMap<string, Use>
  try {
    uses = await vault.shared('audit log', () => readLog(auditLog, since, hours, call.signal))
  } catch (error) {
    if (error instanceof IrError) throw error
    return [`the audit log of Vault cannot be read (${systemCode(error) ?? 'not readable'})`]
  }
  const hashed = entity === undefined && role === undefined ? await hashes(vault, tokens) : []
  const keys = [entity === undefined ? `role ${role}` : `entity ${entity}`, ...hashed.map((hash) => `accessor ${hash}`)]
  const found = keys.flatMap((key) => uses.get(key) ?? [])
  if (found.length === 0) return [`no request of it since ${since} is in the audit log`]
  const before = merged(found.map((use) => use.before))
  const now = merged(found.map((use) => use.since))
  if (now.requests === 0) return [`no request of it since ${since} is in the audit log`]
  const said = [`${now.requests} requests since ${since}, the last at ${now.last}, from ${listed([...now.addresses])}`]
  if (before.requests === 0) said.push('none from before is in the audit log: nothing tells what is usual')
  else {
    const fresh = [...now.addresses].filter((address) => !before.addresses.has(address))
    if (fresh.length > 0) said.push(`from addresses never seen before: ${listed(fresh)}`)
    const [most, usual] = [Math.max(...now.hours.values()), Math.max(...before.hours.values())]
    if (most >= least && most > usual * times) said.push(`up to ${most} requests an hour, ${usual} at most before`)
  }
  if (now.outside > 0) said.push(`${now.outside} of them outside of working hours`)
  return said
}

function listed(addresses: readonly string[]): string {
  const shown = addresses.slice(0, 5).join(', ')
  return addresses.length > 5 ? `${shown} and ${addresses.length - 5} more` : shown
}

async function readLog(
  path: string,
  since: string,
  hours: CredentialTarget['hours'],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Use>> {
  const uses = new Map<string, Use>()
  const lines = createInterface({ input: createReadStream(path, { signal }), crlfDelay: Number.POSITIVE_INFINITY })
  for await (const line of lines) {
    // The response says the same again.
    if (!line.includes('"type":"request"')) continue
    const entry = parsed(line)
    const auth = objectOf(entry?.auth)
    const time = entry?.time
    if (auth === undefined || typeof time !== 'string' || Number.isNaN(Date.parse(time))) continue
    const address = String(objectOf(entry?.request)?.remote_address ?? '')
    const role = objectOf(auth.metadata)?.role_name
    for (const [kind, name] of [
      ['entity', auth.entity_id],
      ['role', role],
      ['accessor', auth.accessor],
    ] as const) {
      if (typeof name !== 'string' || name === '') continue
      const key = `${kind} ${name}`
      const use = uses.get(key) ?? { before: span(), since: span() }
      uses.set(key, use)
      count(Date.parse(time) < Date.parse(since) ? use.before : use.since, time, address, hours)
    }
  }
  return uses
}

/** A line that was cut off while the log was rotated is left out. */
function parsed(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    return objectOf(JSON.parse(line))
  } catch {
    return undefined
  }
}

function span(): Span {
  return { requests: 0, outside: 0, last: '', addresses: new Set(), hours: new Map() }
}

function count(into: Span, time: string, address: string, hours: CredentialTarget['hours']): void {
  into.requests++
  if (time > into.last) into.last = time
  if (address !== '' && into.addresses.size < maxAddresses) into.addresses.add(address)
  const hour = time.slice(0, 13)
  into.hours.set(hour, (into.hours.get(hour) ?? 0) + 1)
  if (hours !== undefined && isOutside(hours, new Date(time))) into.outside++
}

function merged(spans: readonly Span[]): Span {
  const into = span()
  for (const one of spans) {
    into.requests += one.requests
    into.outside += one.outside
    if (one.last > into.last) into.last = one.last
    for (const address of one.addresses) into.addresses.add(address)
    for (const [hour, requests] of one.hours) into.hours.set(hour, (into.hours.get(hour) ?? 0) + requests)
  }
  return into
}

/** As every audit device writes them; empty where that may not be asked. */
async function hashes(vault: VaultClient, tokens: readonly Token[]): Promise<readonly string[]> {
  try {
    const devices = Object.keys((await vault.read('sys/audit'))?.data ?? {}).map((name) => name.replace(/\/$/, ''))
    const asked = tokens.flatMap(({ accessor }) =>
      devices.map(async (device) => (await vault.ask(`sys/audit-hash/${device}`, { input: accessor }))?.data.hash),
    )
    return (await Promise.all(asked)).filter((hash) => typeof hash === 'string')
  } catch (error) {
    if (error instanceof IrError && error.code === 'denied') return []
    throw error
  }
}
