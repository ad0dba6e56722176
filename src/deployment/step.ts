import { z } from 'zod'
import type { EvidenceRef } from '../change.ts'
import { IrError } from '../errors.ts'
import type { Operation, Outcome, StepInput, StepKind, StepResult } from '../playbook/step.ts'
import { expectationsOf, provenance } from '../provenance/index.ts'
import type { ProvenanceVerdict } from '../provenance/port.ts'
import type { Deployment, Server } from '../registry/port.ts'
import { assertTrusted } from '../trust.ts'
import { safe } from '../ui/safe-text.ts'
import { approvedTools } from './approved.ts'
import { type Fresh, leastPrivilege } from './credentials.ts'
import { deployments } from './index.ts'
import type { DeploymentTarget, Redeployed } from './port.ts'
import { proven } from './prove.ts'
import { type Review, reviewOf } from './refusals.ts'

const withSchema = z.strictObject({
  /** Why the build that ran when the server was compromised may run again. Recorded. */
  'root-cause': z.string().trim().min(1).optional(),
  /** Why a build that cannot be verified may run all the same. Recorded. Never lets an invalid one pass. */
  'accept-unverifiable': z.string().trim().min(1).optional(),
  /** SHA-256 (hex) of builds that are known to be the compromised ones. */
  compromised: z.array(z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in hex')).optional(),
})

/** `result.output`. */
export interface Redeployment {
  readonly deployments: readonly (Redeployed & { readonly state: Outcome['operations'][number]['state'] })[]
  /** The artifact and how it was verified, as of the end of the step. */
  readonly artifact: { readonly file: string; readonly verdict: ProvenanceVerdict }
  /** The verdict among the evidence. */
  readonly evidence: EvidenceRef
  readonly credentialsFile?: string
  readonly rootCause?: string
  readonly acceptedUnverifiable?: string
  readonly credentials: readonly Fresh[]
  /** Absent when the blast radius lists no suspect record. */
  readonly suspect?: Review
}

export const redeploy: StepKind = {
  kind: 'deployment.redeploy',
  summary: 'Put a verified build in place of the compromised one, with fresh credentials',
  with: withSchema,
  operations,
  result,
}

/**
 * @throws IrError refused when the server or its build may not come back; input when there is nothing to put back, or
 * nothing that can
 */
async function operations(input: StepInput): Promise<readonly Operation[]> {
  const { server, isolatedAt } = input.case
  const options = withSchema.parse(input.with)
  if (server.status !== 'approved') {
    throw new IrError(
      'refused',
      `${safe(server.name)} is ${server.status} in the registry: only approved servers come back`,
      {
        hints: ['Once its owner agrees: set its status to approved. The changed registry is then shown for a yes.'],
      },
    )
  }
  if (isolatedAt === undefined && !input.dryRun) {
    throw new IrError('refused', `${safe(server.name)} was not isolated in this case`, {
      hints: [`First: mcp-ir isolate ${safe(server.name)}`],
    })
  }
  const rootCause = options['root-cause']
  await reviewOf(input, rootCause)
  const { able, unable } = choose(input)
  if (able.length === 0) throw nothingAble(server, unable)
  await assertTrusted(input.context.config, `how ${able.map(({ id }) => safe(id)).join(', ')} is put back`)

  const file = artifactOf(server)
  const verdict = await provenance.verify(file, expectationsOf(server), input.signal)
  requireVerified(file, verdict, options['accept-unverifiable'])
  const compromised = [...(options.compromised ?? []), ...(await knownCompromised(input))]
  if (compromised.includes(verdict.sha256) && rootCause === undefined) {
    throw new IrError('refused', `${safe(file)} is the very build that ran when the server was compromised`, {
      hints: ['Pin another build in the registry; or, when the cause lies elsewhere, say so: --root-cause TEXT'],
    })
  }
  const credentialsFile = await deliveredFile(input)
  const approved = await approvedTools(server)
  const isolation = input.case.standing('network.isolate')
  return able.map((deployment): Operation => {
    const adapter = adapterOf(deployment)
    const load = deployments[adapter]
    if (load === undefined) throw new TypeError(`no adapter ${adapter}`)
    const { region } = input.context.config.aws
    const target: DeploymentTarget = {
      server,
      // The region of the configuration stands in for that of the deployment.
      deployment: deployment.kind === 'aws-ec2' ? { ...deployment, region: deployment.region ?? region } : deployment,
      artifact: { file, verdict },
      credentialsFile,
      compromised: rootCause === undefined ? compromised : [],
      rootCause,
      assumeStopped: isolatedAt === undefined,
      approved,
      isolation: isolation.flatMap(({ key, change }) => (key === deployment.id ? [change] : [])),
    }
    return {
      key: deployment.id,
      adapter: `deployment/${adapter}`,
      intent: 'redeploy',
      target,
      load: async () => proven(await load()),
    }
  })
}

async function result(input: StepInput, outcome: Outcome): Promise<StepResult> {
  const { server } = input.case
  const options = withSchema.parse(input.with)
  const file = artifactOf(server)
  const verdict = await provenance.verify(file, expectationsOf(server), input.signal)
  const { path: _, ...pinned } = server.package
  const content = JSON.stringify({ file, expected: { package: pinned, source: server.source }, verdict }, null, 2)
  const evidence = await input.evidence.put('provenance.json', 'application/json', `${content}\n`)
  const credentialsFile = await deliveredFile(input)
  const { credentials, open, residue } = await leastPrivilege(input)
  const review = await reviewOf(input, options['root-cause'])
  const output: Redeployment = {
    deployments: outcome.operations.flatMap(({ output: redeployed, state }) =>
      // Made by an adapter of this port, whose verdict's output is one; absent when it could not look.
      redeployed === undefined ? [] : [{ ...(redeployed as Redeployed), state }],
    ),
    artifact: { file, verdict },
    evidence,
    ...(credentialsFile === undefined ? {} : { credentialsFile }),
    ...(options['root-cause'] === undefined ? {} : { rootCause: options['root-cause'] }),
    ...(options['accept-unverifiable'] === undefined || verdict.state !== 'unverifiable'
      ? {}
      : { acceptedUnverifiable: options['accept-unverifiable'] }),
    credentials,
    ...(review === undefined ? {} : { suspect: review }),
  }
  const down = choose(input).unable.map(
    ({ id, kind }) => `deployment ${safe(id)} (${kind}) is not redeployed: ${why(kind)}`,
  )
  return { output, open: [...open, ...down], residue }
}

interface Chosen {
  readonly able: readonly Deployment[]
  readonly unable: readonly Deployment[]
}

/** @throws IrError input when there is no such deployment */
function choose({ case: { server }, deployment }: StepInput): Chosen {
  const chosen = server.deployments.filter(({ id }) => deployment === undefined || id === deployment)
  if (deployment !== undefined && chosen.length === 0) {
    throw new IrError('input', `${safe(server.name)} has no deployment ${safe(deployment)}`, {
      hints: [`It has: ${server.deployments.map(({ id }) => safe(id)).join(', ') || 'none'}`],
    })
  }
  const able = chosen.filter(canStart)
  return { able, unable: chosen.filter((one) => !able.includes(one)) }
}

/** The company's own pipeline goes before what we could do ourselves. */
function adapterOf(deployment: Deployment): string {
  return deployment.redeploy?.command === undefined ? deployment.kind : 'exec'
}

/** A stdio server that clients start has no command of its own here: with its client configurations it comes back. */
function canStart(deployment: Deployment): boolean {
  if (deployment.redeploy !== undefined) return Object.hasOwn(deployments, adapterOf(deployment))
  return deployment.kind === 'local-process' && deployment.command !== undefined && deployment.cwd !== undefined
}

function why(kind: Deployment['kind']): string {
  return kind === 'local-process'
    ? 'the registry names no command and cwd for it'
    : 'the registry does not say what a new one is made of (redeploy, see docs/redeploy.md)'
}

function nothingAble(server: Server, unable: readonly Deployment[]): IrError {
  if (unable.length === 0)
    return new IrError('input', `${safe(server.name)} has no deployments: there is nothing to put back`)
  return new IrError('input', `No deployment of ${safe(server.name)} can be redeployed`, {
    hints: unable.map(({ id, kind }) => `${safe(id)} (${kind}): ${why(kind)}`),
  })
}

function artifactOf(server: Server): string {
  const { path, registryType, identifier, version } = server.package
  if (path !== undefined) return path
  throw new IrError('input', 'The registry entry does not say where the build lies, and fetching it is not built yet', {
    hints: [
      registryType === 'npm'
        ? `Fetch it (npm pack ${safe(identifier)}@${safe(version)}) and name it: package.path`
        : 'Fetch it and name it: package.path',
    ],
  })
}

function requireVerified(file: string, verdict: ProvenanceVerdict, accepted: string | undefined): void {
  if (verdict.state === 'verified') return
  if (verdict.state === 'unverifiable' && accepted !== undefined) return
  throw new IrError('refused', `${safe(file)} is ${verdict.state}: ${verdict.reasons.join('; ')}`, {
    hints:
      verdict.state === 'invalid'
        ? ['It was not started and must not be. Keep it: it is evidence.']
        : ['If it has to run all the same, say why: --accept-unverifiable REASON'],
  })
}

/** Digests of compromised builds that the isolation found, when its adapter tells any. */
async function knownCompromised(input: StepInput): Promise<readonly string[]> {
  const isolated = z.object({ compromised: z.array(z.string()) }).safeParse(await input.case.output('network.isolate'))
  return isolated.success ? isolated.data.compromised : []
}

const rotated = z.object({
  credentials: z.array(z.object({ delivered: z.object({ kind: z.string(), path: z.string() }).optional() })),
})

/** The file that the rotation delivered to; undefined when there was none. @throws IrError input when there are several */
async function deliveredFile(input: StepInput): Promise<string | undefined> {
  const parsed = rotated.safeParse(await input.case.output('credentials.rotate'))
  if (!parsed.success) return undefined
  const delivered = parsed.data.credentials.flatMap((one) =>
    one.delivered?.kind === 'file' ? [one.delivered.path] : [],
  )
  const files = [...new Set(delivered)]
  if (files.length <= 1) return files[0]
  throw new IrError('input', `The rotated credentials lie in ${files.length} files, and a server is given one`, {
    hints: ['Name one for all: deliverTo: {kind: file, path: …} in the registry entry, then rotate again.'],
  })
}
