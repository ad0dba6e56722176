import { z } from 'zod'
import type { StepInput, StepKind, StepResult } from '../playbook/step.ts'
import { examine, touchedBy } from './examine.ts'
import { invocationsOf } from './index.ts'
import type { Review } from './port.ts'
import { namesOf, windowOf } from './window.ts'

/** The raw records of the window, as evidence. */
const evidenceName = 'invocations.ndjson'

const instant = z.iso.datetime({ offset: true })

/** What the compromised server did, from the invocation log. Reads only. */
export const review: StepKind = {
  kind: 'invocations.review',
  summary: 'Reads the invocation log: which tools ran, for whom, when, and how much they gave away',
  with: z.strictObject({ since: instant.optional(), until: instant.optional() }),
  result: run,
}

async function run(input: StepInput): Promise<StepResult> {
  const { window, sinceFrom } = windowOf(input)
  const log = await invocationsOf(input.context)
  const guessed =
    sinceFrom === 'default'
      ? [
          `Nothing says since when the server was bad: the window begins at ${window.since}, which is a guess. Give --since, or knownGood in the registry.`,
        ]
      : []
  if (log === undefined) {
    const gap = 'No invocation log is configured (invocations in mcp-ir.yaml): what the server did was not looked at.'
    const output: Review = {
      window,
      sinceFrom,
      source: { kind: 'none', name: '', format: '' },
      records: 0,
      duplicates: 0,
      tools: [],
      callers: [],
      resources: [],
      findings: [],
      hours: [],
      gaps: [gap, ...guessed],
    }
    return { output, state: 'partial', open: [gap] }
  }

  input.progress(`reading the invocation log from ${window.since} to ${window.until}`)
  const reviewed = await log.review(namesOf(input.case), window, input.signal, touchedBy(input))
  try {
    const { unread } = reviewed
    const stored =
      reviewed.review.records === 0
        ? undefined
        : await input.evidence.put(evidenceName, 'application/x-ndjson', reviewed.raw)
    input.progress('comparing it with the four weeks before')
    const { gaps, ...examined } = await examine(input, reviewed, window)
    const output: Review = {
      ...reviewed.review,
      ...examined,
      sinceFrom,
      gaps: [...guessed, ...reviewed.review.gaps, ...gaps],
      ...(stored === undefined ? {} : { evidence: { name: stored.name, sha256: stored.sha256 } }),
    }
    return { output, state: unread.length > 0 ? 'partial' : 'done', open: unread }
  } finally {
    await reviewed.close()
  }
}
