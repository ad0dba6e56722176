import type { Json } from '../../elasticsearch/client.ts'
import { inWindow, type Limits, parameters } from '../engine/counts.ts'
import type { Database } from '../engine/database.ts'
import type { Job } from '../engine/ingest.ts'
import type { Account, Contexts } from '../port.ts'
import type { Askable, Mapping } from './fields.ts'
import { all, any, everything, exists, inPieces, membersOf, not, timeIs, withValue } from './query.ts'

/** What the trail needs of the reading that it belongs to. */
export interface Reading {
  readonly job: Job
  readonly limits: Limits
  readonly mapping: Mapping
  /** Puts what a query finds into the table `lines`. @returns how many records that were */
  readonly fetch: (query: Json) => Promise<number>
  /** Tells what cannot be read. */
  readonly miss: (problem: string) => void
  /** The window's start, as records are found by it. */
  readonly from: string
}

/**
 * Fetches the records of contexts, as the blast radius asks for them, hop by hop, and of nobody else. Which contexts those are is
 * not known here: whoever follows the trail names them, and sees all records of each, so that the result is the one that it would
 * have had of the whole log.
 */
export class ContextFetcher {
  readonly #reading: Reading
  readonly #sessions = new Set<string>()
  readonly #traces = new Set<string>()
  readonly #agents = new Set<string>()
  readonly #accounts = new Map<string, Account>()
  /** Accounts all of whose records are there. */
  readonly #whole = new Set<string>()
  #begun = false

  constructor(reading: Reading) {
    this.#reading = reading
  }

  /** @returns whether there are more records than before */
  async widen(contexts: Contexts): Promise<boolean> {
    let fetched = 0
    if (!this.#begun) {
      this.#begun = true
      fetched += await this.#own()
    }
    const { session, trace, agent } = this.#reading.mapping
    fetched += await this.#values('session', session, fresh(contexts.sessions, this.#sessions))
    fetched += await this.#values('trace', trace, fresh(contexts.traces, this.#traces))
    fetched += await this.#values('agent', agent, fresh(contexts.agents, this.#agents))
    fetched += await this.#ofAccounts(contexts.accounts ?? [])
    return fetched > 0
  }

  /** The contexts that called the own server, and every call of a tool that may have touched what a suspect one wrote. */
  async #own(): Promise<number> {
    const { job, limits, mapping } = this.#reading
    const { database } = job
    const own = `FROM lines WHERE mine AND (is_call OR takes) AND ${inWindow}`
    const column = (name: string) => textOf(database, `SELECT DISTINCT ${name} ${own} AND ${name} IS NOT NULL`, limits)
    const rows = await database.rows(
      `SELECT DISTINCT person, agent, address, session IS NULL AND trace IS NULL AS bare ${own}`,
      parameters(limits),
    )
    const accounts = rows.map(({ person, agent, address, bare }) => ({
      user: text(person),
      agent: text(agent),
      address: text(address),
      bare: bare === true,
    }))
    let fetched = await this.#values('tool', mapping.tool, new Set(job.touched.tools))
    // Those of which too little is known are told apart by their agents' names, if at all.
    for (const agent of new Set(accounts.filter((one) => one.bare && !isAccount(one)).map(({ agent }) => agent))) {
      fetched += await this.#fetch(
        all(agent === undefined ? everything : withValue(mapping.agent, [agent]), this.#bare()),
      )
    }
    const more = await this.widen({ sessions: await column('session'), traces: await column('trace'), accounts })
    return more ? fetched + 1 : fetched
  }

  async #values(what: string, places: readonly Askable[], values: ReadonlySet<string>): Promise<number> {
    if (values.size === 0) return 0
    if (places.length === 0) {
      this.#reading.miss(
        `The index does not know the ${what} of a record, so that nothing could be asked for by it: ${values.size} values were not followed.`,
      )
      return 0
    }
    let fetched = 0
    for (const piece of inPieces(places, this.#members(what, values)))
      fetched += await this.#fetch(withValue(places, piece))
    return fetched
  }

  /**
   * Users with their clients count only for records that have neither session nor trace. So these are fetched; and everything else
   * of an account that has any, as it shows for how long it was silent.
   */
  async #ofAccounts(accounts: Iterable<Account>): Promise<number> {
    const { database } = this.#reading.job
    const asked = [...accounts].filter(isAccount).filter((account) => !this.#accounts.has(keyOf(account)))
    if (asked.length === 0) return 0
    for (const account of asked) this.#accounts.set(keyOf(account), account)
    const bare = await this.#each(asked, (query) => all(query, this.#bare()))
    const rows = await database.rows(
      'SELECT DISTINCT person, agent, address FROM lines WHERE NOT mine AND is_call AND session IS NULL AND trace IS NULL AND t >= $since',
      parameters(this.#reading.limits),
    )
    const active = new Set(
      rows.map(({ person, agent, address }) =>
        keyOf({ user: text(person), agent: text(agent), address: text(address) }),
      ),
    )
    const whole = [...this.#accounts.values()].filter(
      (account) => active.has(keyOf(account)) && !this.#whole.has(keyOf(account)),
    )
    for (const account of whole) this.#whole.add(keyOf(account))
    return bare + (await this.#each(whole, (query) => query))
  }

  /** Asks for accounts in pieces, those with the same client together. */
  async #each(accounts: readonly Account[], query: (accounts: Json) => Json): Promise<number> {
    const { mapping, miss } = this.#reading
    let fetched = 0
    for (const [agent, group] of Map.groupBy(accounts, (account) => account.agent)) {
      const client = agent === undefined ? everything : withValue(mapping.agent, [agent])
      const users = new Set(group.flatMap(({ user }) => user ?? []))
      const addresses = new Set(group.flatMap(({ user, address }) => (user === undefined ? (address ?? []) : [])))
      if ((users.size > 0 && mapping.user.length === 0) || (addresses.size > 0 && mapping.address.length === 0))
        miss(
          `The index does not know who made a call, so that nothing could be asked for by it: ${users.size + addresses.size} accounts were not followed.`,
        )
      for (const piece of inPieces(mapping.user, this.#members('user', users)))
        fetched += await this.#fetch(query(all(client, withValue(mapping.user, piece))))
      for (const piece of inPieces([...mapping.address, ...clauses], addresses))
        fetched += await this.#fetch(query(all(client, withAddress(mapping.address, piece))))
    }
    return fetched
  }

  #members(what: string, values: ReadonlySet<string>): ReadonlySet<string> {
    const { members, cut } = membersOf(values)
    if (cut > 0)
      this.#reading.miss(
        `The ${what} of some records is a list of more than 300 characters, by which nothing can be asked for: ${cut} were not followed.`,
      )
    return members
  }

  /** Without session and trace, or with empty ones, or with some that are too long to be asked for. */
  #bare(): Json {
    const { session, trace } = this.#reading.mapping
    return all(...[session, trace].map((places) => any([not(exists(places)), withValue(places, [''])])))
  }

  #fetch(query: Json): Promise<number> {
    const { mapping, from, fetch } = this.#reading
    const { dates } = mapping
    // What the index dates before there was any such log it may have misread.
    return fetch(all(query, any([timeIs(dates, { from }), timeIs(dates, { to: '1990-01-01T00:00:00Z' })])))
  }
}

/** An address is asked for by several clauses, as if it were text. */
const clauses: readonly Askable[] = [{ name: '', type: 'text' }]

/** The port of a client is left out where it is read. */
function withAddress(places: readonly Askable[], addresses: readonly string[]): Json {
  const ports = places
    .filter(({ type }) => type === 'exact')
    .flatMap(({ name }) =>
      addresses.flatMap((address) =>
        [`${address}:`, `[${address}]:`].map((value) => ({ prefix: { [name]: { value } } })),
      ),
    )
  return any([withValue(places, addresses), ...ports])
}

function isAccount({ user, agent, address }: Account): boolean {
  return user !== undefined || (agent !== undefined && address !== undefined)
}

function keyOf({ user, agent, address }: Account): string {
  return JSON.stringify([user ?? address, agent ?? address])
}

/** Those that were not named before, which they are from now on. */
function fresh(values: Iterable<string> | undefined, known: Set<string>): ReadonlySet<string> {
  const found = new Set<string>()
  for (const value of values ?? []) if (!known.has(value)) found.add(value)
  for (const value of found) known.add(value)
  return found
}

async function textOf(database: Database, query: string, limits: Limits): Promise<string[]> {
  return (await database.rows(query, parameters(limits)))
    .flatMap((row) => Object.values(row))
    .flatMap((value) => text(value) ?? [])
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
