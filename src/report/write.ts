import { mkdirSync } from 'node:fs'
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
import { renderTimesketch } from './timesketch.ts'

/** One text or absolute path per format. */
export interface PerFormat {
  readonly html: string
  readonly md: string
  readonly json: string
}

/** A report as it would be written now. */
export interface CaseReport {
  readonly text: PerFormat
  /** For import into Timesketch; not among the files. */
  readonly timesketch: string
  /** Where `write` puts it: `report/report.{html,md,json}` in the case folder, or `redacted.…` there. */
  readonly paths: PerFormat
  /**
   * Each file whole or not at all, mode 0600. Appends nothing to the journal.
   * @throws IrError partial when a file cannot be written
   */
  readonly write: () => PerFormat
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
  const text = { html: renderHtml(report), md: renderMarkdown(report), json: renderJson(report) }
  const paths = {
    html: join(target, `${name}.html`),
    md: join(target, `${name}.md`),
    json: join(target, `${name}.json`),
  }
  return { text, timesketch: renderTimesketch(report), paths, write: () => write(target, text, paths) }
}

function write(target: string, text: PerFormat, paths: PerFormat): PerFormat {
  try {
    mkdirSync(target, { recursive: true, mode: 0o700 })
    for (const format of ['html', 'md', 'json'] as const) writeAtomically(paths[format], text[format])
  } catch (error) {
    if (systemCode(error) === undefined) throw error
    throw new IrError('partial', `The report could not be written to ${target} (${systemCode(error)}).`, {
      hints: ['The case is complete without it: make room, then run `mcp-ir report`.'],
      cause: error,
    })
  }
  return paths
}
