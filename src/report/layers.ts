import { safe } from '../ui/safe-text.ts'
import { colours } from './charts.ts'
import { type Html, html, trusted } from './escape.ts'
import { count } from './words.ts'

/**
 * A graph that reads from left to right in columns, drawn as SVG: the same input gives the same bytes, nothing in it runs,
 * and what is too much for a column is folded into one box that says how much it stands for. Every text stands in a box of
 * its own, cut to the width of the box, so that no two can overlap.
 */
export interface Layered {
  /** Begins the ids of this drawing; unique in the page. */
  readonly id: string
  readonly title: string
  readonly description: string
  /** What stands over each column. */
  readonly columns: readonly string[]
  readonly nodes: readonly GraphNode[]
  readonly edges: readonly GraphEdge[]
}

export interface GraphNode {
  readonly id: string
  readonly column: number
  readonly name: string
  /** In small letters under the name. */
  readonly detail?: string
  /** `suspect`: bad as far as seen. `unsure`: nobody could see. `hub`: where following ended. */
  readonly look: 'root' | 'plain' | 'means' | 'suspect' | 'unsure' | 'hub'
  /** What goes first when there is not room for all. */
  readonly rank: number
}

export interface GraphEdge {
  readonly from: string
  readonly to: string
  /** Not seen, only concluded. */
  readonly inferred?: boolean
}

const width = 1040
/** Boxes of one column, the one for the folded ones included. */
const mostRows = 12
/** Room at both sides for the thickness of a line. */
const margin = 2
const box = { height: 46, gap: 12, most: 250, padding: 12 }
const between = 40
const heading = 30
const sizes = { name: 14, detail: 12 }

interface Placed extends GraphNode {
  readonly folded: number
  readonly x: number
  readonly y: number
}

export function layered({ id, title, description, columns, nodes, edges }: Layered): Html {
  const { kept, standsFor } = fold(nodes)
  const joined = merge(edges, standsFor)
  const inside = width - 2 * margin
  const wide = Math.min(box.most, (inside - between * (columns.length - 1)) / columns.length)
  const space = columns.length === 1 ? 0 : (inside - wide * columns.length) / (columns.length - 1)
  const left = (column: number) => margin + column * (wide + space)
  const placed = place(kept, joined, columns.length, left)
  // Those of the folded boxes lie below: they are many, and say little.
  const [aside, named] = [joined.filter(({ folded }) => folded), joined.filter(({ folded }) => !folded)]
  const bottom = Math.max(...[...placed.values()].map(({ y }) => y + box.height))
  return html`<svg class="chart graph" viewBox="0 0 ${width} ${Math.ceil(bottom) + 2}" role="img" aria-labelledby="${id}-title ${id}-text" xmlns="http://www.w3.org/2000/svg" font-family="system-ui, sans-serif">
<title id="${id}-title">${title}</title>
<desc id="${id}-text">${description}</desc>
${columns.map((name, column) => html`<text x="${round(left(column))}" y="16" font-size="${sizes.detail}" font-weight="bold" fill="${colours.muted}">${cutTo(name, wide, sizes.detail)}</text>\n`)}
${[...aside, ...named].map((edge) => line(edge, placed, wide))}
${[...placed.values()].map((node) => boxed(node, wide))}</svg>`
}

/** The first of each column by rank; the others become one. */
function fold(nodes: readonly GraphNode[]) {
  const kept: (GraphNode & { readonly folded: number })[] = []
  const standsFor = new Map<string, string>()
  for (const column of new Set(nodes.map((node) => node.column))) {
    const all = nodes.filter((node) => node.column === column).sort(byRank)
    const shown = all.length <= mostRows ? all : all.slice(0, mostRows - 1)
    kept.push(...shown.map((node) => ({ ...node, folded: 0 })))
    for (const { id } of shown) standsFor.set(id, id)
    const rest = all.slice(shown.length)
    const [first] = rest
    if (first === undefined) continue
    const id = `more ${column}`
    for (const node of rest) standsFor.set(node.id, id)
    kept.push({
      id,
      column,
      name: `and ${count(rest.length)} more`,
      detail: 'in the tables',
      look: first.look === 'suspect' ? 'suspect' : 'plain',
      rank: Number.NEGATIVE_INFINITY,
      folded: rest.length,
    })
  }
  return { kept, standsFor }
}

function byRank(a: GraphNode, b: GraphNode): number {
  return b.rank - a.rank || (a.id < b.id ? -1 : 1)
}

interface Joined {
  readonly from: string
  readonly to: string
  readonly inferred: boolean
  readonly lines: number
  /** One of its ends stands for many. */
  readonly folded: boolean
}

/** Edges between the boxes that are drawn, each pair once. */
function merge(edges: readonly GraphEdge[], standsFor: ReadonlyMap<string, string>): readonly Joined[] {
  const joined = new Map<string, Joined>()
  for (const edge of edges) {
    const from = standsFor.get(edge.from)
    const to = standsFor.get(edge.to)
    if (from === undefined || to === undefined) continue
    const key = JSON.stringify([from, to])
    const known = joined.get(key)
    const inferred = edge.inferred === true && (known?.inferred ?? true)
    const folded = from !== edge.from || to !== edge.to
    joined.set(key, { from, to, inferred, folded, lines: (known?.lines ?? 0) + 1 })
  }
  return [...joined.values()]
}

/** Each box beside those that lead to it, as far as there is room; the folded ones stand last. */
function place(
  nodes: readonly (GraphNode & { readonly folded: number })[],
  edges: readonly Joined[],
  columns: number,
  left: (column: number) => number,
): ReadonlyMap<string, Placed> {
  const placed = new Map<string, Placed>()
  const rows = Math.max(
    ...Array.from({ length: columns }, (_, column) => nodes.filter((node) => node.column === column).length),
  )
  const pitch = box.height + box.gap
  for (let column = 0; column < columns; column += 1) {
    const weight = (id: string): number => {
      const before = edges.flatMap(({ from, to }) => (to === id ? (placed.get(from)?.y ?? []) : []))
      return before.length === 0 ? 0 : before.reduce((sum, y) => sum + y, 0) / before.length
    }
    const all = nodes
      .filter((node) => node.column === column)
      .map((node) => ({ node, weight: node.folded > 0 ? Number.POSITIVE_INFINITY : weight(node.id) }))
      .sort((a, b) => (a.weight === b.weight ? byRank(a.node, b.node) : a.weight - b.weight))
    const top = heading + ((rows - all.length) * pitch) / 2
    for (const [row, { node }] of all.entries()) placed.set(node.id, { ...node, x: left(column), y: top + row * pitch })
  }
  return placed
}

function line({ from, to, inferred, lines, folded }: Joined, placed: ReadonlyMap<string, Placed>, wide: number): Html {
  const [a, b] = [placed.get(from), placed.get(to)]
  if (a === undefined || b === undefined) return html``
  const [x1, y1, x2, y2] = [a.x + wide, a.y + box.height / 2, b.x, b.y + box.height / 2]
  const bend = (x2 - x1) / 2
  const path = `M${round(x1)} ${round(y1)}C${round(x1 + bend)} ${round(y1)} ${round(x2 - bend)} ${round(y2)} ${round(x2)} ${round(y2)}`
  const thick = Math.min(4, 1.2 + Math.log2(lines) * 0.4)
  return html`<path d="${path}" fill="none" stroke="${folded ? colours.line : colours.muted}" stroke-width="${round(thick)}"${inferred && trusted(' stroke-dasharray="5 4"')}/>\n`
}

const looks = {
  root: { bar: colours.attacker, edge: colours.attacker, thick: 2, dash: '' },
  means: { bar: colours.system, edge: colours.line, thick: 1, dash: '' },
  plain: { bar: colours.line, edge: colours.line, thick: 1, dash: '' },
  suspect: { bar: colours.attacker, edge: colours.line, thick: 1, dash: '' },
  unsure: { bar: colours.failed, edge: colours.failed, thick: 1.2, dash: '4 3' },
  hub: { bar: colours.failed, edge: colours.failed, thick: 2, dash: '' },
} as const

function boxed(node: Placed, wide: number): Html {
  const { bar, edge, thick, dash } = looks[node.look]
  const { x, y, name, detail } = node
  const room = wide - box.padding * 2
  const middle = y + box.height / 2
  return html`<g><title>${name}${detail !== undefined && `: ${detail}`}</title>
<rect x="${round(x)}" y="${round(y)}" width="${round(wide)}" height="${box.height}" rx="5" fill="${colours.paper}" stroke="${edge}" stroke-width="${thick}"${dash !== '' && trusted(` stroke-dasharray="${dash}"`)}/>
<rect x="${round(x)}" y="${round(y)}" width="5" height="${box.height}" rx="2" fill="${bar}"/>
<text x="${round(x + box.padding)}" y="${round(detail === undefined ? middle + 5 : middle - 4)}" font-size="${sizes.name}" font-weight="${node.look === 'root' ? 'bold' : 'normal'}" fill="${colours.ink}">${cutTo(name, room, sizes.name)}</text>
${detail !== undefined && html`<text x="${round(x + box.padding)}" y="${round(middle + 14)}" font-size="${sizes.detail}" fill="${colours.muted}">${cutTo(detail, room, sizes.detail)}</text>`}</g>\n`
}

/** Cut in the middle, as names of one company begin alike, and end alike. */
function cutTo(text: string, room: number, size: number): string {
  const whole = [...safe(text.slice(0, 300))]
  if (widthOf(whole, size) <= room) return whole.join('')
  for (let kept = Math.min(whole.length - 1, 200); kept > 1; kept -= 1) {
    const head = Math.ceil(kept * 0.6)
    const cut = [...whole.slice(0, head), '…', ...whole.slice(whole.length - (kept - head))]
    if (widthOf(cut, size) <= room) return cut.join('')
  }
  return '…'
}

/** Rather too wide than too narrow: no font is at hand that could be asked. In the drawing's units. */
function widthOf(characters: readonly string[], size: number): number {
  let sum = 0
  for (const character of characters) {
    if (/[ijlt.,:;|!'()[\] ]/.test(character)) sum += 0.4
    else if (/[a-ln-vx-z0-9_\-/=+*?"…→·]/.test(character)) sum += 0.64
    else sum += /[\x21-\x7e]/.test(character) ? (/[mwMW@%]/.test(character) ? 1 : 0.78) : 1.1
  }
  return sum * size
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
