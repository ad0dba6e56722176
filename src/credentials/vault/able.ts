import { IrError } from '../../errors.ts'
import type { VaultClient } from './client.ts'
import type { Holders } from './holders.ts'
import { policyText } from './policy.ts'
import { grants, spokenOf } from './rules.ts'
import type { Token } from './tokens.ts'

/** What the tokens of a suspect can do, or could, beyond reading and writing data. */
export interface Can {
  /** Known at all. */
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

export const nothing: Can = { asked: false, tokenRoles: [], secretIds: [], batchOrphans: false, more: [] }

/** Names that do not exist: whether they could be made tells what the tokens may do. */
const probe = 'mcp-ir-probe'
const making: Readonly<Record<string, string>> = {
  [`sys/policies/acl/${probe}`]: 'write policies',
  [`sys/auth/${probe}`]: 'add login methods',
  [`auth/token/roles/${probe}`]: 'make token roles',
  'identity/entity': 'make entities',
}

/** So many different sets of policies are asked about, the largest first. */
const mostKinds = 16

/**
 * Vault is asked about living tokens, and only about paths that their policies speak of at all: it takes its time for each. What
 * tokens could that are gone, is read in the policies that they had.
 * @param policies of all its tokens, also of those that are gone
 */
export async function whatTheyCan(
  vault: VaultClient,
  its: readonly Token[],
  policies: readonly string[],
  holders: Holders,
): Promise<Can> {
  const secretIdPaths = holders.appRoles.map((path) => `${path}/secret-id`)
  const more = new Map([
    ...Object.entries(making),
    ...holders.logins.map((folder) => [`${folder}/${probe}`, `make logins at ${folder}`] as const),
  ])
  const all = ['auth/token/create', 'auth/token/create-orphan', ...holders.tokenRoles, ...secretIdPaths, ...more.keys()]
  const kinds = new Map(its.map((token) => [token.policies.join(), token]))
  const able = new Map<string, Set<string>>()
  const allow = (path: string, words: readonly string[]): void => {
    const known = able.get(path) ?? new Set()
    for (const word of words) known.add(word)
    able.set(path, known)
  }
  let asked = kinds.size > 0
  try {
    for (const token of [...kinds.values()]
      .toSorted((a, b) => b.policies.length - a.policies.length)
      .slice(0, mostKinds)) {
      const worth = await worthAsking(vault, token, all)
      if (worth.length === 0) continue
      const answer = await vault.shared(['able', token.policies.join(), ...worth].join(' '), () =>
        vault.ask('sys/capabilities-accessor', { accessor: token.accessor, paths: worth }),
      )
      for (const path of worth) {
        const found = answer?.data[path]
        if (Array.isArray(found)) allow(path, found.map(String))
      }
    }
    if (policies.length > 0 && !its.some((token) => policies.every((name) => token.policies.includes(name)))) {
      const texts = await Promise.all([...policies, 'default'].map((name) => policyText(vault, name)))
      for (const path of all) allow(path, [...grants(texts, path)])
      asked = true
    }
  } catch (error) {
    // A token that died in between, or a right that we lack: then it is not known.
    if (!(error instanceof IrError) || error.code === 'interrupted') throw error
    return nothing
  }
  const may = (path: string): boolean => ['update', 'create', 'write', 'root'].some((word) => able.get(path)?.has(word))
  const roots = able.get('auth/token/create')
  return {
    asked,
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

/** Paths that the policies of a token speak of; all of them where those may not be read, or are not all that it has. */
async function worthAsking(
  vault: VaultClient,
  { policies, foreign }: Token,
  paths: readonly string[],
): Promise<readonly string[]> {
  if (foreign || policies.includes('root')) return paths
  try {
    const texts = await Promise.all(policies.map((name) => policyText(vault, name)))
    return spokenOf(texts, paths)
  } catch (error) {
    if (error instanceof IrError && error.code === 'denied') return paths
    throw error
  }
}
