import { type Html, html } from '../escape.ts'
import type { Report } from '../model.ts'
import { range } from '../notice-content.ts'
import { bullets, table } from './parts.ts'

export function concerned({ concerned: data }: Report): Html {
  return html`${data.told.length > 0 && html`<h3>As people said</h3>${bullets(data.told, '')}`}
${
  data.classes.length === 0
    ? html`<p>No class of data is known to be concerned.</p>`
    : table(
        '',
        [
          { label: 'Data' },
          { label: 'Held by' },
          { label: 'Records', kind: 'text' },
          { label: 'People', kind: 'text' },
          { label: 'Remark', kind: 'text' },
        ],
        data.classes.map((one) => [
          one.data,
          one.systems.length === 0 ? '–' : one.systems.join(', '),
          range(one.records),
          range(one.people),
          one.note ?? '–',
        ]),
      )
}
<h3>How this was counted</h3>
${bullets(data.method, '')}`
}
