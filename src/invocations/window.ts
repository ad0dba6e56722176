import { IrError } from '../errors.ts'
import type { CaseView, StepInput } from '../playbook/step.ts'
import { safe } from '../ui/safe-text.ts'
import type { Window } from './port.ts'

/** Under which names logs may know the server. */
export function namesOf(view: CaseView): readonly string[] {
  return [view.server.name, ...view.server.aliases]
}

/** The window of a reading step: its own `with`, else the case's. @throws IrError input when it ends before it begins */
export function windowOf(input: StepInput): { readonly window: Window; readonly sinceFrom: CaseView['sinceFrom'] } {
  const given = (key: string) => {
    const value = input.with[key]
    return typeof value === 'string' && value !== '' ? value : undefined
  }
  const since = utc(given('since') ?? input.case.since)
  const until = utc(given('until') ?? input.case.until)
  if (since >= until) {
    throw new IrError('input', `The window begins at ${since} and ends at ${until}: nothing lies in it.`, {
      hints: ['Give --since and --until so that the first is before the second.'],
    })
  }
  return { window: { since, until }, sinceFrom: since === utc(input.case.since) ? input.case.sinceFrom : 'flag' }
}

function utc(time: string): string {
  const at = new Date(time)
  if (Number.isNaN(at.getTime())) {
    throw new IrError('input', `${JSON.stringify(safe(time))} is no time.`, {
      hints: ['Write it as 2026-11-23T02:11:00Z.'],
    })
  }
  return at.toISOString()
}
