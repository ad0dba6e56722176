import { IrError } from '../../errors.ts'
import { type Field, fields, type LogFormat, refusalWords } from './format.ts'

const longest = 500

/**
 * A format that the configuration spells out: `{map: {time: ts, tool: call.name, …}}`. Times are RFC 3339 or a number of
 * seconds, milliseconds, micro- or nanoseconds since 1970; an outcome of true, "success", "ok" or 2xx is a success.
 *
 * @throws IrError input, naming the key
 */
export function mapped(map: Readonly<Record<string, string>>): LogFormat {
  const places: Partial<Record<Field, readonly string[]>> = {}
  for (const [key, path] of Object.entries(map)) {
    const field = fields.find((known) => known === key)
    if (field === undefined) {
      throw new IrError('input', `The map of the invocation log names an unknown key: ${JSON.stringify(key)}.`, {
        hints: [`Known are ${fields.join(', ')}.`],
      })
    }
    if (path.length > longest || path.includes('\0') || path.split('.').some((segment) => segment === '')) {
      throw new IrError('input', `The map of the invocation log gives ${key} no usable field path.`, {
        hints: ['A path is a chain of field names with dots between them, such as target.name.'],
      })
    }
    places[field] = [path]
  }
  for (const field of ['time', 'tool'] as const) {
    if (places[field] === undefined) {
      throw new IrError('input', `The map of the invocation log does not say where the ${field} of a call is.`, {
        hints: [`Add ${field}: <field path> to it.`],
      })
    }
  }
  const refusals = places.outcome === undefined ? [] : [{ fields: places.outcome, values: refusalWords }]
  return { name: 'map', fields: places, refusals, otherwise: 'unknown' }
}
