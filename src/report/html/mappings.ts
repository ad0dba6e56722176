import { type Html, html } from '../escape.ts'
import type { Mapping, Report } from '../model.ts'
import { table } from './parts.ts'

export function mappings({ mappings: rows }: Report): Html {
  const frameworks = [...new Set(rows.map(({ framework }) => framework))]
  return html`${frameworks.map((framework) =>
    one(
      framework,
      rows.filter((row) => row.framework === framework),
    ),
  )}`
}

function one(framework: string, rows: readonly Mapping[]): Html {
  return html`<h3>${framework}</h3>${table(
    '',
    [
      { label: 'Category', kind: 'word' },
      { label: 'Name', kind: 'text' },
      { label: 'In this case', kind: 'text' },
    ],
    rows.map(({ id, name, shown }) => [
      id,
      name,
      shown.length === 0 ? html`<span class="small">no mapping</span>` : shown.join('; '),
    ]),
  )}`
}
