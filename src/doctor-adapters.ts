import { access, constants } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { askAnchor } from './anchor/index.ts'
import { NoEvidence } from './case/evidence.ts'
import type { Adapter, Call, Problem } from './change.ts'
import { namesOf } from './clients/match.ts'
import { containment } from './containment/index.ts'
import type { Context } from './context.ts'
import { adapters as credentials, storedValues } from './credentials/index.ts'
import { loaderOf } from './credentials/load.ts'
import { powers } from './credentials/powers/index.ts'
import { deployments } from './deployment/index.ts'
import type { DoctorAdapters } from './doctor.ts'
import type { AwsNeed } from './doctor-aws.ts'
import { type Declared, type IamPolicy, iamPolicy, isIamAction, madeByUs } from './doctor-policy.ts'
import { systemCode } from './errors.ts'
import { invocationKinds, openInvocations } from './invocations/index.ts'
import type { Credential, Deployment, Server } from './registry/port.ts'
import { findServer } from './registry/query.ts'

/** What this build has, for the doctor, who knows no adapter. Reads only. */
export function adaptersFor(context: Context): DoctorAdapters {
  const { invocations, anchor } = context.config
  return {
    kinds: {
      containment: Object.keys(containment),
      credentials: [...Object.keys(credentials), ...Object.keys(storedValues)],
      deployment: Object.keys(deployments),
      invocations: invocationKinds,
    },
    ...(invocations === undefined
      ? {}
      : { invocations: async (signal: AbortSignal) => (await openInvocations(invocations)).check(signal) }),
    ...(anchor === undefined ? {} : { anchor: (signal: AbortSignal) => askAnchor(anchor, signal) }),
    deployment: (server, deployment, signal) =>
      ask(
        containment[deployment.kind],
        { server: server.name, owner: server.owner, deployment: placed(deployment, context) },
        'isolate',
        context,
        signal,
      ),
    credential: (server, credential, signal) => {
      const { vault, aws } = context.config
      const target = { server: server.name, credential, sharedWith: [], deliverTo: server.deliverTo, vault, aws }
      return ask(loaderOf(target), target, 'revoke', context, signal)
    },
    client: async (server, file, signal) => {
      const { name, owner, aliases } = server
      const others = ((await context.registry())?.servers ?? []).filter((one) => one.name !== name).flatMap(namesOf)
      const target = {
        server: name,
        owner,
        file,
        aliases,
        package: server.package,
        deployments: server.deployments,
        others,
      }
      const problems = await ask(containment['mcp-client-config'], target, 'isolate', context, signal)
      return problems.length > 0 ? problems : replaceable(file)
    },
    aws: async (server, signal) => {
      const needs = await awsNeeds(server, context)
      return needs.length === 0 ? [] : (await import('./doctor-aws.ts')).awsRows(needs, signal)
    },
  }
}

/** The region of the configuration stands in for that of the deployment. */
function placed(deployment: Deployment, { config }: Context): Deployment {
  return deployment.kind === 'aws-ec2' ? { ...deployment, region: deployment.region ?? config.aws.region } : deployment
}

/** A value in a store is changed by the one who issued it. */
function withIssuer(credential: Credential): readonly { readonly kind: string }[] {
  return 'issuer' in credential && credential.issuer !== undefined ? [credential, credential.issuer] : [credential]
}

/** Adapters of any port. */
type Load = () => Promise<Pick<Adapter<never>, 'permissions'>>

/** What the adapters of this server declare, or all of them. By capability and kind, in their order. */
export async function declaredBy(server: Server | undefined): Promise<readonly Declared[]> {
  const capabilities: [string, Readonly<Record<string, Load | undefined>>, readonly { kind: string }[] | undefined][] =
    [
      ['containment', containment, server?.deployments],
      ['credentials', { ...credentials, ...storedValues }, server?.credentials.flatMap(withIssuer)],
      ['credentials/powers', powers, server?.credentials],
      ['deployment', deployments, server?.deployments.flatMap(rebuiltBy)],
    ]
  const loads = capabilities.flatMap(([capability, byKind, used]) =>
    Object.entries(byKind)
      .filter(([kind]) => used === undefined || used.some((one) => one.kind === kind))
      .map(([kind, load]) => ({ adapter: `${capability}/${kind}`, load })),
  )
  const declared = await Promise.all(
    loads.map(async ({ adapter, load }) => ({ adapter, permissions: (await load?.())?.permissions ?? [] })),
  )
  return [...declared, ...(await deliveries(server))]
}

/** The adapter that would put it back. An instance of which nothing says what a new one is made of is not put back. */
function rebuiltBy(deployment: Deployment): readonly { kind: string }[] {
  if (deployment.redeploy?.command !== undefined) return [{ kind: 'exec' }]
  return deployment.kind === 'aws-ec2' && deployment.redeploy === undefined ? [] : [deployment]
}

/** The places that new secrets go to in AWS. Others need nothing of it. */
async function deliveries(server: Server | undefined): Promise<readonly Declared[]> {
  const replaced = server?.credentials.some((one) => one.kind === 'aws-secret' && one.issuer !== undefined)
  if (server !== undefined && server.deliverTo?.kind !== 'aws-secret' && !replaced) return []
  const { awsSecretStore } = await import('./credentials/stores/aws-secret.ts')
  const { permissions } = awsSecretStore({ kind: 'aws-secret', secret: 'any' })
  return [{ adapter: 'deliver-to/aws-secret', permissions }]
}

/** The least policy for this server, or for any. @throws IrError input when the registry knows no such server */
export async function policyFor(context: Context, name: string | undefined): Promise<IamPolicy> {
  const server = name === undefined ? undefined : findServer(await context.registry(), name)
  return iamPolicy(await declaredBy(server), server === undefined ? undefined : [server])
}

/** What each of its deployments and credentials will need of AWS. */
async function awsNeeds(server: Server, context: Context): Promise<readonly AwsNeed[]> {
  const declared = await declaredBy(server)
  const permissions = (adapter: string) => declared.find((one) => one.adapter === adapter)?.permissions ?? []
  const needs: AwsNeed[] = []
  for (const deployment of server.deployments) {
    if (deployment.kind !== 'aws-ec2') continue
    const scope = { region: deployment.region ?? context.config.aws.region, role: deployment.role }
    for (const capability of ['containment', 'deployment']) {
      const adapter = `${capability}/${deployment.kind}`
      // What it makes, or looks at, in IAM.
      const role = capability === 'deployment' ? deployment.redeploy?.instanceProfile : undefined
      const about = { kind: 'role', name: role ?? `${madeByUs}deny` } as const
      if (permissions(adapter).some(isIamAction))
        needs.push({ id: deployment.id, adapter, permissions: permissions(adapter), scope, about })
    }
  }
  const { region } = context.config.aws
  for (const credential of server.credentials) {
    const adapter = `credentials/${credential.kind}`
    if (!permissions(adapter).some(isIamAction)) continue
    const about =
      credential.kind === 'aws-iam-user'
        ? ({ kind: 'user', name: credential.user } as const)
        : credential.kind === 'aws-iam-role'
          ? ({ kind: 'role', name: credential.role } as const)
          : credential.kind === 'aws-secret'
            ? ({ kind: 'secret', name: credential.secret } as const)
            : undefined
    const scope = { region: ('region' in credential ? credential.region : undefined) ?? region }
    const common = { id: credential.id, adapter, permissions: permissions(adapter), scope }
    needs.push(about === undefined ? common : { ...common, about })
  }
  return needs
}

/** An adapter's own `check`, outside of any case. */
async function ask(
  load: (() => Promise<Adapter<never>>) | undefined,
  target: unknown,
  intent: string,
  context: Context,
  signal: AbortSignal,
): Promise<readonly Problem[]> {
  if (load === undefined) return []
  const adapter = (await load()) as unknown as Adapter<unknown>
  const call: Call<unknown> = {
    target,
    intent,
    signal,
    caseId: 'doctor',
    // Never made; what lies in the case would be refused.
    privateFolder: join(context.config.cases, 'doctor', 'private'),
    now: context.now,
    changeId: (action, name) => `${action} ${name}`,
    changes: [],
    receipts: new Map(),
    evidence: new NoEvidence(),
    progress: () => {},
  }
  return adapter.check(call)
}

/** A file is replaced by a new one beside it. Asked also while the server is in none of its entries. */
async function replaceable(file: string): Promise<readonly Problem[]> {
  try {
    await access(dirname(file), constants.W_OK | constants.X_OK)
    return []
  } catch (error) {
    const code = systemCode(error)
    if (code === undefined) throw error
    return [{ kind: 'denied', message: `the folder of ${file} cannot be written (${code})` }]
  }
}
