import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { listCases, type StoredCase } from '../../src/case/case.ts'
import { loadConfig } from '../../src/config-file.ts'
import type { Context } from '../../src/context.ts'
import { type Company, serverName, startCompany } from '../../src/drill/company.ts'
import { basic } from '../../src/drill/http.ts'
import { type IncidentResult, respond } from '../../src/incident.ts'
import { loadRegistry } from '../../src/registry/load.ts'
import { testContext } from './terminal.ts'

const playbooks = fileURLToPath(new URL('../../playbooks', import.meta.url))

/** A drill's company: real processes, as compromised as it gets. */
export const company = (): Promise<Company> =>
  startCompany({ now: () => new Date(), progress: () => {}, signal: new AbortController().signal })

/** The whole playbook on it, in this process. */
export async function respondTo(
  { config, registry, folder }: Company,
  signal = new AbortController().signal,
): Promise<IncidentResult> {
  const loaded = loadRegistry(registry)
  const context: Context = testContext('', {
    random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
    config: await loadConfig({ flag: config, env: {}, cwd: folder, home: homedir() }),
    registry: () => loaded,
    signal,
  })
  return respond(context, { server: serverName, consent: 'yes', playbooks })
}

/** `T` stopped, `S` sleeping …; undefined when it has ended. */
export function processState(pid: number): string | undefined {
  try {
    const state = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '')[0]
    return state === 'Z' ? undefined : state
  } catch {
    return undefined
  }
}

/** How many tokens of the server's client live, by the authorization server's own count. */
export async function liveTokens({ registry, folder }: Company): Promise<number> {
  const { servers } = await loadRegistry(registry)
  const [credential] = servers[0]?.credentials ?? []
  if (credential?.kind !== 'oauth') throw new Error('the company has an OAuth credential')
  const secret = readFileSync(credential.clientSecretFile ?? `${folder}/secrets/crm-mcp`, 'utf8').trim()
  const response = await fetch(new URL('/live', credential.tokenEndpoint), {
    method: 'POST',
    headers: { authorization: basic(credential.clientId, secret) },
  })
  return ((await response.json()) as { live: number }).live
}

/** The one case of the company; undefined before it is opened. */
export async function onlyCase({ folder }: Company): Promise<StoredCase | undefined> {
  const { cases, damaged } = await listCases(`${folder}/cases`)
  if (cases.length > 1 || damaged.length > 0) throw new Error('one whole case at most')
  return cases[0]
}

/** Ids of the changes that the journal says were applied, settled ones included. */
export function appliedIds({ lines }: StoredCase): string[] {
  return lines.flatMap((line) => (line.kind === 'change.applied' ? [line.data.id] : []))
}
