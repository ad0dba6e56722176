import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { describeServer } from '../../src/mcp/client.ts'
import { toolsDigest } from '../../src/mcp/tools-digest.ts'

type Message = { readonly id?: number; readonly method: string; readonly params?: Record<string, unknown> }

let http: Server | undefined
afterEach(async () => {
  http?.closeAllConnections()
  await new Promise((done) => (http === undefined ? done(undefined) : http.close(done)))
  http = undefined
})

/** A server that answers with whatever it is told, honest or not. */
async function serving(
  answer: (message: Message, request: IncomingMessage, response: ServerResponse) => unknown,
): Promise<string> {
  http = createServer(async (request, response) => {
    if (request.method !== 'POST') return void response.writeHead(405).end()
    let text = ''
    for await (const chunk of request) text += chunk
    const message = JSON.parse(text) as Message
    if (message.id === undefined) return void response.writeHead(202).end()
    const result = answer(message, request, response)
    if (result === undefined) return
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(typeof result === 'string' ? result : JSON.stringify({ jsonrpc: '2.0', id: message.id, ...result }))
  })
  await new Promise<void>((done) => http?.listen(0, '127.0.0.1', done))
  return `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`
}

const hello = (more: object = {}) => ({
  result: {
    protocolVersion: '2025-06-18',
    capabilities: { tools: {} },
    serverInfo: { name: 'crm', version: '1.4.0' },
    ...more,
  },
})
const tool = (name: string, more: object = {}) => ({ name, inputSchema: { type: 'object' }, ...more })

/** Honest handshake, then these pages of tools. */
const pages =
  (list: (cursor: unknown) => unknown, more: object = {}) =>
  (message: Message) =>
    message.method === 'initialize' ? hello(more) : { result: list(message.params?.cursor) }

const describing = async (url: string, timeoutMs = 5000, signal = new AbortController().signal) =>
  await describeServer(url, { signal, timeoutMs })

describe('describeServer', () => {
  test('reads every page as it was sent, unknown keys included', async () => {
    const odd = tool('b', { annotations: { readOnlyHint: true, hidden: 'kept' }, extra: 1 })
    const url = await serving(
      pages((cursor) => (cursor === 'two' ? { tools: [tool('a')] } : { tools: [odd], nextCursor: 'two' }), {
        instructions: 'Be kind.',
      }),
    )
    expect(await describing(url)).toEqual({
      serverInfo: { name: 'crm', version: '1.4.0' },
      instructions: 'Be kind.',
      tools: [odd, tool('a')],
    })
  })

  test('a server without tools has none', async () => {
    const url = await serving((message) =>
      message.method === 'initialize'
        ? hello({ capabilities: {} })
        : { error: { code: -32601, message: 'no such method' } },
    )
    expect(await describing(url)).toMatchObject({ tools: [] })
  })

  test.each<[string, (cursor: unknown) => unknown]>([
    ['pages in circles', () => ({ tools: [], nextCursor: 'same' })],
    ['pages without end', (cursor) => ({ tools: [], nextCursor: `${Number(cursor ?? 0) + 1}` })],
    ['no tools', () => ({})],
    ['tools that are none', () => ({ tools: ['x', null] })],
    ['a tool without a name', () => ({ tools: [{ inputSchema: {} }] })],
    ['too many tools', () => ({ tools: Array.from({ length: 5001 }, (_, index) => tool(`${index}`)) })],
    ['too many bytes', () => ({ tools: [tool('a', { description: 'x'.repeat(17 * 1024 ** 2) })] })],
  ])('%s are refused', async (_, list) => {
    const url = await serving(pages(list))
    await expect(describing(url)).rejects.toMatchObject({ name: 'IrError', code: 'refused' })
  })

  test('an event stream that never ends is cut at the same bound', async () => {
    const url = await serving((message, _, response) => {
      if (message.method === 'initialize') return hello()
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      const more = () => {
        while (!response.destroyed && response.write(`: ${'x'.repeat(60_000)}\n\n`));
      }
      response.on('drain', more)
      more()
      return undefined
    })
    await expect(describing(url, 20_000)).rejects.toMatchObject({ code: 'refused' })
  })

  test.each<[string, (message: Message, request: IncomingMessage, response: ServerResponse) => unknown]>([
    ['is silent', () => undefined],
    [
      'never ends its answer',
      (_, __, response) => void response.writeHead(200, { 'content-type': 'application/json' }).write('{'),
    ],
  ])('a server that %s is unreachable once the time is over', async (_, answer) => {
    await expect(describing(await serving(answer), 300)).rejects.toMatchObject({ code: 'unreachable' })
  })

  test.each<[string, (message: Message, request: IncomingMessage, response: ServerResponse) => unknown]>([
    ['no JSON', () => 'not json'],
    ['an error', () => ({ error: { code: -32000, message: '\u001b[2Jno' } })],
    ['a redirect', (_, __, response) => void response.writeHead(307, { location: 'http://203.0.113.1/' }).end()],
    ['demands authorization', (_, __, response) => void response.writeHead(401).end('\u001b[31mlog in')],
  ])('%s for a handshake is unreachable, and what it says is made inert', async (_, answer) => {
    const error: unknown = await describing(await serving(answer)).catch((cause: unknown) => cause)
    expect(error).toMatchObject({ name: 'IrError', code: 'unreachable' })
    expect((error as Error).message).not.toMatch(/\p{C}/u)
  })

  test('a port where nobody listens is unreachable', async () => {
    const url = await serving(() => undefined)
    await new Promise((done) => http?.close(done))
    http = undefined
    await expect(describing(url)).rejects.toMatchObject({ code: 'unreachable' })
  })

  test('Ctrl-C interrupts it', async () => {
    const stop = new AbortController()
    const url = await serving(() => void stop.abort())
    await expect(describing(url, 5000, stop.signal)).rejects.toMatchObject({ code: 'interrupted' })
  })
})

describe('toolsDigest', () => {
  // Written down by hand, so that it cannot agree with itself alone.
  const digestOf = (text: string) => `sha256-${createHash('sha256').update(text).digest('base64')}`

  test('is the SHA-256 of the RFC 8785 form', () => {
    const tools = [
      { ...tool('b'), title: 'B', icons: ['left out'] },
      { inputSchema: { type: 'object', required: ['z', 'a'] }, name: 'a', description: 'Über', _meta: { n: 1.0 } },
      tool('B', { execution: {} }),
    ]
    expect(toolsDigest({ instructions: 'i', tools })).toBe(
      digestOf(
        '{"instructions":"i","tools":[{"inputSchema":{"type":"object"},"name":"B"},{"_meta":{"n":1},"description":"Über","inputSchema":{"required":["z","a"],"type":"object"},"name":"a"},{"inputSchema":{"type":"object"},"name":"b","title":"B"}]}',
      ),
    )
    expect(toolsDigest({ tools: [] })).toBe(digestOf('{"tools":[]}'))
    expect(toolsDigest({ instructions: '', tools: [] })).toBe(digestOf('{"instructions":"","tools":[]}'))
  })

  test('the order in which they are served does not count, one word of a description does', () => {
    const one = tool('one', { description: 'Reads a customer.' })
    const two = tool('two')
    const digest = toolsDigest({ tools: [one, two] })
    expect(toolsDigest({ tools: [two, one] })).toBe(digest)
    expect(toolsDigest({ tools: [{ ...one, description: 'Reads a client.' }, two] })).not.toBe(digest)
    expect(toolsDigest({ tools: [{ ...one, annotations: { hidden: 'x' } }, two] })).not.toBe(digest)
  })

  test.each([
    ['two tools of one name', [tool('a'), tool('b'), tool('a', { description: 'other' })]],
    ['half a character', [tool('a', { description: '\ud800' })]],
    ['a number beyond JSON', [tool('a', { _meta: JSON.parse('{"n":1e999}') })]],
  ])('%s is refused', (_, tools) => {
    expect(() => toolsDigest({ tools })).toThrow(expect.objectContaining({ code: 'refused' }))
  })
})
