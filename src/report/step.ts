import { z } from 'zod'
import type { StepKind } from '../playbook/step.ts'
import type { CaseReport } from './write.ts'

export type { CaseReport }

/**
 * Writes the report as the case stands. The step's own end is journalled after it, so the report that it writes does not
 * tell of that; `mcp-ir report` makes it again and does.
 */
export const report: StepKind = {
  kind: 'report.write',
  summary: 'Write the incident report (HTML, Markdown, JSON) into the case folder',
  with: z.strictObject({}),
  result: async (input) => {
    if (input.dryRun) return { output: undefined }
    input.progress('drawing the report')
    return { output: (await reportOf({ folder: input.case.folder }, input.context.config)).write() }
  },
}

/** The report of a stored case, not written yet. The charting library is loaded only now. */
export async function reportOf(...asked: Parameters<typeof import('./write.ts').reportOf>): Promise<CaseReport> {
  const module = await import('./write.ts')
  return module.reportOf(...asked)
}
