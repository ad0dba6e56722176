import { IrError } from '../errors.ts'
import type { StoredCase } from './case.ts'
import type { Events } from './events.ts'
import { openPoints } from './state.ts'

/**
 * What is journalled when a case is closed.
 * @param reason why, although something is open
 * @throws IrError refused when something is open and there is no reason
 */
export function closing({ id, lines }: StoredCase, reason: string | undefined): Events['case.closed'] {
  const open = openPoints(lines)
  if (open.length > 0 && reason === undefined)
    throw new IrError('refused', [`Case ${id} has open points:`, ...open.map((point) => `- ${point}`)].join('\n'), {
      hints: ['Finish them with `mcp-ir respond`, or close it all the same with --reason TEXT.'],
    })
  return { ...(reason === undefined ? {} : { reason }), open }
}
