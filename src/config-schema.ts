import { z } from 'zod'
import { path, url } from './schema-parts.ts'

/** `mcp-ir.yaml`. Paths in it are relative to its folder. */

/** The name of a format, or which field of a line says what. */
const format = z.union([z.string().min(1), z.strictObject({ map: z.record(z.string(), z.string().min(1)) })], {
  error: 'must be the name of a format, or {map: {…}}',
})

const writer = z.enum(['gateway', 'client', 'server']).optional()

/** How far the clock of a log is ahead. */
const offset = z
  .string()
  .regex(/^[+-]?\d{1,9}(?:ms|s|m|h)$/, 'must be how far its clock is ahead, such as 90s, or behind, such as -2m')
  .optional()

const day = '(?:mon|tue|wed|thu|fri|sat|sun)'
const time = z.string().regex(/^(?:[01]\d|2[0-3]):[0-5]\d$|^24:00$/, 'must be a time of day such as "08:00"')

export const configSchema = z.strictObject({
  registry: path.optional(),
  cases: path.optional(),
  invocations: z
    .discriminatedUnion('kind', [
      z.strictObject({ kind: z.literal('files'), path, format, writer, offset }),
      z.strictObject({ kind: z.literal('elasticsearch'), node: url, index: z.string().min(1), format, writer, offset }),
    ])
    .optional(),
  vault: z.strictObject({ address: url.optional(), auditLog: path.optional() }).optional(),
  aws: z.strictObject({ region: z.string().min(1).optional() }).optional(),
  hours: z
    .strictObject({
      zone: z.string().refine(isZone, 'must be a time zone such as Europe/Berlin'),
      days: z
        .string()
        .regex(
          new RegExp(`^${day}(?:-${day})?(?:,${day}(?:-${day})?)*$`),
          'must be days such as mon-fri or mon,wed,sat',
        ),
      from: time,
      to: time,
    })
    .optional(),
  duties: z.array(z.enum(['gdpr', 'nis2', 'dora'])).optional(),
  anchor: z
    .discriminatedUnion('kind', [
      z.strictObject({ kind: z.literal('file'), path }),
      z.strictObject({ kind: z.literal('exec'), command: z.array(z.string().min(1)).min(1) }),
      z.strictObject({ kind: z.literal('elasticsearch'), node: url, index: z.string().min(1) }),
      z.strictObject({ kind: z.literal('rfc3161'), url, certificate: path }),
    ])
    .optional(),
  tlp: z.enum(['red', 'amber', 'amber+strict', 'green', 'clear']).optional(),
})

function isZone(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone })
    return true
  } catch {
    return false
  }
}
