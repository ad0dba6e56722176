import { isAbsolute } from 'node:path'
import { z } from 'zod'
import { IrError } from '../errors.ts'
import type { Operation, Outcome, StepInput, StepKind, StepResult } from '../playbook/step.ts'
import type { Credential, DeliverTo } from '../registry/port.ts'
import { sharedCredential } from '../registry/query.ts'
import { serverSchema } from '../registry/schema.ts'
import { assertTrusted } from '../trust.ts'
import { adapters } from './index.ts'
import type { CredentialIntent, CredentialState, CredentialTarget } from './port.ts'

/** Ids of credentials; without it all of the server's. */
const only = z.array(z.string().min(1)).min(1).optional()

// The output of all three is `{credentials: CredentialState[]}`, in the registry's order.

export const revoke: StepKind = {
  kind: 'credentials.revoke',
  summary: 'Revoke every credential that the server held, and see that it is dead',
  with: z.strictObject({ only }),
  operations: async (input) => operations(input, 'revoke'),
  result: async (input, outcome) => result(input, outcome, 'revoke'),
}

export const rotate: StepKind = {
  kind: 'credentials.rotate',
  summary: 'Issue a new credential for each, and deliver it where only its new holder reads it',
  with: z.strictObject({ only, deliverTo: serverSchema.shape.deliverTo }),
  operations: async (input) => operations(input, 'rotate'),
  result: async (input, outcome) => result(input, outcome, 'rotate'),
}

export const reinstate: StepKind = {
  kind: 'credentials.reinstate',
  summary: 'Undo the revocations that can be undone',
  with: z.strictObject({ only }),
  operations: async (input) => operations(input, 'reinstate'),
  result: async (input, outcome) => result(input, outcome, 'reinstate'),
}

async function operations(input: StepInput, intent: CredentialIntent): Promise<readonly Operation[]> {
  const { server, servers } = input.case
  const chosen = choose(input)
  const [first] = chosen.filter(({ kind }) => adapters[kind] !== undefined)
  // The secrets of a credential go to the endpoints that the registry names.
  if (first !== undefined)
    await assertTrusted(input.context.config, `where the secrets of credential ${first.id} are sent`)
  const deliverTo = intent === 'reinstate' ? undefined : destination(input)
  if (chosen.length === 0) input.progress(nothing(server.name))
  return chosen.flatMap((credential) => {
    const load = adapters[credential.kind]
    if (load === undefined) {
      // The others must not wait for it.
      input.progress(`${credential.id} (${credential.kind}): ${byHand(credential, intent)}`)
      return []
    }
    const target: CredentialTarget = {
      server: server.name,
      credential,
      sharedWith: sharedCredential(servers, server, credential),
      deliverTo,
      deployments: server.deployments,
    }
    return [
      {
        key: credential.id,
        adapter: `credentials/${credential.kind}`,
        intent,
        target,
        load,
        // What stands of them is in the journal, where the runner finds it.
        ...(intent === 'reinstate' ? { undoes: [] } : {}),
      },
    ]
  })
}

function result(input: StepInput, outcome: Outcome, intent: CredentialIntent): StepResult {
  const { server, servers } = input.case
  const open: string[] = []
  const credentials = choose(input).map((credential): CredentialState => {
    const { id, kind } = credential
    const sharedWith = sharedCredential(servers, server, credential)
    const found = outcome.operations.find(({ key }) => key === id)
    if (found === undefined) {
      open.push(`${id} (${kind}): ${byHand(credential, intent)}`)
      return { id, kind, state: 'alive', proof: `nothing was done: mcp-ir cannot ${intent} ${kind} yet`, sharedWith }
    }
    // Made by the adapter of this very kind, whose verdict's output is one.
    const state = found.output as CredentialState | undefined
    if (state === undefined) return { id, kind, state: 'unknown', proof: 'it could not be looked at', sharedWith }
    if (intent === 'reinstate' && state.state === 'dead')
      open.push(`${id} (${kind}): it is revoked, which cannot be undone: mcp-ir rotate ${server.name} issues a new one`)
    // What nobody can tell to be dead is not dead.
    if (intent !== 'reinstate' && state.state === 'unknown') open.push(`${id} (${kind}): ${state.proof}`)
    return state
  })
  return {
    output: { credentials },
    ...(open.length === 0 ? {} : { open, state: 'partial' }),
    ...(credentials.length === 0 ? { limits: [nothing(server.name)] } : {}),
  }
}

/** @throws IrError input when `only` names a credential that the server does not have */
function choose(input: StepInput): readonly Credential[] {
  const { server } = input.case
  const ids = input.with.only
  if (!Array.isArray(ids)) return server.credentials
  const unknown = ids.filter((id) => !server.credentials.some((credential) => credential.id === id))
  if (unknown.length > 0)
    throw new IrError('input', `${server.name} has no credential ${unknown.join(', ')}`, {
      hints: [`It has: ${server.credentials.map(({ id }) => id).join(', ') || 'none'}`],
    })
  return server.credentials.filter(({ id }) => ids.includes(id))
}

/** @throws IrError input */
function destination(input: StepInput): DeliverTo | undefined {
  const named = serverSchema.shape.deliverTo.parse(input.with.deliverTo) ?? input.case.server.deliverTo
  if (named?.kind === 'file' && !isAbsolute(named.path))
    throw new IrError('input', `deliverTo names a relative path, and it is not said relative to what: ${named.path}`, {
      hints: ['Give an absolute path'],
    })
  return named
}

function nothing(server: string): string {
  return `The registry knows no credentials of ${server}: none were touched. What it held outside of the registry is not covered`
}

/** What a person has to do for a kind that has no adapter yet. */
function byHand(credential: Credential, intent: CredentialIntent): string {
  const done = { revoke: 'revoked', rotate: 'rotated', reinstate: 'reinstated' }[intent]
  return `not ${done}: mcp-ir cannot do this kind yet. By hand: ${where(credential)}`
}

function where(credential: Credential): string {
  switch (credential.kind) {
    case 'aws-iam-role':
      return `role ${credential.role} in AWS IAM, sessions older than now included`
    case 'aws-iam-user':
      return `the access keys of user ${credential.user} in AWS IAM`
    case 'vault-approle':
      return `the secret ids and tokens of role ${credential.role} at ${credential.mount} in Vault`
    case 'vault-token':
      return `the token with accessor ${credential.accessor} in Vault`
    case 'vault-entity':
      return `entity ${credential.entity} and its tokens in Vault`
    case 'vault-database':
      return `the leases of ${credential.mount}/creds/${credential.role} in Vault, and the database sessions opened with them`
    case 'postgres':
      return `user ${credential.user} on ${credential.database.host}:${credential.database.port}, its open sessions included`
    case 'vault-kv':
      return `the value at ${credential.mount}/${credential.path} in Vault, and where it is accepted`
    case 'aws-secret':
      return `the value of ${credential.secret} in AWS Secrets Manager, and where it is accepted`
    case 'azure-key-vault':
      return `the value of ${credential.secret} in ${credential.vault}, and where it is accepted`
    case 'oauth':
      return `the tokens of client ${credential.clientId} at ${credential.tokenEndpoint}`
    case 'exec':
      return `what ${credential.command[0] ?? 'its command'} issues`
  }
}
