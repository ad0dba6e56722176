import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import type { Containment, Discovered } from './port.ts'

/** Every containment adapter, by the kind of deployment that it cuts off. Loaded when it is used. */
export const containment: Readonly<Record<string, () => Promise<Containment<never>>>> = {
  'local-process': async () => (await import('./local-process.ts')).localProcess,
  'aws-ec2': async () => (await import('./aws-ec2.ts')).awsEc2,
  // Acts on a file instead of a deployment: the step gives it the targets that it takes.
  'mcp-client-config': async () =>
    (await import('./mcp-client-config.ts')).mcpClientConfig as unknown as Containment<never>,
}

/**
 * What `--target KIND:ID` names, for a server that no registry knows. Reads only.
 *
 * @throws IrError input for an unknown kind or when nothing of the kind is there; refused for our own processes; denied
 */
export async function discover(kind: string, id: string, region?: string): Promise<Discovered> {
  if (kind === 'pid' || kind === 'url') return (await import('./local-process.ts')).discover(kind, id)
  if (kind === 'aws-ec2') return (await import('./aws-ec2.ts')).discover(id, region)
  throw new IrError('input', `${safe(kind, 40)} is no kind of target.`, {
    hints: ['Known: pid:PID, url:URL, aws-ec2:INSTANCE, for example --target url:http://127.0.0.1:7001/mcp.'],
  })
}
