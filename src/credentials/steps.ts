import { isAbsolute } from 'node:path'
import { z } from 'zod'
import { IrError } from '../errors.ts'
import type { Operation, Outcome, StepInput, StepKind, StepResult } from '../playbook/step.ts'
import type { Credential, DeliverTo, Deployment } from '../registry/port.ts'
import { sharedCredential } from '../registry/query.ts'
import { serverSchema } from '../registry/schema.ts'
import { assertTrusted } from '../trust.ts'
import { clientSecrets } from './client-secrets.ts'
import { keyOf } from './deliver.ts'
import { issuedIn } from './issue.ts'
import { loaderOf } from './load.ts'
import type { CredentialIntent, CredentialState, CredentialTarget } from './port.ts'
import { heldSecrets } from './secret-source.ts'
import { field } from './words.ts'

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
  const chosen = choose(input)
  const [first] = chosen
  // The secrets of a credential go to the endpoints, and through the commands, that the registry names.
  if (first !== undefined)
    await assertTrusted(input.context.config, `where the secrets of credential ${first.id} are sent`)
  if (chosen.length === 0) input.progress(nothing(input.case.server.name))
  const shared = await common(input, intent)
  return chosen.map((credential): Operation => {
    const target = { ...shared, ...about(input, credential) }
    return {
      key: credential.id,
      adapter: `${capability}${credential.kind}`,
      intent,
      target,
      load: loaderOf(target),
      // What stands of them is in the journal, where the runner finds it.
      ...(intent === 'reinstate' ? { undoes: [] } : {}),
    }
  })
}

const capability = 'credentials/'

/** As the case keeps it. */
function operationName({ kind, id }: Credential): string {
  return `${capability}${kind} ${id}`
}

/** What is the same for every credential of the server. */
async function common(
  input: StepInput,
  intent: CredentialIntent,
): Promise<Omit<CredentialTarget, 'credential' | 'sharedWith' | 'held' | 'past' | 'issued'>> {
  const { server, since } = input.case
  const { vault, aws, hours } = input.context.config
  return {
    server: server.name,
    deliverTo: intent === 'reinstate' ? undefined : destination(input),
    deployments: await deployments(input),
    since,
    vault,
    aws,
    hours,
    ...(intent === 'rotate' ? { undead: await undead(input) } : {}),
  }
}

/** A credential of the case as its adapters get it, for what delivers nothing. */
export function targetOf(input: StepInput, credential: Credential): CredentialTarget {
  const { server, since } = input.case
  const { vault, aws, hours } = input.context.config
  return { server: server.name, deployments: server.deployments, since, vault, aws, hours, ...about(input, credential) }
}

function about(
  input: StepInput,
  credential: Credential,
): Pick<CredentialTarget, 'credential' | 'sharedWith'> & Required<Pick<CredentialTarget, 'held' | 'past' | 'issued'>> {
  const { server, servers } = input.case
  const { deployments, deliverTo } = server
  const key = keyOf(credential.id)
  const { past } = input.case
  const delivered = deliverTo?.kind === 'file' ? [{ path: deliverTo.path, key }] : []
  return {
    credential,
    sharedWith: sharedCredential(servers, server, credential),
    past: () => past().of(operationName(credential)) ?? [],
    issued: () => issuedIn(past().recordedBy(capability)),
    held: async () => (await heldSecrets({ file: undefined, key, delivered, deployments })).found,
  }
}

/**
 * With the instances that the isolation found: one that it took out of its auto scaling group carries the name of the group
 * no more.
 */
async function deployments(input: StepInput): Promise<readonly Deployment[]> {
  const output = (await input.case.output('network.isolate')) as
    | { readonly deployments?: readonly { readonly id: string; readonly detail?: unknown }[] }
    | undefined
  return input.case.server.deployments.map((one) => {
    if (one.kind !== 'aws-ec2') return one
    const detail = output?.deployments?.find(({ id }) => id === one.id)?.detail as
      | { readonly instances?: readonly string[] }
      | null
      | undefined
    const found = detail?.instances ?? []
    return found.length === 0 ? one : { ...one, instances: [...new Set([...(one.instances ?? []), ...found])] }
  })
}

/** Credentials of the server that the last revocation did not see dead. Without one, that is every one of them. */
async function undead(input: StepInput): Promise<NonNullable<CredentialTarget['undead']>> {
  const output = (await input.case.output('credentials.revoke')) as
    | { readonly credentials?: readonly CredentialState[] }
    | undefined
  return input.case.server.credentials.filter(
    ({ id }) => output?.credentials?.some((one) => one.id === id && one.state === 'dead') !== true,
  )
}

async function result(input: StepInput, outcome: Outcome, intent: CredentialIntent): Promise<StepResult> {
  const { server, servers } = input.case
  if (intent !== 'reinstate') await keepBefore(input)
  const open: string[] = []
  const outputs = new Map(outcome.operations.map(({ key, output }) => [key, output]))
  const credentials = choose(input).map((credential): CredentialState => {
    const { id, kind } = credential
    const sharedWith = sharedCredential(servers, server, credential)
    // Made by the adapter of this very kind, whose verdict's output is one.
    const state = outputs.get(id) as CredentialState | undefined
    if (state === undefined) return { id, kind, state: 'unknown', proof: 'it could not be looked at', sharedWith }
    if (intent === 'reinstate' && state.state === 'dead')
      open.push(`${id} (${kind}): it is revoked, which cannot be undone: mcp-ir rotate ${server.name} issues a new one`)
    // What nobody can tell to be dead is not dead.
    if (intent !== 'reinstate' && state.state === 'unknown') open.push(`${id} (${kind}): ${state.proof}`)
    return state
  })
  // Those of the registry are not all: what stood in client configurations has no issuer that we know.
  const stray =
    intent === 'revoke' && input.with.only === undefined
      ? clientSecrets(await input.case.output('network.isolate'), server)
      : []
  open.push(...stray.map(({ id, proof }) => `${id}: ${proof}`))
  return {
    output: { credentials: [...credentials, ...stray] },
    ...(open.length === 0 ? {} : { open, state: 'partial' }),
    ...(credentials.length + stray.length === 0 ? { limits: [nothing(server.name)] } : {}),
  }
}

/** Evidence: what the changes end, as it was when they were planned (`params.before`), and whether they are known to be made. One piece for all credentials. */
async function keepBefore(input: StepInput): Promise<void> {
  const past = input.case.past()
  const found = choose(input).flatMap((credential) => {
    const ended = (past.of(operationName(credential)) ?? []).flatMap(({ change, receipt }) => {
      const { action, target, params } = change
      const before = field(params, 'before')
      return before === undefined ? [] : [{ action, target, before, applied: receipt !== undefined }]
    })
    return ended.length === 0 ? [] : [{ id: credential.id, kind: credential.kind, ended }]
  })
  if (found.length === 0) return
  const text = `${JSON.stringify(found, undefined, 2)}\n`
  await input.evidence.put('credentials-before.json', 'application/json', text)
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
