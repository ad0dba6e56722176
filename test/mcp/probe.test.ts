import { once } from 'node:events'
import { createServer as createHttp } from 'node:http'
import { type AddressInfo, createServer as createTcp, type Server, type Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { answersMcp } from '../../src/mcp/probe.ts'

const open: { server: Server; sockets: Set<Socket> }[] = []
afterEach(() => {
  for (const { server, sockets } of open.splice(0)) {
    for (const socket of sockets) socket.destroy()
    server.close()
  }
})

async function listen(server: Server): Promise<string> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => sockets.add(socket))
  open.push({ server, sockets })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`
}
const ask = (url: string, timeoutMs = 5000, signal = new AbortController().signal) =>
  answersMcp(url, { timeoutMs, signal })

describe('does anything answer MCP requests', () => {
  it.each([200, 400, 401, 404, 500, 302])('yes, with HTTP %i', async (status) => {
    const asked: string[] = []
    const url = await listen(
      createHttp((request, response) => {
        let body = ''
        request.on('data', (chunk) => {
          body += chunk
        })
        request.on('end', () => {
          asked.push(JSON.parse(body).method)
          response.writeHead(status, { location: 'http://192.0.2.1/' })
          response.write('never ends')
        })
      }),
    )
    expect(await ask(url)).toEqual({ answers: true, seen: `HTTP ${status}` })
    expect(asked).toEqual(['initialize'])
  })

  it('yes, when it is not even HTTP', async () => {
    const url = await listen(createTcp((socket) => socket.end('\x1b[31mwhatever\n')))
    expect(await ask(url)).toEqual({ answers: true, seen: expect.stringMatching(/^no valid HTTP \(HPE_[A-Z_]+\)$/) })
    // TLS asked of somebody who speaks none.
    const plain = await listen(createTcp((socket) => socket.end('hello\n')))
    expect((await ask(plain.replace('http:', 'https:'))).answers).toBe(true)
  })

  it('no, when nobody listens, hangs up or says nothing', async () => {
    const closed = await listen(createTcp())
    open.splice(0).map(({ server }) => server.close())
    expect(await ask(closed)).toEqual({ answers: false, seen: 'ECONNREFUSED' })
    const rude = await listen(createTcp((socket) => socket.resetAndDestroy()))
    expect(await ask(rude)).toEqual({ answers: false, seen: 'ECONNRESET' })
    const silent = await listen(createTcp(() => {}))
    expect(await ask(silent, 50)).toEqual({ answers: false, seen: 'nothing within 50 ms' })
  })

  it('is not known when the question was not asked', async () => {
    await expect(ask('file:///etc/passwd')).rejects.toMatchObject({ code: 'input' })
    await expect(ask('nonsense')).rejects.toMatchObject({ code: 'input' })
    await expect(ask('http://127.0.0.1:1/', 50, AbortSignal.abort())).rejects.toMatchObject({ code: 'interrupted' })
    const silent = await listen(createTcp(() => {}))
    const controller = new AbortController()
    const asked = ask(silent, 5000, controller.signal)
    controller.abort()
    await expect(asked).rejects.toMatchObject({ code: 'interrupted' })
  })
})
