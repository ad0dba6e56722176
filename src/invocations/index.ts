import type { InvocationsConfig } from '../config.ts'
import { IrError } from '../errors.ts'
import type { Invocations } from './port.ts'

export { namesOf, windowOf } from './window.ts'

/**
 * The invocation log that the configuration names. The adapter is loaded only now.
 *
 * @throws IrError input when there is no adapter of this kind yet, or the format is unknown
 */
export async function openInvocations(
  config: InvocationsConfig,
  now: () => Date = () => new Date(),
): Promise<Invocations> {
  if (config.kind === 'files') return (await import('./files.ts')).filesInvocations(config, now)
  throw new IrError('input', `There is no adapter for invocation logs of kind ${config.kind} yet.`, {
    hints: [
      'Export the log to NDJSON files and name them: invocations: {kind: files, path: "./logs/*.ndjson", format: …}.',
    ],
  })
}
