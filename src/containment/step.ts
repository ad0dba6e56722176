import { createHash } from 'node:crypto'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { keptFiles } from '../clients/file.ts'
import { knownFilesIn } from '../clients/known-files.ts'
import { namesOf } from '../clients/match.ts'
import { IrError } from '../errors.ts'
import type { Operation, Outcome, StepInput, StepKind, StepResult } from '../playbook/step.ts'
import { safe } from '../ui/safe-text.ts'
import { containment } from './index.ts'
import type { ClientTarget, ContainmentIntent, ContainmentTarget } from './port.ts'

/** `result.output` of both steps. */
interface Contained {
  readonly deployments: readonly {
    readonly id: string
    readonly kind: string
    readonly state: Outcome['operations'][number]['state']
    readonly observed: Outcome['operations'][number]['observed']
    /** What the adapter tells of it (processes, interfaces …). */
    readonly detail: unknown
  }[]
  /** Configuration files of MCP clients, where there were any to look at. */
  readonly clients?: Contained['deployments']
}

const clientAdapter = 'mcp-client-config'

export const isolate: StepKind = {
  kind: 'network.isolate',
  summary: 'Cut every deployment of the server off, and take it out of the client configurations',
  with: z.strictObject({
    /** A home folder, whose client configurations are looked at beside those of the registry. */
    clients: z.string().min(1).optional(),
    /** Cuts Kubernetes worker nodes off too, with everybody's pods on them. */
    forceNode: z.boolean().optional(),
  }),
  operations: (input) => operations(input, 'isolate'),
  result,
}

export const release: StepKind = {
  kind: 'network.release',
  summary: 'Put the isolation back, from the journal',
  with: z.strictObject({}),
  // The runner fills in what is to be undone, by key and adapter.
  operations: async (input) => (await operations(input, 'release')).map((operation) => ({ ...operation, undoes: [] })),
  result,
}

/** @throws IrError input when there is nothing to act on, or nothing that can */
async function operations(input: StepInput, intent: ContainmentIntent): Promise<Operation[]> {
  const { server } = input.case
  const all = [...deployments(input, intent), ...(await clients(input, intent))]
  if (all.length > 0) return all
  throw new IrError(
    'input',
    `${safe(server.name)} has no deployments and no client configurations: there is nothing to ${intent}.`,
    {
      hints: [
        'Add where it runs to its registry entry, or name it: --target pid:PID or --target url:URL.',
        'Or name a home folder whose clients may know it: --clients DIR.',
      ],
    },
  )
}

function deployments(
  { case: { server }, deployment, context, with: values }: StepInput,
  intent: ContainmentIntent,
): Operation[] {
  const chosen = server.deployments.filter(({ id }) => deployment === undefined || id === deployment)
  if (chosen.length === 0 && deployment !== undefined) {
    throw new IrError('input', `${safe(server.name)} has no deployment ${safe(deployment)}.`, {
      hints: [`It has: ${server.deployments.map(({ id }) => safe(id)).join(', ') || 'none'}.`],
    })
  }
  return chosen.map((one): Operation => {
    const load = Object.hasOwn(containment, one.kind) ? containment[one.kind] : undefined
    if (load === undefined) {
      const able = server.deployments.filter(({ kind }) => Object.hasOwn(containment, kind))
      throw new IrError(
        'input',
        `Deployment ${safe(one.id)} is of kind ${one.kind}, which has no containment adapter yet.`,
        {
          hints: [
            `Cut ${safe(one.id)} off by hand.`,
            ...able.map(({ id }) => `${safe(id)} can be done now: --deployment ${safe(id)}`),
          ],
        },
      )
    }
    const { name, owner, consumers } = server
    // The region of the configuration stands in for that of the deployment.
    const placed = one.kind === 'aws-ec2' ? { ...one, region: one.region ?? context.config.aws.region } : one
    const forced = values.forceNode === true ? { forceNode: true } : {}
    const target: ContainmentTarget = { server: name, owner, consumers, deployment: placed, ...forced }
    return { key: one.id, adapter: `containment/${one.kind}`, intent, target, load }
  })
}

/** One operation for each configuration file; those of the registry only when the whole server is meant. */
async function clients(input: StepInput, intent: ContainmentIntent): Promise<Operation[]> {
  const { case: view, deployment, with: values } = input
  const { server } = view
  const home = typeof values.clients === 'string' && intent === 'isolate' ? values.clients : undefined
  const files = new Set(home === undefined ? [] : await knownFilesIn(home))
  if (deployment === undefined) {
    for (const file of server.clients) files.add(resolve(file))
    // Those that an earlier --clients found: that were agreed to, and that were changed.
    for (const file of input.subjects ?? []) files.add(file)
    for (const file of await keptFiles(join(view.folder, 'private'))) files.add(file)
  }
  const others = view.servers.filter(({ name }) => name !== server.name).flatMap(namesOf)
  return [...files].map((file): Operation => {
    const { name, owner, aliases } = server
    const target: ClientTarget = {
      server: name,
      owner,
      file,
      aliases,
      package: server.package,
      deployments: server.deployments,
      others,
    }
    const load = containment[clientAdapter]
    if (load === undefined) throw new TypeError(`no adapter ${clientAdapter}`)
    return {
      key: `client:${short(file)}`,
      subject: file,
      adapter: `containment/${clientAdapter}`,
      intent,
      target,
      load,
    }
  })
}

/** The same in every run, whatever other files there are: the end of the path, and what tells it from others like it. */
function short(file: string): string {
  if (file.length <= 48) return file
  const digest = createHash('sha256').update(file).digest('hex')
  return `…/${file.split('/').slice(-2).join('/')}#${digest.slice(0, 6)}`
}

async function result(_: StepInput, outcome: Outcome): Promise<StepResult> {
  const all = outcome.operations.map(({ key, adapter, state, observed, output: detail }) => ({
    id: key,
    kind: adapter.slice(adapter.indexOf('/') + 1),
    state,
    observed,
    detail: detail ?? null,
  }))
  const configurations = all.filter(({ kind }) => kind === clientAdapter)
  const output: Contained = {
    deployments: all.filter(({ kind }) => kind !== clientAdapter),
    ...(configurations.length === 0 ? {} : { clients: configurations }),
  }
  return { output }
}
