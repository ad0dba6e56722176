import type { Deployments } from './port.ts'

/** Every deployment adapter, by the kind of deployment that it puts back. Loaded when it is used. */
export const deployments: Readonly<Record<string, () => Promise<Deployments<never>>>> = {
  'local-process': async () => (await import('./local-process.ts')).localProcess,
}
