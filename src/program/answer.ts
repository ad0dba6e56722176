import { z } from 'zod'

const failureSchema = z.object({ error: z.object({ code: z.string().max(100), message: z.string().optional() }) })

/** What a program says of its failure. */
export type Failure = z.infer<typeof failureSchema>

/**
 * What a company's own program answered on its stdout: one JSON object.
 * @returns the answer, what the program says of its failure, or in plain words why this is no answer: never with anything
 * of the text in it, which may hold a secret
 */
export function readAnswer<T>(bytes: Uint8Array, schema: z.ZodType<T>): { readonly answer: T } | Failure | string {
  if (bytes.length === 0) return 'it answered nothing'
  let parsed: unknown
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    return 'its answer is not one JSON object in UTF-8'
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return 'its answer is not a JSON object'
  if ('error' in parsed) return failureSchema.safeParse(parsed).data ?? 'its error has no code'
  const { data, error } = schema.safeParse(parsed)
  return data === undefined
    ? `this of its answer is wrong: ${[...new Set(error?.issues.map(({ path }) => String(path[0])))].join(', ')}`
    : { answer: data }
}
