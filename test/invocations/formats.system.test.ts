import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { filesInvocations } from '../../src/invocations/files.ts'
import type { Reviewed, TrailRecord } from '../../src/invocations/port.ts'

const window = { since: '2026-11-20T00:00:00.000Z', until: '2026-11-21T00:00:00.000Z' }
const signal = new AbortController().signal
const touched = { tools: ['save_note'], paths: ['params.id'] }

/** What the small log of each format says, written for us after the format's documentation: two calls of crm, one of notes. */
const expected = {
  ecs: {
    names: ['io.acme/crm'],
    tools: [{ tool: 'lookup', calls: 2, failed: 1, rows: 2 }],
    callers: ['copilot'],
    own: [
      { call: false, list: true, user: 'ann', trace: 't-1', took: 2 },
      { call: true, id: 'e-2', agent: 'copilot', user: 'ann', trace: 't-1', address: '10.0.0.7', took: 1500 },
      { call: true, id: 'e-3', user: 'bob', trace: 't-2', address: '10.0.0.8' },
    ],
    other: { server: 'io.acme/notes', id: 'e-4', user: 'ann', trace: 't-1', values: ['n-1'] },
    gaps: [/does not carry: session/, /no session of MCP/],
  },
  'docker-gateway': {
    names: ['io.acme/crm'],
    tools: [{ tool: 'lookup', calls: 2, failed: 1 }],
    callers: ['copilot'],
    own: [
      { call: false, list: false, session: 's-1' },
      { call: true, agent: 'copilot', user: 'ann', session: 's-1', trace: 't-1' },
      { call: true, user: 'u-2', session: 's-2', trace: undefined },
    ],
    other: { server: 'io.acme/notes', session: 's-1', trace: 't-2', values: [null] },
    gaps: [
      /does not carry: address, durationMs, params, response/,
      /may have failed/,
      /drops what is more/,
      /Without a word on whether the call succeeded: 1 of 2/,
    ],
  },
  'context-forge': {
    names: ['io.acme/crm', 'gw-crm'],
    tools: [{ tool: 'lookup', calls: 2, failed: 1 }],
    callers: ['copilot/1.4', 'unknown'],
    own: [
      { call: true, id: 'p-1', trace: 't-1', took: 1500 },
      { call: true, id: 'a-2', user: 'bob@acme.example', trace: 't-2', address: '10.0.0.8' },
    ],
    other: { server: 'gw-notes', id: 'p-3', trace: 't-1', values: [null] },
    gaps: [/does not carry: session, params, response/, /by the id of their gateway/, /do not say who called/],
  },
  agentgateway: {
    names: ['io.acme/crm'],
    tools: [{ tool: 'lookup', calls: 2, failed: 1 }],
    callers: ['ann', 'bob'],
    own: [
      { call: false, list: true, session: 's-1' },
      { call: true, id: 'p-1', user: 'ann', session: 's-1', trace: 't-1', address: '10.0.0.7', took: 0 },
      { call: true, id: 'p-2', user: 'bob', session: 's-2', address: '2001:db8::7' },
    ],
    other: { server: 'io.acme/notes', session: 's-1', trace: 't-3', values: [null] },
    gaps: [/does not carry: agent, durationMs, params, response/, /its times are ends/, /counts a tool that answered/],
  },
} as const

// By the query and, as if each line were too long for it, one by one.
describe.each([
  ['by query', undefined],
  ['line by line', 1],
])('log formats, %s', (_, oneByOne) => {
  it.each(Object.entries(expected))('%s', async (format, { names, tools, callers, own, other, gaps }) => {
    const path = join(import.meta.dirname, 'formats', `${format}.ndjson`)
    const log = filesInvocations({ kind: 'files', path, format }, () => new Date('2026-11-26'), { oneByOne })
    expect(await log.check(signal)).toEqual([])
    const reviewed = await log.review([...names], window, signal, touched)
    try {
      const { review } = reviewed
      expect(review.tools).toMatchObject(tools)
      expect(review.callers.map(({ caller }) => caller).sort()).toEqual([...callers])
      expect(reviewed.unread).toEqual([])
      for (const gap of gaps) expect(review.gaps.join('\n')).toMatch(gap)
      const records = await trailOf(reviewed)
      expect(records).toHaveLength(own.length + 1)
      expect(records).toMatchObject([...own.map((record) => ({ ...record, own: true })), { ...other, own: false }])
    } finally {
      await reviewed.close()
    }
  })
})

async function trailOf(reviewed: Reviewed): Promise<(TrailRecord & { took: number })[]> {
  const records: (TrailRecord & { took: number })[] = []
  for await (const piece of reviewed.trail('all')) {
    records.push(...piece.map((record) => ({ ...record, took: (record.ends - record.time) / 1000 })))
  }
  return records
}
