import { awsError } from './clients.ts'

/** How AWS is read, whatever is read. */

/** When a read is given up. */
export interface Ending {
  readonly signal: AbortSignal
  /** Where that is before the command is. */
  readonly until?: AbortSignal
}

/** For the SDK's `send`. */
export function ending({ signal, until = signal }: Ending): { abortSignal: AbortSignal } {
  return { abortSignal: until }
}

/** Every page of a list. */
export async function all<C, I, O, K extends keyof O>(
  paginate: (config: { client: C }, input: I, options: { abortSignal: AbortSignal }) => AsyncIterable<O>,
  client: C,
  call: Ending,
  key: K,
  input: I,
): Promise<NonNullable<O[K]> extends readonly (infer T)[] ? T[] : never> {
  const found: unknown[] = []
  for await (const page of paginate({ client }, input, ending(call))) {
    found.push(...((page[key] ?? []) as unknown as unknown[]))
  }
  return found as never
}

/** An SDK error while looking, in our words. */
export async function reading<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw awsError(error, 'Reading from AWS')
  }
}

/** How many values a filter takes; AWS takes 200. */
export const atOnce = 100

export function chunks<T>(items: readonly T[], size = atOnce): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  )
}

export function by<T>(key: (item: T) => string | undefined): (a: T, b: T) => number {
  return (a, b) => ((key(a) ?? '') < (key(b) ?? '') ? -1 : 1)
}
