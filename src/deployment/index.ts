import type { Deployments } from './port.ts'

/** Every deployment adapter, by the kind of deployment that it puts back; `exec` is for any kind. Loaded when it is used. */
export const deployments: Readonly<Record<string, () => Promise<Deployments<never>>>> = {
  'aws-ec2': async () => (await import('./aws-ec2.ts')).awsEc2,
  exec: async () => (await import('./exec.ts')).exec,
  'local-process': async () => (await import('./local-process.ts')).localProcess,
}
