import type { InvocationsConfig } from '../config.ts'
import { safe } from '../ui/safe-text.ts'
import { exportOf } from './engine/export.ts'
import { ingest, type ReadingWays } from './engine/ingest.ts'
import { type Log, lookInto, reviewOf } from './engine/review.ts'
import { seenIn } from './engine/seen.ts'
import { findFiles } from './engine/sources.ts'
import { sourceFormat } from './formats/index.ts'
import type { Invocations } from './port.ts'

type FilesConfig = Extract<InvocationsConfig, { kind: 'files' }>

/**
 * Invocation logs in files on this machine: NDJSON, plain or packed with gzip, read by an embedded DuckDB.
 *
 * @param ways for tests: ways to read that a log of some hundred lines does not meet
 */
export function filesInvocations(config: FilesConfig, now: () => Date, ways: ReadingWays = {}): Invocations {
  const log: Log = { config, name: config.path, format: sourceFormat(config), ways }
  const review: Invocations['review'] = async (names, window, signal, touched = { tools: [], paths: [] }) => {
    const files = await findFiles(config.path)
    return reviewOf(log, { names, window, touched, now }, signal, async (job) => {
      const { sources, problems, gaps } = await ingest(job, files)
      return { sources, problems: files.length === 0 ? [...problems, noFiles(config)] : problems, gaps }
    })
  }
  return {
    check: (signal) => check(log, config, signal),
    review,
    async *export(names, window, signal, after) {
      const reviewed = await review(names, window, signal, { tools: [], paths: [], trail: false })
      try {
        yield* exportOf(reviewed.raw, after)
      } finally {
        await reviewed.close()
      }
    },
  }
}

async function check(log: Log, config: FilesConfig, signal: AbortSignal): Promise<readonly string[]> {
  const files = await findFiles(config.path)
  if (files.length === 0) return [noFiles(config)]
  return lookInto(log, signal, async (job) => {
    const { problems, sources } = await ingest(job, files)
    return sources.length === 0 ? problems : [...problems, ...(await seenIn(job))]
  })
}

function noFiles(config: FilesConfig): string {
  return `No log file matches ${safe(config.path)}: nothing could be read.`
}
