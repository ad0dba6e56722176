import { z } from 'zod'
import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import { type Mistake, nearest, readYaml } from '../yaml-file.ts'
import { isLookup, lookupsIn } from './lookup.ts'
import type { StepKind } from './step.ts'

const stepSchema = z.strictObject({
  id: z
    .string()
    .regex(/^[a-z][a-z0-9-]*$/, 'must be lower-case letters, digits and hyphens')
    .describe('Names the step in the journal; unique in the playbook.'),
  use: z.string().min(1).optional().describe('The kind of the step, for one that the tool does.'),
  with: z
    .record(z.string(), z.unknown())
    .optional()
    .describe('Values for the step, which may be look-ups: ${case.since}.'),
  manual: z
    .string()
    .min(1)
    .optional()
    .describe('What a person is to do or answer, for a step that the tool cannot do.'),
  ask: z
    .union([z.literal(true), z.string().min(1)])
    .optional()
    .describe('A question before the step begins; of a manual step: wait for the answer.'),
  skip: z.literal('with-reason').optional().describe('A manual step that may be skipped, saying why.'),
  when: z
    .string()
    .min(1)
    .optional()
    .describe('A look-up: the step is skipped when it is empty, [], 0, false or missing.'),
  'on-failure': z
    .enum(['stop', 'ask', 'continue'])
    .optional()
    .describe(
      'What follows when the step fails or is done only in part. Default: stop, which leaves the server contained.',
    ),
})

const playbookSchema = z.strictObject({
  $schema: z.string().optional(),
  name: z.string().regex(/^[a-z][a-z0-9-]*$/, 'must be lower-case letters, digits and hyphens'),
  summary: z.string().min(1),
  steps: z.array(stepSchema).min(1),
})

export type Playbook = z.infer<typeof playbookSchema>
export type PlaybookStep = Playbook['steps'][number]

/** JSON Schema of a playbook, for editors: playbooks/schema.json. */
export function playbookJsonSchema(): object {
  return z.toJSONSchema(playbookSchema, { target: 'draft-2020-12' })
}

/**
 * Reads a playbook and checks all that can be known before it runs.
 * @throws IrError input, one line per mistake
 */
export function parsePlaybook(file: string, bytes: Uint8Array, kinds: ReadonlyMap<string, StepKind>): Playbook {
  return readYaml(file, bytes, playbookSchema, { check: (data) => mistakesIn(data, kinds) })
}

const caseKeys = ['id', 'server', 'owner', 'criticality', 'since', 'until', 'isolatedAt']

function mistakesIn(data: unknown, kinds: ReadonlyMap<string, StepKind>): Mistake[] {
  const steps = (data as { steps?: unknown } | null)?.steps
  if (!Array.isArray(steps)) return []
  const mistakes: Mistake[] = []
  const seen = new Map<string, number>()
  for (const [index, step] of steps.entries()) {
    if (typeof step !== 'object' || step === null) continue
    const path = ['steps', index]
    const { id, use, manual } = step
    if ((use === undefined) === (manual === undefined)) {
      mistakes.push({
        path,
        what: 'must have either use or manual',
        hint: 'use: a kind of step; manual: what a person does',
      })
    }
    if (typeof use === 'string') mistakes.push(...useMistakes(path, use, step.with, kinds))
    if (use === undefined && step.with !== undefined)
      mistakes.push({ path: [...path, 'with'], what: 'belongs to a step with use' })
    if (manual === undefined && step.skip !== undefined) {
      mistakes.push({ path: [...path, 'skip'], what: 'belongs to a manual step' })
    }
    for (const { path: at, lookup } of lookupsIn({ with: step.with, when: step.when })) {
      const what = lookupMistake(lookup, seen)
      if (what !== undefined) mistakes.push({ path: [...path, ...at], ...what })
    }
    if (typeof step.when === 'string' && !isLookup(step.when)) {
      mistakes.push({ path: [...path, 'when'], what: 'must be one look-up', hint: '${steps.review.output.findings}' })
    }
    if (typeof id !== 'string') continue
    const first = seen.get(id)
    if (first === undefined) seen.set(id, index)
    else {
      mistakes.push({
        path: [...path, 'id'],
        what: (line) => `${safe(id)} is already the id of the step on line ${line(['steps', first])}`,
      })
    }
  }
  return mistakes
}

function useMistakes(
  path: (string | number)[],
  use: string,
  given: unknown,
  kinds: ReadonlyMap<string, StepKind>,
): Mistake[] {
  const kind = kinds.get(use)
  if (kind === undefined) {
    const known = [...kinds.keys()]
    const near = nearest(use, known)
    return [
      {
        path: [...path, 'use'],
        what: `${safe(use)} is not a kind of step`,
        hint: `${near === undefined ? '' : `did you mean ${near}? `}known kinds: ${known.join(', ')}`,
      },
    ]
  }
  // A look-up is checked when its value is known.
  const constant = Object.fromEntries(Object.entries(given ?? {}).filter(([, value]) => lookupsIn(value).length === 0))
  const parsed = kind.with.safeParse(constant)
  if (parsed.success) return []
  return parsed.error.issues
    .filter(
      (issue) =>
        !(issue.code === 'invalid_type' && issue.path[0] !== undefined && !(String(issue.path[0]) in constant)),
    )
    .flatMap((issue): Mistake[] => {
      const at = [...path, 'with', ...issue.path.filter((part) => typeof part !== 'symbol')]
      if (issue.code !== 'unrecognized_keys') return [{ path: at, what: issue.message }]
      return issue.keys.map((key) => ({ path: [...at, key], what: `is not known to ${use}` }))
    })
}

function lookupMistake(
  lookup: string,
  earlier: ReadonlyMap<string, number>,
): { what: string; hint: string } | undefined {
  const [root, key] = lookup.split('.')
  if (root === 'case' && key !== undefined && caseKeys.includes(key)) return undefined
  if (root === 'steps' && key !== undefined && earlier.has(key)) return undefined
  if (root === 'steps') {
    return {
      what: `\${${safe(lookup)}} looks at a step that does not come before this one`,
      hint: 'only steps above can be looked at',
    }
  }
  return {
    what: `\${${safe(lookup)}} is not known`,
    hint: `known: ${caseKeys.map((name) => `case.${name}`).join(', ')}, steps.ID.state, steps.ID.output…`,
  }
}

/** @throws IrError input when the resolved values are not what the kind takes */
export function checkWith(step: PlaybookStep, kind: StepKind, values: unknown): void {
  const parsed = kind.with.safeParse(values)
  if (parsed.success) return
  const what = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ')
  throw new IrError('input', `Step ${step.id}: its values do not fit ${kind.kind}: ${safe(what)}.`)
}
