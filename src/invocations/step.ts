import { join } from 'node:path'
import { z } from 'zod'
import type { StepInput, StepKind, StepResult } from '../playbook/step.ts'
import { safe } from '../ui/safe-text.ts'
import { examine, touchedBy } from './examine.ts'
import { type Exported, exportTo } from './export-file.ts'
import { invocationsOf } from './index.ts'
import { withOffset } from './offset.ts'
import type { Invocations, Review, Window } from './port.ts'
import { namesOf, windowOf } from './window.ts'

/** The raw records of the window, as evidence. */
const evidenceName = 'invocations.ndjson'

/** What was exported, where to, and its hash. */
const manifestName = 'invocations-export.json'

const instant = z.iso.datetime({ offset: true })

/** What the compromised server did, from the invocation log. Reads only. */
export const review: StepKind = {
  kind: 'invocations.review',
  summary: 'Reads the invocation log: which tools ran, for whom, when, and how much they gave away',
  with: z.strictObject({ since: instant.optional(), until: instant.optional(), export: z.string().min(1).optional() }),
  result: run,
}

/** The raw records in a file of the responder's; what was written there is evidence. */
async function exportedBy(input: StepInput, log: Invocations, window: Window): Promise<Exported | undefined> {
  const { export: file } = input.with
  const { invocations } = input.context.config
  if (typeof file !== 'string' || invocations === undefined || input.dryRun) return undefined
  input.progress(`exporting the records to ${safe(file)}`)
  const names = namesOf(input.case)
  const name = invocations.kind === 'files' ? invocations.path : `${invocations.node} ${invocations.index}`
  const source = withOffset(name, invocations.offset)
  const exported = await exportTo({ file, source, names, window }, join(input.case.folder, 'private'), (asked, after) =>
    log.export(names, asked, input.signal, after),
  )
  await input.evidence.put(
    manifestName,
    'application/json',
    `${JSON.stringify({ ...exported, source, names }, undefined, 2)}\n`,
  )
  return exported
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

  const exported = await exportedBy(input, log, window)
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
    const lacking = exported?.window.until === window.until ? reviewed.review.records - exported.records : 0
    const short =
      lacking > 0
        ? [
            `The export holds ${lacking} calls fewer than were counted: they came in since, or the name of their server is too long for the index to be asked for (ignore_above).`,
          ]
        : []
    const output: Review = {
      ...reviewed.review,
      ...examined,
      sinceFrom,
      gaps: [...guessed, ...short, ...reviewed.review.gaps, ...gaps],
      ...(stored === undefined ? {} : { evidence: { name: stored.name, sha256: stored.sha256 } }),
      ...(exported === undefined ? {} : { export: exported }),
    }
    const open = [...short, ...unread]
    return { output, state: open.length > 0 ? 'partial' : 'done', open }
  } finally {
    await reviewed.close()
  }
}
