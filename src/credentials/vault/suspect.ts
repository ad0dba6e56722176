import type { Call, Change, JsonObject, Observation } from '../../change.ts'
import { madeOnce } from '../made-once.ts'
import type { CredentialTarget } from '../port.ts'
import { field, words } from '../words.ts'
import { type Can, nothing, whatTheyCan } from './able.ts'
import type { VaultClient } from './client.ts'
import { type Holders, policyHolders } from './holders.ts'
import { allTokens, couldBeMade, type Maker, mayHaveMade, ownPolicies, plannedTokens, type Token } from './tokens.ts'

/** What belongs to one suspect credential, whatever its kind, and what its tokens may have left behind. */
export interface Suspect {
  /** For people: `role crm at auth/approle`. */
  readonly whose: string
  /** Issued to it, or a child of what was. */
  readonly isIts: (token: Token) => boolean
  /** Of its login, beside those that its tokens carry. */
  readonly policies: readonly string[]
  /** Among the holders of policies, it is none of the others. */
  readonly holder?: string
  /** Its entity, when it is nobody else's: no other holder either. */
  readonly entity?: string | undefined
}

export interface Reach {
  readonly its: readonly Token[]
  /** Tokens that it may have made and that outlive it. */
  readonly made: readonly Token[]
  /** Of those that the plan ends. */
  readonly left: readonly Token[]
  /** Its policies by name, with everybody else who has them; empty when nobody is known to. */
  readonly policies: ReadonlyMap<string, readonly string[]>
  /** Who has which policy is not known for certain: this could not be read. */
  readonly unread: readonly string[]
  readonly can: Can
}

const nobody: Holders = { holders: [], appRoles: [], logins: [], tokenRoles: [], entities: undefined, unread: [] }

/**
 * @param about `all`: who else has its policies and what its tokens can do, for a plan; `tokens`: only what lives, to see it dead
 * @throws IrError denied, when tokens may not be listed
 */
export function reachOf(
  call: Call<CredentialTarget>,
  vault: VaultClient,
  suspect: Suspect,
  about: 'all' | 'tokens',
): Promise<Reach> {
  if (about === 'tokens') return find(call, vault, suspect, about)
  // The check of a plan asks the same as the plan.
  const { id } = call.target.credential
  return vault.shared(`reach of ${id}: ${suspect.whose}`, () => find(call, vault, suspect, about))
}

async function find(
  call: Call<CredentialTarget>,
  vault: VaultClient,
  suspect: Suspect,
  about: 'all' | 'tokens',
): Promise<Reach> {
  const [tokens, holders] = await Promise.all([
    allTokens(vault, call),
    about === 'all' ? policyHolders(vault, call) : nobody,
  ])
  const its = tokens.filter(suspect.isIts)
  const planned = plannedTokens(call.changes)
  const ended = new Set(planned.map(({ accessor }) => accessor))
  // Afterwards its tokens are gone: what they had is in the plan.
  const had = planned.filter(({ made }) => !made).flatMap(({ policies }) => policies)
  const names = ownPolicies([...new Set([...suspect.policies, ...its.flatMap(({ policies }) => policies), ...had])])
  const can = about === 'all' ? await whatTheyCan(vault, its, names, holders) : notedCan(call)
  const maker: Maker = { policies: new Set(names), tokenRoles: new Set(can.tokenRoles), since: call.target.since }
  const made = withoutParent(tokens).filter((token) => !suspect.isIts(token) && mayHaveMade(token, maker))
  const counted = new Set([...its, ...made])
  const bearers = (name: string) => (byPolicy(tokens).get(name) ?? []).filter((token) => !counted.has(token))
  return {
    its,
    made,
    left: tokens.filter(({ accessor }) => ended.has(accessor)),
    policies: new Map(names.map((name) => [name, whoElse(name, suspect, holders, bearers(name))])),
    unread: holders.unread,
    can,
  }
}

function whoElse(
  name: string,
  { holder, entity }: Suspect,
  { holders }: Holders,
  bearers: readonly Token[],
): readonly string[] {
  const registered = (byPolicy(holders).get(name) ?? []).filter(
    ({ path }) => path !== holder && path !== `identity/entity/id/${entity}`,
  )
  return [...new Set([...registered.map((one) => one.name), ...bearers.map(bearer)])].sort()
}

const withoutParent = madeOnce((tokens: readonly Token[]) => tokens.filter(couldBeMade))

interface Bearer {
  readonly policies: readonly string[]
}

const indexed = madeOnce((all: readonly Bearer[]) => {
  const found = new Map<string, Bearer[]>()
  for (const one of all)
    for (const name of one.policies) {
      const list = found.get(name) ?? []
      list.push(one)
      found.set(name, list)
    }
  return found
})

function byPolicy<T extends Bearer>(all: readonly T[]): ReadonlyMap<string, readonly T[]> {
  return indexed(all) as unknown as ReadonlyMap<string, readonly T[]>
}

function bearer({ path, meta, accessor }: Token): string {
  const role = typeof meta.role_name === 'string' ? meta.role_name : meta.role
  if (path.endsWith('/login') && typeof role === 'string') return `${role} at ${path.slice(0, -'/login'.length)}`
  return `token ${accessor}`
}

/** What its tokens could have left behind that nothing here finds. `kept`: those of its policies that are not overwritten. */
export function leftBehind({ can }: Reach, whose: string, kept: readonly string[]): readonly string[] {
  return [
    ...can.more.map((what) => `${whose} could ${what}: look into Vault's audit log whether it did`),
    ...(can.batchOrphans && kept.length > 0
      ? [
          `${whose} could make batch tokens without a parent, which cannot be listed or revoked: those with policy ${kept.join(', ')} live until they expire`,
        ]
      : []),
  ]
}

interface Notes {
  /** See `leftBehind`. */
  readonly left?: readonly string[]
  /** What is unusual about its use, see `unusualUse`. */
  readonly use: readonly string[]
  readonly can?: Can | undefined
}

/**
 * Kept with the plan: afterwards nobody is left to ask what its tokens could do.
 */
export function noting(
  changes: readonly Change[],
  { left = [], use, can: { tokenRoles, secretIds } = nothing }: Notes,
): readonly Change[] {
  const [first, ...rest] = changes
  if (first === undefined || left.length + use.length + tokenRoles.length + secretIds.length === 0) return changes
  const facts = use.length === 0 ? first.facts : { ...first.facts, 'use by the audit log': use.join('; ') }
  return [
    {
      ...first,
      params: {
        ...(first.params as JsonObject),
        ...(left.length === 0 ? {} : { left }),
        ...(tokenRoles.length === 0 ? {} : { tokenRoles }),
        ...(secretIds.length === 0 ? {} : { secretIds }),
        ...(use.length === 0 ? {} : { use }),
      },
      ...(facts === undefined ? {} : { facts }),
    },
    ...rest,
  ]
}

/** What the plan knew that its tokens could: what was made so between the plan and its end is looked for, too. */
function notedCan({ changes }: Call<CredentialTarget>): Can {
  const all = (name: string): readonly string[] => changes.flatMap(({ params }) => words(field(params, name)))
  return { ...nothing, tokenRoles: all('tokenRoles'), secretIds: all('secretIds') }
}

/** What the plan knew of its use, shown with the credential. */
export function notedUse({ changes }: Call<CredentialTarget>): readonly Observation[] {
  return changes.flatMap(({ params }) => {
    const use = field(params, 'use')
    if (!Array.isArray(use)) return []
    return [{ claim: 'its use was looked up in the audit log of Vault', seen: use.join('; '), holds: true }]
  })
}

/** What was noted, for the verdict. */
export function noted({ changes, target }: Call<CredentialTarget>): readonly string[] {
  return changes.flatMap(({ params }) => {
    const left = field(params, 'left')
    return Array.isArray(left) ? left.map((one) => `${target.credential.id}: ${one}`) : []
  })
}
