import type { Format, InvocationsConfig } from '../../config.ts'
import { IrError } from '../../errors.ts'
import { aheadBy } from '../offset.ts'
import { agentgateway } from './agentgateway.ts'
import { contextForge } from './context-forge.ts'
import { dockerGateway } from './docker-gateway.ts'
import { ecs } from './ecs.ts'
import type { LogFormat } from './format.ts'
import { mapped } from './map.ts'
import { otel } from './otel.ts'
import { toolhive } from './toolhive.ts'

const known = new Map(
  [otel, ecs, toolhive, dockerGateway, contextForge, agentgateway].map((format) => [format.name, format]),
)

/** How the lines of a source are read: by its format, and by its clock. @throws IrError input */
export function sourceFormat({ format, offset }: InvocationsConfig): LogFormat {
  const ahead = aheadBy(offset)
  return ahead === 0 ? formatOf(format) : { ...formatOf(format), ahead }
}

/** The format that the configuration names. @throws IrError input */
export function formatOf(format: Format): LogFormat {
  if (typeof format !== 'string') return mapped(format.map)
  const found = known.get(format)
  if (found !== undefined) return found
  throw new IrError('input', `There is no invocation log format ${JSON.stringify(format)}.`, {
    hints: [`Known are ${[...known.keys()].join(', ')}, and {map: {…}} for every other log.`],
  })
}
