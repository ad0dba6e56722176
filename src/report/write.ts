import { mkdirSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { readCase } from '../case/case.ts'
import type { Line } from '../case/events.ts'
import { writeAtomically } from '../case/evidence.ts'
import { IrError, systemCode } from '../errors.ts'
import { buildReport, type Wanted } from './build.ts'
import { renderHtml } from './html.ts'
import { renderJson } from './json.ts'
import { renderMarkdown } from './markdown.ts'
import type { Report } from './model.ts'
import { renderTimesketch } from './timesketch.ts'

/** The files, by format. */
export interface Files {
  readonly html: string
  readonly md: string
  readonly json: string
}

/** `timesketch` is for import there; it is not among the files. */
export type Format = keyof Files | 'timesketch'

/** A report as it would be written now. */
export interface CaseReport {
  /** Drawn only when it is asked for: a long report in every format at once takes much memory. */
  readonly text: (format: Format) => string
  /** Where `write` puts it: `report/report.{html,md,json}` in the case folder, or `redacted.…` there. Absolute. */
  readonly paths: Files
  /**
   * Each file whole or not at all, mode 0600. Appends nothing to the journal.
   * @throws IrError partial when a file cannot be written
   */
  readonly write: () => Files
  /** Whether `write` would change nothing: every file lies there with just these bytes. */
  readonly written: () => boolean
}

const renderers: Readonly<Record<Format, (report: Report) => string>> = {
  html: renderHtml,
  md: renderMarkdown,
  json: renderJson,
  timesketch: renderTimesketch,
}

/**
 * The report of a case as it lies on disk.
 * @param stored its folder, and the journal's lines where they were read already
 * @throws IrError refused when the journal is damaged
 */
export async function reportOf(
  stored: { readonly folder: string; readonly lines?: readonly Line[] },
  wanted: Wanted,
): Promise<CaseReport> {
  const { folder, lines = (await readCase(folder)).lines } = stored
  const report = await buildReport({ lines, read: (sha256) => readFile(join(folder, 'evidence', sha256)) }, wanted)
  const target = resolve(folder, 'report')
  // Beside the whole one, never in its place.
  const name = wanted.redacted === true ? 'redacted' : 'report'
  const paths = {
    html: join(target, `${name}.html`),
    md: join(target, `${name}.md`),
    json: join(target, `${name}.json`),
  }
  const text = (format: Format) => renderers[format](report)
  const written = () => each.every((format) => contentOf(paths[format]) === text(format))
  return { text, paths, write: () => write(target, text, paths), written }
}

const each = ['html', 'md', 'json'] as const

function contentOf(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
}

function write(target: string, text: CaseReport['text'], paths: Files): Files {
  try {
    mkdirSync(target, { recursive: true, mode: 0o700 })
    for (const format of each) writeAtomically(paths[format], text(format))
  } catch (error) {
    if (systemCode(error) === undefined) throw error
    throw new IrError('partial', `The report could not be written to ${target} (${systemCode(error)}).`, {
      hints: ['The case is complete without it: make room, then run `mcp-ir report`.'],
      cause: error,
    })
  }
  return paths
}
