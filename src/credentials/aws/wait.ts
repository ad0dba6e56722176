import { setTimeout as sleep } from 'node:timers/promises'
import type { Call } from '../../change.ts'
import { IrError } from '../../errors.ts'

export interface IamSettings {
  /**
   * IAM takes seconds to minutes until a deny is everywhere, and in between an attacker can still make a key or take the deny
   * away: milliseconds after which the verdict looks again.
   */
  readonly secondLookMs: number
  /** How often a new key is tried, as it is not known everywhere at once, and the first pause (doubled each time). */
  readonly probes: number
  readonly pauseMs: number
}

export const defaults: IamSettings = { secondLookMs: 60_000, probes: 6, pauseMs: 500 }

/** Only where something was changed: what was found as it should be is as old as its own second look. */
export async function beforeSecondLook(call: Call<unknown>, settings: IamSettings): Promise<boolean> {
  if (!call.changes.some(({ id }) => call.receipts.has(id))) return false
  const seconds = Math.round(settings.secondLookMs / 1000)
  if (seconds > 0) call.progress(`looking again in ${seconds} s for what was made in the meantime`)
  await pause(settings.secondLookMs, call.signal)
  return true
}

export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, undefined, { signal })
  } catch {
    throw new IrError('interrupted', 'Interrupted.')
  }
}
