import { NoEvidence } from './case/evidence.ts'
import type { Adapter, Call, Problem } from './change.ts'
import { containment } from './containment/index.ts'
import type { Context } from './context.ts'
import { adapters as credentials } from './credentials/index.ts'
import { deployments } from './deployment/index.ts'
import type { DoctorAdapters } from './doctor.ts'
import { openInvocations } from './invocations/index.ts'

/** What this build has, for the doctor, who knows no adapter. Reads only. */
export function adaptersFor(context: Context): DoctorAdapters {
  const { invocations } = context.config
  return {
    kinds: {
      containment: Object.keys(containment),
      credentials: Object.keys(credentials),
      deployment: Object.keys(deployments),
      invocations: ['files'],
    },
    ...(invocations === undefined
      ? {}
      : { invocations: async (signal: AbortSignal) => (await openInvocations(invocations)).check(signal) }),
    deployment: (server, deployment, signal) =>
      ask(
        containment[deployment.kind],
        { server: server.name, owner: server.owner, deployment },
        'isolate',
        context,
        signal,
      ),
    credential: (server, credential, signal) =>
      ask(
        credentials[credential.kind],
        { server: server.name, credential, sharedWith: [], deliverTo: server.deliverTo },
        'revoke',
        context,
        signal,
      ),
  }
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
    privateFolder: '',
    now: context.now,
    changeId: (action, name) => `${action} ${name}`,
    changes: [],
    receipts: new Map(),
    evidence: new NoEvidence(),
    progress: () => {},
  }
  return adapter.check(call)
}
