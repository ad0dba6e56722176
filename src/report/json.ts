import { json } from './escape.ts'
import type { Report } from './model.ts'

/** The report as data. Keys in the order of the model, so the same report gives the same bytes. */
export function renderJson(report: Report): string {
  return json(report)
}
