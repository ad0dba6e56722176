import type { Head } from './port.ts'

/** Reads a head that somebody else wrote; undefined when it is none, or one of another case. */
export function readHead(value: unknown, caseId: string): Head | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { case: id, seq, hash, at } = value as Record<string, unknown>
  if (id !== caseId || typeof seq !== 'number' || !Number.isSafeInteger(seq) || seq < 1) return undefined
  if (typeof hash !== 'string' || !/^[0-9a-f]{64}$/.test(hash)) return undefined
  if (typeof at !== 'string' || Number.isNaN(Date.parse(at))) return undefined
  return { case: id, seq, hash, at }
}
