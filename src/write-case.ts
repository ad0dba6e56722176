import { Anchoring } from './anchor/anchoring.ts'
import { type Case, openCase } from './case/case.ts'
import type { Context } from './context.ts'
import type { IrError } from './errors.ts'

/**
 * For a command that only writes something down: opens the case, and takes its new head off the host at the end.
 * @returns what could not be anchored, for `problems`
 * @throws IrError as `openCase`
 */
export async function writeCase(
  context: Context,
  folder: string,
  takeOver: boolean,
  work: (incident: Case) => unknown,
): Promise<readonly Pick<IrError, 'code' | 'message' | 'hints'>[]> {
  const incident = openCase(folder, { by: context.by, now: context.now, takeOver })
  try {
    work(incident)
    const anchoring = new Anchoring(context)
    await anchoring.atEnd(incident)
    return anchoring.problems.map(({ code, message, hints }) => ({ code, message, hints }))
  } finally {
    incident.close()
  }
}
