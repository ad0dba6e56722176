import { bounded } from '../bounded.ts'
import type { Granted } from '../credentials/powers/port.ts'
import type { Credential, Server } from '../registry/port.ts'
import type { CouldReach } from './port.ts'

export interface Reach {
  readonly couldReach: readonly CouldReach[]
  readonly owners: readonly string[]
  readonly gaps: readonly string[]
  /** What was not told by who issued a credential, so that more may be within reach. */
  readonly unread: readonly string[]
}

/**
 * What the issuer of a credential says that it opens, and which of the others can be got hold of with it; undefined for kinds that
 * nobody can be asked about.
 */
export type Ask = (credential: Credential, others: readonly Credential[]) => Promise<Granted | undefined>

/** Ways that are listed; a registry in which everybody reaches everything has more than anybody reads. */
const mostWays = 5000

/**
 * What the server's credentials open, by the registry and by the word of those who issued them; and what is opened with the
 * credentials that can be got hold of there, and so on. Nothing here was observed.
 */
export async function reachOf(server: Server, servers: readonly Server[], ask: Ask): Promise<Reach> {
  const walk = new Walk(server, servers, ask)
  await walk.run()
  return walk.result()
}

/** A credential that could be used, and the way to it. */
interface Held {
  readonly of: Server
  readonly credential: Credential
  readonly way: readonly string[]
}

class Walk {
  readonly #server: Server
  readonly #others: readonly Server[]
  readonly #ask: Ask
  readonly #found: CouldReach[] = []
  readonly #owners = new Set<string>()
  readonly #gaps: string[] = []
  readonly #unread = new Set<string>()
  /** Entries that were gone into, so that circles end. */
  readonly #seen = new Set<string>()
  /** Servers of which the tools were gone into. */
  readonly #used = new Set<string>()

  constructor(server: Server, servers: readonly Server[], ask: Ask) {
    this.#server = server
    this.#others = servers.filter((other) => other.name !== server.name)
    this.#ask = ask
    this.#owners.add(server.owner)
    this.#used.add(server.name)
  }

  async run(): Promise<void> {
    const { credentials, reaches } = this.#server
    for (const reach of reaches) if (reach.via === undefined) this.#reach(reach, this.#server, ['not stated'])
    let level: readonly Held[] = credentials.map((credential) => ({
      of: this.#server,
      credential,
      way: [credential.id],
    }))
    while (level.length > 0) {
      const fresh = level.filter((held) => this.#isNew(held))
      const granted = await bounded(fresh, ({ of, credential }) => this.#ask(credential, this.#outside(of, credential)))
      level = fresh.flatMap((held, index) => this.#open(held, granted[index]))
    }
    for (const resource of resourceSystems(this.#server))
      if (!this.#found.some(({ system }) => system === resource.system)) this.#found.push(resource)
    if (reaches.length === 0 && credentials.length === 0)
      this.#gaps.push(
        'The registry names neither credentials nor downstream systems of this server: what it could reach is not known.',
      )
  }

  result(): Reach {
    const more = this.#found.length - mostWays
    return {
      couldReach: this.#found.slice(0, mostWays),
      owners: [...this.#owners],
      gaps: [...new Set([...this.#gaps, ...(more > 0 ? [`${more} more ways to systems are not listed.`] : [])])],
      unread: [...this.#unread],
    }
  }

  /** Each entry of the registry is gone into once, by the shortest way to it. */
  #isNew({ of, credential }: Held): boolean {
    const key = JSON.stringify([of.name, credential.id])
    if (this.#seen.has(key)) return false
    this.#seen.add(key)
    return true
  }

  /** What one credential opens; returned are the credentials that can be got hold of with it. */
  #open({ of, credential, way }: Held, granted: Granted | undefined): readonly Held[] {
    const own = of.reaches.filter((reach) => reach.via === credential.id)
    for (const reach of own) this.#reach(reach, of, way)
    const shared = this.#throughOthers(of, credential, way)
    for (const { system, kind, access, permissions } of granted?.opens ?? [])
      this.#add({ system, kind, access, data: [], permissions }, way)
    this.#gaps.push(...(granted?.gaps ?? []))
    for (const unread of granted?.unread ?? []) this.#unread.add(unread)
    const known = own.length > 0 || shared > 0
    if (!known && (granted?.opens.length ?? 0) === 0) this.#unknown({ of, credential, way })
    return (granted?.holds ?? []).flatMap(({ credential: other, how }) => this.#holders(other, [...way, how]))
  }

  /** What other servers reach with the very same secret, this one could reach with it as well. */
  #throughOthers(of: Server, credential: Credential, way: readonly string[]): number {
    let count = 0
    for (const other of this.#others) {
      if (other.name === of.name) continue
      for (const theirs of other.credentials.filter((one) => sameSecret(credential, one))) {
        const last = `${way.at(-1)} (shared with ${other.name}, there ${theirs.id})`
        for (const reach of other.reaches.filter(({ via }) => via === theirs.id)) {
          this.#owners.add(reach.owner ?? other.owner)
          this.#reach(reach, other, [...way.slice(0, -1), last])
          count += 1
        }
      }
    }
    return count
  }

  /** A downstream system; where that is a server of the registry, also what its tools reach. */
  #reach(reach: Server['reaches'][number], of: Server, way: readonly string[]): void {
    const { system, kind, access, data, classification, owner } = reach
    if (owner !== undefined) this.#owners.add(owner)
    this.#add(
      {
        system,
        kind,
        access,
        data,
        ...(classification === undefined ? {} : { classification }),
        ...(owner === undefined ? {} : { owner }),
      },
      way,
    )
    const behind = this.#others.find((other) => [other.name, ...other.aliases].includes(system))
    if (behind === undefined || behind.name === of.name || this.#used.has(behind.name)) return
    this.#used.add(behind.name)
    this.#owners.add(behind.owner)
    for (const further of behind.reaches) this.#reach(further, behind, [...way, `the tools of ${behind.name}`])
  }

  #add(reach: Omit<CouldReach, 'via' | 'way'>, way: readonly string[]): void {
    const { system, kind, ...rest } = reach
    this.#found.push({ system, kind, via: way.join(' → '), way, ...rest })
  }

  /** A credential of which nobody wrote down what it opens is itself a thing within reach. */
  #unknown({ of, credential, way }: Held): void {
    const { id, kind } = credential
    const whose = of === this.#server ? '' : ` of ${of.name}`
    this.#add({ system: `whatever ${id}${whose} opens`, kind, access: 'unknown', data: [] }, way)
    this.#owners.add(of.owner)
    this.#gaps.push(
      `What the credential ${id}${whose} opens is not in the registry (no reaches entry with via: ${id}): all of it must be taken for reachable.`,
    )
  }

  /** All that is to be got hold of: every credential but this one, and the places that others' new secrets go to. */
  #outside(of: Server, credential: Credential): readonly Credential[] {
    const all = [this.#server, ...this.#others]
    return [
      ...all.flatMap((server) =>
        server.credentials.filter((one) => one !== credential && !(server === of && one.id === credential.id)),
      ),
      ...this.#others.flatMap((server) => placeOf(server) ?? []),
    ]
  }

  /** Whose a credential is that was got hold of; a place that secrets are delivered to holds all of its server's. */
  #holders(credential: Credential, way: readonly string[]): readonly Held[] {
    return [this.#server, ...this.#others].flatMap((of) => {
      if (of.credentials.includes(credential)) {
        if (of !== this.#server) this.#owners.add(of.owner)
        const name = of === this.#server ? credential.id : `${credential.id} of ${of.name}`
        return [{ of, credential, way: [...way, name] }]
      }
      if (placeOf(of)?.id !== credential.id) return []
      this.#owners.add(of.owner)
      return of.credentials.map((one) => ({ of, credential: one, way: [...way, `${one.id} of ${of.name}`] }))
    })
  }
}

/** Where a server's new secrets lie, as if it were a credential: whoever reads it has them. */
function placeOf({ name, deliverTo }: Server): Credential | undefined {
  const id = `new secrets of ${name}`
  switch (deliverTo?.kind) {
    case 'vault-kv':
      return { id, kind: 'vault-kv', mount: deliverTo.mount, path: deliverTo.path }
    case 'aws-secret':
      return { id, kind: 'aws-secret', secret: deliverTo.secret, region: deliverTo.region }
    default:
      return undefined
  }
}

/** Whether both entries name one secret, whatever they call it. */
function sameSecret(a: Credential, b: Credential): boolean {
  const [first, second] = [secretOf(a), secretOf(b)]
  return first !== undefined && first === second
}

function secretOf(credential: Credential): string | undefined {
  const name = (...parts: readonly (string | number | undefined)[]) => JSON.stringify([credential.kind, ...parts])
  switch (credential.kind) {
    case 'aws-iam-role':
      return name(credential.role)
    case 'aws-iam-user':
      return name(credential.user)
    case 'vault-approle':
      return name(credential.mount, credential.role)
    case 'vault-token':
      return name(credential.accessor)
    case 'vault-entity':
      return name(credential.entity)
    case 'vault-database':
      return name(credential.mount, credential.role)
    case 'postgres':
      return name(credential.database.host, credential.database.port, credential.user)
    case 'vault-kv':
      return name(credential.mount, credential.path)
    case 'aws-secret':
      return name(credential.secret, credential.region)
    case 'azure-key-vault':
      return name(credential.vault, credential.secret)
    case 'oauth':
      return name(credential.tokenEndpoint, credential.clientId)
    case 'exec':
      return undefined
  }
}

/** Systems that only the tools' resources name. */
function resourceSystems(server: Server): readonly CouldReach[] {
  const systems = [...new Set(server.resources.flatMap((resource) => resource.system ?? []))]
  return systems.map((system) => {
    const uses = server.resources.filter((resource) => resource.system === system)
    const access = [...new Set(uses.map((resource) => resource.access))].sort().join('-')
    const via = [...new Set(uses.map((resource) => resource.tool))].join(', ')
    return { system, kind: 'resource', via, way: [via], access, data: [] }
  })
}
