import type { AnchorConfig } from '../config.ts'
import type { Anchor } from './port.ts'

const anchors: {
  readonly [K in AnchorConfig['kind']]: (config: Extract<AnchorConfig, { kind: K }>) => Promise<Anchor>
} = {
  file: async (config) => (await import('./file.ts')).fileAnchor(config),
  elasticsearch: async (config) => (await import('./elasticsearch.ts')).elasticsearchAnchor(config),
  rfc3161: async (config) => (await import('./rfc3161.ts')).timeStampAnchor(config),
  exec: async (config) => (await import('./exec.ts')).execAnchor(config),
}

/** The anchor that the configuration names; its code is loaded only now. */
export async function loadAnchor(config: AnchorConfig): Promise<Anchor> {
  return await anchors[config.kind](config as never)
}

/**
 * Whether it can be asked, for a look before there is an incident.
 * @returns its name
 * @throws IrError as `known`
 */
export async function askAnchor(config: AnchorConfig, signal: AbortSignal): Promise<string> {
  const anchor = await loadAnchor(config)
  await anchor.known('no-case', [], signal)
  return anchor.name
}
