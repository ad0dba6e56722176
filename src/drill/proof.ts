import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseEnv } from 'node:util'
import type { Context } from '../context.ts'
import { IrError, systemCode } from '../errors.ts'
import type { StepWatch } from '../incident.ts'
import { expectationsOf, provenance } from '../provenance/index.ts'
import { loadRegistry } from '../registry/load.ts'
import { number } from '../ui/format.ts'
import { safe } from '../ui/safe-text.ts'
import { type Company, serverName } from './company.ts'
import { findMarked } from './processes.ts'
import { servedTools } from './tools.ts'

/** What the drill measured itself on the running processes, under compromise and once the step was done. */
export interface Proof {
  readonly claim: string
  readonly before: Measured
  readonly after: Measured
  /** Both were measured, they differ, and each is what it has to be. */
  readonly holds: boolean
}

export type Measured = number | string | boolean | null

interface Claim {
  readonly claim: string
  /** The step after which it is measured again. */
  readonly use: string
  readonly measure: () => Promise<Measured>
  readonly holds: (before: Measured, after: Measured) => boolean
}

/**
 * Measures the company around the steps of the playbook: everything once before the first step that changes something, and
 * each claim again after its step. Uses clients of its own, nothing that a step said.
 * @param span milliseconds over which the sink's bytes are counted, each time
 */
export function measure(
  company: Company,
  { ui, signal }: Context,
  span = 1500,
): { readonly watch: StepWatch; readonly proof: () => Proof[] } {
  const claims: readonly Claim[] = [
    {
      claim: `bytes that the sink received in ${span} ms`,
      use: 'network.isolate',
      measure: () => leaked(company, span, signal),
      holds: (before, after) => typeof before === 'number' && before > 0 && after === 0,
    },
    {
      claim: 'server answering while isolated',
      use: 'network.isolate',
      measure: () => answering(company.url),
      holds: (before, after) => before === true && after === false,
    },
    {
      claim: 'old token downstream (HTTP status)',
      use: 'credentials.revoke',
      measure: () => accepted(company, company.token),
      holds: (before, after) => before === 200 && after === 401,
    },
    {
      claim: 'new token downstream (HTTP status)',
      use: 'credentials.rotate',
      measure: async () => {
        const token = await delivered(company)
        return token === undefined ? 'there is none yet' : await accepted(company, token)
      },
      holds: (before, after) => before === 'there is none yet' && after === 200,
    },
    {
      claim: 'tampered build',
      use: 'deployment.redeploy',
      measure: () => tampered(company, signal),
      holds: (before, after) => String(before).startsWith('running') && String(after).startsWith('refused'),
    },
    {
      claim: 'tools served (digest)',
      use: 'deployment.redeploy',
      measure: async () => (await servedTools(company.url, signal)).digest,
      holds: (before, after) => before !== company.approvedTools && after === company.approvedTools,
    },
  ]
  const before = new Map<Claim, Measured>()
  const after = new Map<Claim, Measured>()
  const proofOf = (claim: Claim): Proof => {
    const [then, now] = [before.get(claim) ?? null, after.get(claim) ?? null]
    return { claim: claim.claim, before: then, after: now, holds: then !== now && claim.holds(then, now) }
  }
  const measureAll = (due: readonly Claim[], into: Map<Claim, Measured>) =>
    ui.task('The drill measures', () => Promise.all(due.map(async (claim) => into.set(claim, await measured(claim)))))
  const watch: StepWatch = {
    before: async ({ use }) => {
      if (before.size > 0 || claims.every((claim) => claim.use !== use)) return
      await measureAll(claims, before)
    },
    after: async ({ use, state }) => {
      if (state === 'planned' || state === 'consent-required' || state === 'declined') return
      const due = claims.filter((claim) => claim.use === use)
      if (due.length === 0) return
      await measureAll(due, after)
      for (const { claim, before: then, after: now, holds } of due.map(proofOf)) {
        ui.say(`  ${holds ? '✓' : '✗'} drill: ${claim}: ${safe(shown(then))} → ${safe(shown(now))}`)
      }
    },
  }
  // What was not measured is null, and does not hold.
  return { watch, proof: () => claims.map(proofOf) }
}

/** For people. */
export function shown(value: Measured): string {
  if (value === null) return 'not measured'
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  return typeof value === 'number' && value > 999 ? number(value) : String(value)
}

/** A measurement that cannot be made says so; it then proves nothing. */
async function measured(claim: Claim): Promise<Measured> {
  try {
    return await claim.measure()
  } catch (error) {
    if (error instanceof IrError && error.code === 'interrupted') throw error
    return `not measured: ${error instanceof Error ? error.message : 'unknown error'}`
  }
}

/** Bytes that arrive at the attacker's sink in the next `milliseconds`. */
export async function leaked(company: Company, milliseconds: number, signal: AbortSignal): Promise<number> {
  const count = async () => {
    const response = await fetch(company.sink, { signal: AbortSignal.timeout(5000) })
    return ((await response.json()) as { bytes: number }).bytes
  }
  const start = await count()
  await sleep(milliseconds, undefined, { signal })
  return (await count()) - start
}

/** Whether an MCP request gets any answer. */
async function answering(url: string): Promise<boolean> {
  const clientInfo = { name: 'drill', version: '1' }
  const params = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo }
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params }),
      signal: AbortSignal.timeout(2000),
    })
    await response.body?.cancel()
    return true
  } catch (error) {
    // No answer in time, or nobody who takes the connection.
    if (error instanceof Error && (error.name === 'TimeoutError' || error.name === 'TypeError')) return false
    throw error
  }
}

async function accepted(company: Company, token: string): Promise<number> {
  const response = await fetch(`${company.customersApi}/me`, {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(5000),
  })
  await response.body?.cancel()
  return response.status
}

async function delivered(company: Company): Promise<string | undefined> {
  try {
    return parseEnv(await readFile(company.delivered, 'utf8')).CRM_API
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
}

/** While its process lives, that; afterwards, what the provenance check says to deploying the very same tarball. */
async function tampered(company: Company, signal: AbortSignal): Promise<string> {
  if ((await findMarked(company.marker)).includes(company.suspect))
    return `running as process ${company.suspect} (${company.deployed.integrity.slice(0, 19)}…)`
  const { servers } = await loadRegistry(company.registry)
  const server = servers.find((one) => one.name === serverName)
  if (server === undefined) throw new IrError('input', 'the registry does not know the server')
  const verdict = await provenance.verify(company.deployed.file, expectationsOf(server), signal)
  return verdict.state === 'invalid' ? `refused: ${verdict.reasons[0] ?? 'invalid'}` : `not refused: ${verdict.state}`
}
