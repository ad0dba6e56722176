/**
 * How one kind of log says what an invocation is. A format is data: where each value lies, which lines are tool calls, and
 * what makes a call a failure. Readers (DuckDB here, a search cluster elsewhere) turn it into their own queries.
 */
export interface LogFormat {
  readonly name: string
  /**
   * For each value the places where it may lie, in order of preference; the first that is there and not empty counts.
   * A place is a dotted field path. `a.b.c` finds `{"a":{"b":{"c":…}}}`, `{"a.b.c":…}` and every mixture of both.
   * What is missing here the format does not carry, and a review says so.
   */
  readonly fields: Readonly<Partial<Record<Field, readonly string[]>>>
  /** Which lines are tool calls: the first of these fields that is there has one of these values. Without it: every line that names a tool. */
  readonly calls?: { readonly fields: readonly string[]; readonly values: readonly string[] }
  /** Which other lines show that a client took something from a server, and which of those that it took in the list of tools. */
  readonly takes?: {
    readonly fields: readonly string[]
    readonly values: readonly string[]
    readonly lists: readonly string[]
  }
  /** Lines are written when the call has ended, and their times are ends. */
  readonly timeIsEnd?: true
  /** Milliseconds by which the clock of the source is ahead: its times are set back by them as they are read. No format has it by itself. */
  readonly ahead?: number
  /** Units of the duration in a millisecond, where it is not one: 1,000,000 for nanoseconds. */
  readonly durationPerMs?: number
  /** When the call ended, where the log has that instead of a duration. */
  readonly end?: readonly string[]
  /** Failed, when one of these fields has one of these values, or any value but false, 0 and the empty one. */
  readonly failures?: readonly FailureRule[]
  /**
   * Refused for want of rights or of a valid identity, when one of these fields has one of these values (in lower case). A format
   * without it does not tell such failures from others.
   */
  readonly refusals?: readonly { readonly fields: readonly string[]; readonly values: readonly string[] }[]
  /** What a call is when neither `outcome` nor `failures` says anything. */
  readonly otherwise: 'success' | 'unknown'
  /** An id is unique only together with these. */
  readonly idWithin?: readonly ('time' | 'session' | 'trace' | 'tool')[]
  /** What a reader of the result should know, in plain words. */
  readonly notes?: readonly string[]
}

export interface FailureRule {
  readonly fields: readonly string[]
  readonly values: readonly string[] | 'any'
  /** The fields are those of what the tool gave back, wherever that is logged, and not those of the line. */
  readonly of?: 'result'
  /** The fields are written flat, on the line or under `attributes`: as objects they are part of something else. */
  readonly flat?: true
}

/** Every way in which the fields of a rule may be written: lists of keys. */
export function placesOf({ fields, flat }: FailureRule): readonly (readonly string[])[] {
  const all = fields.flatMap((path) => spellings(path))
  return flat === true
    ? all.filter((keys) => keys.length === 1 || (keys.length === 2 && keys[0] === 'attributes'))
    : all
}

/** The values of an invocation that a log may carry; the keys of a `map` in the configuration. */
export const fields = [
  'id',
  'time',
  'server',
  'tool',
  'agent',
  'user',
  'session',
  'trace',
  'address',
  'outcome',
  'durationMs',
  'params',
  'response',
  'rows',
  'bytes',
] as const

export type Field = (typeof fields)[number]

/** Every way in which the dotted `path` may be written in a JSON object: lists of keys, from the flattest to the most nested. */
export function spellings(path: string): readonly (readonly string[])[] {
  const segments = path.split('.')
  const joints = segments.length - 1
  // All mixtures for what occurs in practice; for very long paths only one change between flat and nested.
  const patterns =
    joints <= 4
      ? Array.from({ length: 2 ** joints }, (_, pattern) => (joint: number) => ((pattern >> joint) & 1) === 1)
      : Array.from({ length: joints + 1 }, (_, at) => [
          (joint: number) => joint < at,
          (joint: number) => joint >= at,
        ]).flat()
  const found = new Map<string, readonly string[]>()
  for (const nested of patterns) {
    const keys = [segments[0] ?? '']
    for (const [joint, segment] of segments.slice(1).entries()) {
      if (nested(joint)) keys.push(segment)
      else keys[keys.length - 1] += `.${segment}`
    }
    found.set(JSON.stringify(keys), keys)
  }
  return [...found.values()]
}

/** Methods of MCP by which a client takes in text of a server, beside calls of tools. */
export const takingMethods = {
  values: [
    'initialize',
    'server/discover',
    'tools/list',
    'prompts/list',
    'prompts/get',
    'resources/list',
    'resources/templates/list',
    'resources/read',
  ],
  lists: ['tools/list'],
} as const

/** How servers and gateways write that somebody was not let in; in lower case. */
export const refusalWords = [
  '401',
  '403',
  'denied',
  'access_denied',
  'accessdenied',
  'accessdeniedexception',
  'permission_denied',
  'permissiondenied',
  'unauthenticated',
  'unauthorized',
  'authentication_error',
  'authorization_error',
  'forbidden',
  'invalid_token',
  'invalid_client',
  'insufficient_scope',
] as const
