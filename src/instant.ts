import { IrError } from './errors.ts'

/** Clocks differ a little. */
const aheadMs = 5 * 60_000

const units: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 }

/**
 * A moment as a responder types it: RFC 3339 (`2026-11-23T02:00:00Z`), a date, or how long ago (`90m`, `2h`, `7d`).
 * @returns RFC 3339 UTC with milliseconds
 * @throws IrError input; also for a time without a zone, which would mean another moment on another machine
 */
export function parseInstant(text: string, flag: string, now: Date): string {
  const ago = /^(\d{1,6})([mhd])$/.exec(text)
  if (ago !== null) return new Date(now.getTime() - Number(ago[1]) * (units[ago[2] ?? ''] ?? 0)).toISOString()
  if (/^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2}))?$/.test(text)) {
    const date = new Date(text)
    // JavaScript takes 30 February for 2 March.
    const day = new Date(`${text.slice(0, 10)}T00:00:00Z`)
    if (!Number.isNaN(date.getTime()) && day.toISOString().startsWith(text.slice(0, 10))) {
      if (date.getTime() > now.getTime() + aheadMs) throw new IrError('input', `${flag}: ${text} is in the future.`)
      return date.toISOString()
    }
  }
  throw new IrError('input', `${flag}: ${JSON.stringify(text.slice(0, 60))} is not a moment.`, {
    hints: ['Use 2026-11-23T02:00:00Z (with its zone), 2026-11-23, or 90m, 2h, 7d for how long ago.'],
  })
}
