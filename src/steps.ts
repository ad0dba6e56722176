import type { StepKind } from './playbook/step.ts'

/** Every kind of step, by name. The playbook knows them only by this list; adapters are loaded when a target needs them. */
export async function loadKinds(): Promise<ReadonlyMap<string, StepKind>> {
  const modules = await Promise.all([
    import('./containment/step.ts').then((step) => [step.isolate, step.release]),
    import('./credentials/steps.ts').then((steps) => [steps.revoke, steps.rotate, steps.reinstate]),
    import('./credentials/destroy-step.ts').then((step) => [step.destroy]),
    import('./invocations/step.ts').then((step) => [step.review]),
    import('./blast-radius/step.ts').then((step) => [step.blastRadius]),
    import('./deployment/step.ts').then((step) => [step.redeploy]),
    import('./report/step.ts').then((step) => [step.report]),
  ])
  return new Map(modules.flat().map((kind) => [kind.kind, kind]))
}
