import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { receiptsName } from '../case/files.ts'
import type { JsonObject } from '../change.ts'
import { systemCode } from '../errors.ts'
import { readHead } from './head.ts'
import type { Head } from './port.ts'

/** One try to anchor a head: what the anchor answered, or why it did not. */
export interface Attempt {
  /** Name of the anchor. */
  readonly anchor: string
  readonly at: string
  readonly head: Head
  readonly receipt?: JsonObject
  readonly failed?: string
}

/**
 * Beside the journal and outside of its chain: a line about a head would move the head.
 * @throws Node system error when it cannot be written
 */
export function appendAttempt(folder: string, attempt: Attempt): void {
  const path = join(folder, receiptsName)
  // After a crash in the middle of a line the next one begins on a line of its own.
  const torn = textOf(path).at(-1)
  const file = openSync(path, 'a', 0o600)
  try {
    writeSync(file, `${torn === undefined || torn === '\n' ? '' : '\n'}${JSON.stringify(attempt)}\n`)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

/** What the side file of a case tells, oldest first. */
export function readAttempts(folder: string, caseId: string): readonly Attempt[] {
  return parseAttempts(textOf(join(folder, receiptsName)), caseId)
}

/** What was anchored last, and whether the try after it failed; undefined where there was none. */
export function lastAnchored(folder: string, caseId: string) {
  const attempts = readAttempts(folder, caseId)
  const { anchor, at, head } = attempts.findLast(({ receipt }) => receipt !== undefined) ?? {}
  const { failed } = attempts.at(-1) ?? {}
  if (attempts.length === 0) return undefined
  return { anchor: anchor ?? null, at: at ?? null, upTo: head?.seq ?? null, failed: failed ?? null }
}

/** Lines that are none (a write that was cut short) tell nothing. */
export function parseAttempts(text: string, caseId: string): readonly Attempt[] {
  return text.split('\n').flatMap((line): Attempt | [] => {
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch {
      return []
    }
    if (typeof value !== 'object' || value === null) return []
    const { anchor, at, head: written, receipt, failed } = value as Record<string, unknown>
    const head = readHead(written, caseId)
    if (head === undefined || typeof anchor !== 'string' || typeof at !== 'string') return []
    if (typeof failed === 'string') return { anchor, at, head, failed }
    return typeof receipt === 'object' && receipt !== null ? { anchor, at, head, receipt: receipt as JsonObject } : []
  })
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return ''
    throw error
  }
}
