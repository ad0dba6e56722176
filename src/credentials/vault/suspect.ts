import type { Call, Change, JsonObject, Observation } from '../../change.ts'
import { IrError } from '../../errors.ts'
import type { CredentialTarget } from '../port.ts'
import { field } from '../words.ts'
import type { VaultClient } from './client.ts'
import { type Holders, policyHolders } from './holders.ts'
import { allTokens, type Maker, mayHaveMade, ownPolicies, plannedTokens, type Token } from './tokens.ts'

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

/** What its tokens can do beyond reading and writing data. */
interface Can {
  /** Known at all: it takes a living token to ask. */
  readonly asked: boolean
  /** `auth/token/create/NAME` that they may call. */
  readonly tokenRoles: readonly string[]
  /** AppRoles, as paths, for which they may make secret ids. */
  readonly secretIds: readonly string[]
  /** Batch tokens without parent and entity, which nothing lists and only their policy stops. */
  readonly batchOrphans: boolean
  /** In words: what else they could have left behind, and nothing here looks for. */
  readonly more: readonly string[]
}

const nothing: Can = { asked: false, tokenRoles: [], secretIds: [], batchOrphans: false, more: [] }

/** Names that do not exist: whether they could be made tells what the tokens may do. */
const probe = 'mcp-ir-probe'
const making: Readonly<Record<string, string>> = {
  [`sys/policies/acl/${probe}`]: 'write policies',
  [`sys/auth/${probe}`]: 'add login methods',
  [`auth/token/roles/${probe}`]: 'make token roles',
  'identity/entity': 'make entities',
}

const nobody: Holders = { holders: [], appRoles: [], logins: [], tokenRoles: [], unread: [] }

/**
 * @param about `all`: who else has its policies and what its tokens can do, for a plan; `tokens`: only what lives, to see it dead
 * @throws IrError denied, when tokens may not be listed
 */
export async function reachOf(
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
  const can = about === 'all' ? await whatTheyCan(vault, its, holders) : nothing
  const planned = plannedTokens(call.changes)
  const ended = new Set(planned.map(({ accessor }) => accessor))
  // Afterwards its tokens are gone: what they had is in the plan.
  const had = planned.filter(({ made }) => !made).flatMap(({ policies }) => policies)
  const names = ownPolicies([...new Set([...suspect.policies, ...its.flatMap(({ policies }) => policies), ...had])])
  const maker: Maker = { policies: new Set(names), tokenRoles: new Set(can.tokenRoles), since: call.target.since }
  const made = tokens.filter((token) => !suspect.isIts(token) && mayHaveMade(token, maker))
  const others = tokens.filter((token) => !its.includes(token) && !made.includes(token))
  return {
    its,
    made,
    left: tokens.filter(({ accessor }) => ended.has(accessor)),
    policies: new Map(names.map((name) => [name, whoElse(name, suspect, holders, others)])),
    unread: holders.unread,
    can,
  }
}

function whoElse(
  name: string,
  { holder, entity }: Suspect,
  holders: Holders,
  others: readonly Token[],
): readonly string[] {
  const registered = holders.holders.filter(
    ({ policies, path }) => policies.includes(name) && path !== holder && path !== `identity/entity/id/${entity}`,
  )
  const bearers = others.filter(({ policies }) => policies.includes(name)).map(bearer)
  return [...new Set([...registered.map((one) => one.name), ...bearers])].sort()
}

function bearer({ path, meta, accessor }: Token): string {
  const role = typeof meta.role_name === 'string' ? meta.role_name : meta.role
  if (path.endsWith('/login') && typeof role === 'string') return `${role} at ${path.slice(0, -'/login'.length)}`
  return `token ${accessor}`
}

/** Tokens with the same policies can do the same. */
async function whatTheyCan(vault: VaultClient, its: readonly Token[], holders: Holders): Promise<Can> {
  const kinds = new Map(its.map((token) => [token.policies.join(), token]))
  const secretIdPaths = holders.appRoles.map((path) => `${path}/secret-id`)
  const paths = ['auth/token/create', 'auth/token/create-orphan', ...holders.tokenRoles, ...secretIdPaths]
  const more = new Map([
    ...Object.entries(making),
    ...holders.logins.map((folder) => [`${folder}/${probe}`, `make logins at ${folder}`] as const),
  ])
  const all = [...paths, ...more.keys()]
  const able = new Map<string, Set<string>>()
  try {
    for (const [kind, { accessor }] of [...kinds]
      .toSorted(([, a], [, b]) => b.policies.length - a.policies.length)
      .slice(0, 16)) {
      const answer = await vault.shared(['able', kind, ...all].join(' '), () =>
        vault.ask('sys/capabilities-accessor', { accessor, paths: all }),
      )
      for (const path of all) {
        const found = answer?.data[path]
        const words = able.get(path) ?? new Set()
        if (Array.isArray(found)) for (const word of found) words.add(String(word))
        able.set(path, words)
      }
    }
  } catch (error) {
    // A token that died in between, or a right that we lack: then it is not known.
    if (!(error instanceof IrError) || error.code === 'interrupted') throw error
    return nothing
  }
  const may = (path: string): boolean => {
    const words = able.get(path)
    return words !== undefined && ['update', 'create', 'root'].some((word) => words.has(word))
  }
  const roots = able.get('auth/token/create')
  return {
    asked: kinds.size > 0,
    tokenRoles: holders.tokenRoles.filter(may),
    secretIds: holders.appRoles.filter((path) => may(`${path}/secret-id`)),
    batchOrphans:
      may('auth/token/create-orphan') ||
      roots?.has('sudo') === true ||
      roots?.has('root') === true ||
      holders.tokenRoles.some(may),
    more: [...more].flatMap(([path, words]) => (may(path) ? [words] : [])),
  }
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

/**
 * Kept with the plan: afterwards nobody is left to ask what its tokens could do.
 * @param use what is unusual about its use, see `unusualUse`
 */
export function noting(changes: readonly Change[], left: readonly string[], use: readonly string[]): readonly Change[] {
  const [first, ...rest] = changes
  if (first === undefined || left.length + use.length === 0) return changes
  const facts = use.length === 0 ? first.facts : { ...first.facts, 'use by the audit log': use.join('; ') }
  return [
    {
      ...first,
      params: {
        ...(first.params as JsonObject),
        ...(left.length === 0 ? {} : { left }),
        ...(use.length === 0 ? {} : { use }),
      },
      ...(facts === undefined ? {} : { facts }),
    },
    ...rest,
  ]
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
