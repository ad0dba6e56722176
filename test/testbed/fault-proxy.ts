import { once } from 'node:events'
import { Agent, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'

/** One request, as it went over the wire. */
export interface ProxiedCall {
  readonly method: string
  /** With its query. */
  readonly path: string
  /** Parsed JSON; undefined when it is none. */
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into it and fails where it is not as expected
  readonly body: any
}

/**
 * What goes wrong: `throttled`, `5xx` and `denied` are answered without reaching the server, `reset-before` is cut off before, and
 * `lost` and `reset-after` once the server has done it.
 */
type HttpFault = 'throttled' | '5xx' | 'denied' | 'reset-before' | 'reset-after' | 'lost' | undefined

export interface FaultProxy {
  readonly url: string
  readonly calls: ProxiedCall[]
  /** Asked for every request; replace it as you like. */
  fault: (call: ProxiedCall) => HttpFault
  /** Answers as another server would have: for what no real one can be brought to say. */
  rewrite: ((call: ProxiedCall, answer: string) => string) | undefined
  readonly stop: () => Promise<void>
}

const statuses = { throttled: 429, '5xx': 500, denied: 403 } as const

/** Stands in front of an HTTP server on loopback, records every request, and lets go wrong what a test wants to go wrong. */
export async function startFaultProxy(upstream: string): Promise<FaultProxy> {
  const agent = new Agent({ keepAlive: true })
  const server = createServer((incoming, outgoing) => {
    void (async () => {
      const sent = await buffer(incoming)
      const call: ProxiedCall = { method: incoming.method ?? '', path: incoming.url ?? '/', body: parsed(sent) }
      proxy.calls.push(call)
      const fault = proxy.fault(call)
      if (fault === 'reset-before') return void incoming.socket.destroy()
      if (fault === 'throttled' || fault === '5xx' || fault === 'denied') {
        outgoing.writeHead(statuses[fault], { 'content-type': 'application/json' })
        outgoing.end(JSON.stringify({ errors: [`made by the test: ${fault}`] }))
        return
      }
      const { host: _host, connection: _connection, 'transfer-encoding': _encoding, ...headers } = incoming.headers
      headers['content-length'] = `${sent.length}`
      const passed = request(
        new URL(incoming.url ?? '/', upstream),
        { method: incoming.method ?? 'GET', headers, agent },
        (response) => {
          const { rewrite } = proxy
          if (fault === undefined && rewrite !== undefined) {
            void buffer(response).then((answer) => {
              const { 'content-length': _length, 'transfer-encoding': _coding, ...others } = response.headers
              outgoing.writeHead(response.statusCode ?? 502, others)
              outgoing.end(rewrite(call, answer.toString('utf8')))
            })
            return
          }
          if (fault === undefined) {
            outgoing.writeHead(response.statusCode ?? 502, response.headers)
            response.pipe(outgoing)
            return
          }
          response.resume().on('end', () => incoming.socket.destroy())
        },
      )
      passed.on('error', () => incoming.socket.destroy())
      passed.end(sent)
    })().catch(() => incoming.socket.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxy: FaultProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls: [],
    fault: () => undefined,
    rewrite: undefined,
    stop: async () => {
      agent.destroy()
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  return proxy
}

function parsed(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
}
