import type { InvocationsConfig } from '../config.ts'
import type { Context } from '../context.ts'
import { assertTrusted } from '../trust.ts'
import type { Invocations } from './port.ts'

export { namesOf, windowOf } from './window.ts'

/** Kinds of logs that can be read. */
export const invocationKinds = ['files', 'elasticsearch'] as const

/**
 * The invocation log of this run; undefined when none is configured.
 *
 * @throws IrError refused when it would get a secret and the configuration that names it was only found; input for its format
 */
export async function invocationsOf({ config, now }: Context): Promise<Invocations | undefined> {
  const { invocations } = config
  if (invocations === undefined) return undefined
  if (invocations.kind === 'elasticsearch') {
    const { sendsSecret } = await import('../elasticsearch/client.ts')
    if (sendsSecret()) await assertTrusted(config, 'where the key of Elasticsearch is sent')
  }
  return openInvocations(invocations, now)
}

/** A log by its configuration alone. The adapter is loaded only now. @throws IrError input when the format is unknown */
export async function openInvocations(
  config: InvocationsConfig,
  now: () => Date = () => new Date(),
): Promise<Invocations> {
  if (config.kind === 'files') return (await import('./files.ts')).filesInvocations(config, now)
  return (await import('./elasticsearch.ts')).elasticsearchInvocations(config, now)
}
