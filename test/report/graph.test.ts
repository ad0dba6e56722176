import { describe, expect, it } from 'vitest'
import { reachGraph, spreadGraph } from '../../src/report/graph.ts'
import { hostile } from './hostile.ts'
import { radiusOf } from './radius.ts'

const boxes = (svg: string) => [...svg.matchAll(/<g><title>([^<]*)<\/title>/g)].map(([, name]) => name)
const drawings = (boxesWanted: number, t?: (plain: string) => string) => {
  const radius = radiusOf(boxesWanted, t)
  return [reachGraph('io.acme/crm', radius)?.markup ?? '', spreadGraph('io.acme/crm', radius)?.markup ?? '']
}

describe('the drawings of a blast radius', () => {
  it('show the server, its credentials and what they open, with what the log shows of it', () => {
    const [reach = ''] = drawings(5)
    expect(boxes(reach)).toEqual([
      'io.acme/crm: compromised',
      'credential-0',
      'credential-1',
      'system-0.prod.eu-central-1.acme.example: 168,213 rows seen',
      'system-2.prod.eu-central-1.acme.example: read-write · no visibility',
      'system-1.prod.eu-central-1.acme.example: write · no call seen',
    ])
    expect(reach.match(/<path /g)).toHaveLength(5)
  })

  it('fold what is too much, say how much it is, and never fold a hub', () => {
    const [reach = '', spread = ''] = drawings(500)
    for (const drawing of [reach, spread]) {
      expect(boxes(drawing).length).toBeLessThanOrEqual(1 + 4 * 12)
      const listed = boxes(drawing).filter((name) => /^and [\d,]+ more/.test(name ?? ''))
      expect(listed).toHaveLength(4)
    }
    expect(boxes(spread)).toContain('account svc-agents: hub of 40,000 contexts')
    const systems = radiusOf(500).couldReach.filter(({ way = [] }) => way.length === 1).length
    // A third of what stands in this column are stores on the way, the worst eleven are shown.
    expect(reach).toContain(`and ${systems + 100 - 11} more`)
  })

  it('are the same bytes each time', () => {
    expect(drawings(500)).toEqual(drawings(500))
  })

  it('are not there when there is nothing to draw', () => {
    const nothing = { ...radiusOf(5), couldReach: [], suspect: [], hubs: [] }
    expect(reachGraph('crm', nothing)).toBeUndefined()
    expect(spreadGraph('crm', nothing)).toBeUndefined()
  })

  it('hold hostile names as text', () => {
    for (const text of hostile) {
      for (const drawing of drawings(5, (plain) => `${text} ${plain}`)) {
        const tags = new Set([...drawing.matchAll(/<\/?([a-z]+)/g)].map(([, tag]) => tag))
        expect(
          [...tags].filter((tag) => !['svg', 'title', 'desc', 'g', 'rect', 'text', 'path'].includes(tag ?? '')),
        ).toEqual([])
        expect(drawing).not.toMatch(/[^\P{C}\n]/u)
        expect(drawing).not.toMatch(/<[^>]* (?:on\w+|style|href)=/)
      }
    }
  })
})
