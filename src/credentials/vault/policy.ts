import type { Action, ActionCall, Call, Change } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { type CredentialTarget, stage } from '../port.ts'
import { field, mayGoOn, quoted, textField } from '../words.ts'
import { type VaultClient, vaultClient } from './client.ts'

/**
 * Overwriting a policy with deny stops every token that carries it at once, batch tokens and orphans too, which nothing else
 * does. The former text stands in it, as a comment: whoever finds the policy can put it back, and so can rotation.
 */
export interface Denied {
  readonly case: string
  /** The text before. */
  readonly former: string
  /** Whether batch tokens without an entity may carry it, which nothing kills but this. */
  readonly batch: boolean
}

const mark = '# mcp-ir '

function denyText(denied: Denied): string {
  const kept = Buffer.from(JSON.stringify(denied)).toString('base64')
  return `${mark}denies everything because of an incident. What was here before, in base64: ${kept}\npath "*" {\n  capabilities = ["deny"]\n}\n`
}

/** @returns undefined when the policy is not exactly one that we wrote */
export function readDeny(text: string): Denied | undefined {
  const kept = /^# mcp-ir .* in base64: ([\w+/=]+)\n/.exec(text)?.[1]
  if (kept === undefined) return undefined
  try {
    const { case: id, former, batch } = JSON.parse(Buffer.from(kept, 'base64').toString('utf8'))
    const denied: Denied = { case: String(id), former: String(former), batch: batch === true }
    return denyText(denied) === text ? denied : undefined
  } catch {
    return undefined // somebody altered it
  }
}

/** The text of a policy; undefined when there is none. */
export async function readPolicy(vault: VaultClient, name: string): Promise<string | undefined> {
  const found = await vault.read(`sys/policies/acl/${name}`)
  return typeof found?.data.policy === 'string' ? found.data.policy : undefined
}

/** The same for a look, from before any deny of ours; empty when there is none. @throws IrError denied */
export async function policyText(vault: VaultClient, name: string): Promise<string> {
  const found = await vault.once.read(`sys/policies/acl/${name}`)
  const text = typeof found?.data.policy === 'string' ? found.data.policy : ''
  return readDeny(text)?.former ?? text
}

async function writePolicy(vault: VaultClient, name: string, policy: string): Promise<void> {
  await vault.write(`sys/policies/acl/${name}`, { policy })
}

/** @returns undefined when everything is denied by it already, or there is no such policy */
export async function denyChange(
  call: Call<CredentialTarget>,
  vault: VaultClient,
  name: string,
  { whose, batch }: { readonly whose: string; readonly batch: boolean },
): Promise<Change | undefined> {
  const former = (await vault.once.read(`sys/policies/acl/${name}`))?.data.policy
  if (typeof former !== 'string' || readDeny(former) !== undefined) return undefined
  const target = `policy ${name}`
  return {
    id: call.changeId('deny-policy', target),
    action: 'deny-policy',
    target,
    summary: `Overwrite policy ${name} with deny: it stops every token of ${whose} at once, also those that cannot be listed; nobody else has it`,
    effect: 'reversible',
    priority: 'essential',
    after: [],
    stage: stage.mint,
    chain: [whose, target],
    params: { policy: name, batch },
    undo: { policy: former },
    breaks: call.target.sharedWith,
    command: `printf 'path "*" { capabilities = ["deny"] }' | vault policy write ${quoted(name)} -`,
  }
}

export const denyPolicy: Action<CredentialTarget> = {
  async apply(change, call) {
    mayGoOn(call)
    const vault = vaultClient(call)
    const name = textField(change.params, 'policy')
    const now = await readPolicy(vault, name)
    if (now === undefined || readDeny(now) !== undefined) return {}
    // What is denied is what the plan showed: what was changed since is somebody's work, and needs another look.
    if (now !== textField(change.undo, 'policy'))
      throw new IrError('refused', `policy ${name} was changed since the plan was made`)
    const batch = field(change.params, 'batch') === true
    await writePolicy(vault, name, denyText({ case: call.caseId, former: now, batch }))
    return {}
  },
  async settle(change, call) {
    const now = await readPolicy(vaultClient(call), textField(change.params, 'policy'))
    return now === undefined || readDeny(now) !== undefined ? {} : undefined
  },
  undo: {
    async drift(change, _receipt, call) {
      const now = await readPolicy(vaultClient(call), textField(change.params, 'policy'))
      if (now === undefined) return ['somebody deleted it']
      if (now === textField(change.undo, 'policy')) return ['its former text is there again already']
      return readDeny(now) === undefined ? ['somebody changed it'] : []
    },
    async apply(change, _receipt, call) {
      mayGoOn(call)
      await writePolicy(vaultClient(call), textField(change.params, 'policy'), textField(change.undo, 'policy'))
      return {}
    },
    async settle(change, _receipt, call) {
      const now = await readPolicy(vaultClient(call), textField(change.params, 'policy'))
      return now === textField(change.undo, 'policy') ? {} : undefined
    },
  },
}

/** Puts the policy back once nothing is left that carries it. `refuse` says why not (yet). */
export function restorePolicy<T extends CredentialTarget>(
  refuse: (call: ActionCall<T>) => Promise<string | undefined>,
): Action<T> {
  return {
    async apply(change, call) {
      mayGoOn(call)
      const why = await refuse(call)
      if (why !== undefined) throw new IrError('refused', why)
      const vault = vaultClient(call)
      const name = textField(change.params, 'policy')
      const denied = readDeny((await readPolicy(vault, name)) ?? '')
      if (denied === undefined)
        throw new IrError('refused', `policy ${name} is not the one that we wrote: it is left as it is`)
      await writePolicy(vault, name, denied.former)
      return {}
    },
    async settle(change, call) {
      const now = await readPolicy(vaultClient(call), textField(change.params, 'policy'))
      return now !== undefined && now === textField(change.params, 'former') ? {} : undefined
    },
  }
}

export function restoreChange(
  call: Call<CredentialTarget>,
  name: string,
  denied: Denied,
  { whose, after }: { readonly whose: string; readonly after: readonly string[] },
): Change {
  const target = `policy ${name}`
  return {
    id: call.changeId('restore-policy', target),
    action: 'restore-policy',
    target,
    summary: `Put policy ${name} back as it was, once every old token of ${whose} is seen dead: the new one works with it`,
    effect: 'irreversible',
    priority: 'essential',
    after,
    stage: stage.issue,
    chain: [whose, target],
    params: { policy: name, former: denied.former },
    breaks: [],
    facts: { text: denied.former },
  }
}
