import { IrError } from '../../errors.ts'
import type { Credential, CredentialOf } from '../../registry/port.ts'
import { pathOf, readRole } from '../vault/approle.ts'
import { isConfigured, type VaultClient, vaultClient } from '../vault/client.ts'
import { entityNamed } from '../vault/entity.ts'
import { readDeny, readPolicy } from '../vault/policy.ts'
import { mayRead, mayWrite, type Rule, rulesOf } from '../vault/rules.ts'
import { lookUp } from '../vault/tokens.ts'
import { orError } from '../words.ts'
import type { Grant, Granted, Group, Opened, Powers, PowersCall } from './port.ts'

type Login = CredentialOf<'vault-approle'> | CredentialOf<'vault-token'> | CredentialOf<'vault-entity'>

/** What whoever logs in to Vault may do there: by the text of its policies, before revocation overwrote them. */
export const powers: Powers<Login> = {
  permissions: [
    'auth/+/role/+ (read)',
    'auth/token/lookup-accessor (update)',
    'identity/entity/name/+ (read)',
    'identity/entity/id/+ (read)',
    'identity/group/id/+ (read)',
    'sys/policies/acl/+ (read)',
  ],
  of,
}

async function of(call: PowersCall<Login>): Promise<Granted> {
  const { credential, others } = call
  const target = { vault: call.vault }
  if (!(await isConfigured({ target })))
    throw new IrError('input', 'no Vault is configured (VAULT_ADDR)', { unconfigured: true })
  const vault = vaultClient({ target, signal: call.signal }, { reads: 5 })
  const names = await policiesOf(vault, credential)
  if (typeof names === 'string') return { opens: [], holds: [], gaps: [names], unread: [] }
  const gaps: string[] = []
  const unread: string[] = []
  const policies: Policy[] = []
  for (const name of names) {
    const found = await orError(textOf(vault, name))
    const missing = (why: string) =>
      `Policy ${name} of ${credential.id} could not be read${why}: what it allows in Vault is missing here.`
    if (typeof found === 'string') policies.push({ name, text: found })
    else if (found === undefined) gaps.push(missing(': there is none'))
    else unread.push(missing(` (${found.code})`))
  }
  const { host } = new URL(vault.address)
  return {
    opens: policies.length === 0 ? [] : [opened(`Vault ${host}`, policies)],
    holds: others.flatMap((other) => {
      const how = heldBy(policies, other)
      return how === undefined ? [] : [{ credential: other, how }]
    }),
    gaps,
    unread,
  }
}

interface Policy {
  readonly name: string
  readonly text: string
}

/** Names of the policies; in plain words why they are not known. */
async function policiesOf(vault: VaultClient, credential: Login): Promise<readonly string[] | string> {
  switch (credential.kind) {
    case 'vault-approle': {
      const role = await readRole(vault, pathOf(credential))
      return role?.policies ?? `AppRole ${credential.role} is gone: what its tokens may do in Vault is not known.`
    }
    case 'vault-token': {
      const token = await lookUp(vault, credential.accessor)
      return token?.policies ?? `The token of ${credential.id} is gone: what it could do in Vault is not known.`
    }
    case 'vault-entity': {
      const entity = await entityNamed(vault, credential.entity)
      if (entity === undefined) return `Entity ${credential.entity} is gone: what it could do in Vault is not known.`
      return [...new Set([...entity.policies, ...(await groupPolicies(vault, entity.id))])]
    }
  }
}

/** Those that its groups bring, inherited ones too. */
async function groupPolicies(vault: VaultClient, entity: string): Promise<readonly string[]> {
  const ids = (await vault.read(`identity/entity/id/${entity}`))?.data.group_ids
  const groups = await Promise.all(
    (Array.isArray(ids) ? ids : []).map((id) => vault.read(`identity/group/id/${String(id)}`)),
  )
  return groups.flatMap((group) => (Array.isArray(group?.data.policies) ? group.data.policies.map(String) : []))
}

/** Everything may be done with `root`, which has no text. What we overwrote with deny counts as it was before. */
async function textOf(vault: VaultClient, name: string): Promise<string | undefined> {
  if (name === 'root') return 'path "*" { capabilities = ["sudo"] }'
  const text = await readPolicy(vault, name)
  return text === undefined ? undefined : (readDeny(text)?.former ?? text)
}

/** The policy that everybody has opens nothing but oneself. */
const everybodys = 'default'

function opened(system: string, policies: readonly Policy[]): Opened {
  const rules = policies.flatMap(({ name, text }) => (name === everybodys ? [] : rulesOf(text)))
  const denied = rules.filter(({ words }) => words.includes('deny')).map(({ path }) => path)
  const entries = new Map<string, { group: Group; actions: readonly string[]; resources: string[] }>()
  for (const rule of rules) {
    for (const [group, actions] of groupsOf(rule)) {
      const key = JSON.stringify([group, actions])
      const entry = entries.get(key) ?? { group, actions, resources: [] }
      entry.resources.push(rule.path)
      entries.set(key, entry)
    }
  }
  const order: readonly Group[] = ['escalate', 'persist', 'read data', 'change']
  const permissions = [...entries.values()]
    .sort((a, b) => order.indexOf(a.group) - order.indexOf(b.group))
    .map(({ group, actions, resources }): Grant => {
      const except = [...new Set(denied)].filter((path) => resources.some((resource) => meet(path, resource))).sort()
      return {
        group,
        actions,
        resources: [...new Set(resources)].sort(),
        ...(except.length === 0 ? {} : { except }),
        conditional: false,
      }
    })
  return { system, kind: 'vault', access: accessOf(rules, permissions), permissions }
}

/** Whether two patterns could be about one path, by what stands before their wildcards. */
function meet(a: string, b: string): boolean {
  const [one, other] = [a, b].map((path) => path.replace(/^\//, '').replace(/[+*{].*$/, ''))
  return one !== undefined && other !== undefined && (one.startsWith(other) || other.startsWith(one))
}

const reads = new Set(['read', 'list', 'sudo'])
const writes = new Set(['create', 'update', 'patch', 'delete', 'write', 'sudo'])
/** Whoever writes there gives itself, or somebody, more rights. */
const rights = /^(\*|\+|sys\/(\*|polic|auth|mounts|raw|generate-root)|auth\/|identity\/(\*|entity|group|oidc))/
/** Whoever writes there has another way in, which lives on. */
const waysIn = /^(\*|\+|auth\/|sys\/(\*|auth)|identity\/(\*|entity-alias|group-alias))/

function groupsOf({ path, words }: Rule): readonly (readonly [Group, readonly string[]])[] {
  if (words.includes('deny')) return []
  const reading = words.filter((word) => reads.has(word))
  const writing = words.filter((word) => writes.has(word))
  const plain = path.replace(/^\//, '')
  const able = writing.some((word) => word !== 'delete')
  const groups: (readonly [Group, readonly string[]])[] = []
  if (reading.length > 0) groups.push(['read data', reading])
  if (able && rights.test(plain)) groups.push(['escalate', writing])
  if (able && waysIn.test(plain)) groups.push(['persist', writing])
  if (writing.length > 0 && !(able && (rights.test(plain) || waysIn.test(plain)))) groups.push(['change', writing])
  return groups
}

function accessOf(rules: readonly Rule[], permissions: readonly Grant[]): Opened['access'] {
  if (rules.some(({ path, words }) => path === '*' && (words.includes('sudo') || words.includes('update'))))
    return 'admin'
  const read = permissions.some(({ group }) => group === 'read data')
  const write = permissions.some(({ group }) => group !== 'read data')
  return read && write ? 'read-write' : read ? 'read' : write ? 'write' : 'none'
}

/** How another credential is got hold of, in plain words; undefined when it is not. */
function heldBy(policies: readonly Policy[], other: Credential): string | undefined {
  const by = (paths: readonly string[], may: typeof mayRead): string | undefined => {
    // All of them together decide: what one allows, another may deny.
    const path = paths.find((one) =>
      may(
        policies.map(({ text }) => text),
        one,
      ),
    )
    const names = policies.filter(({ text }) => path !== undefined && may([text], path)).map(({ name }) => name)
    return path === undefined ? undefined : `Vault ${path} (policy ${names.join(', ')})`
  }
  switch (other.kind) {
    case 'vault-kv': {
      const [mount, path] = [trimmed(other.mount), trimmed(other.path)]
      return by([`${mount}/data/${path}`, `${mount}/${path}`], mayRead)
    }
    case 'vault-database': {
      const mount = trimmed(other.mount)
      return by([`${mount}/creds/${other.role}`, `${mount}/static-creds/${other.role}`], mayRead)
    }
    case 'vault-approle':
      return by([`${pathOf(other)}/secret-id`], mayWrite)
    default:
      return undefined
  }
}

const trimmed = (path: string) => path.replace(/^\/+|\/+$/g, '')
