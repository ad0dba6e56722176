import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'

/** One call to AWS, as it went over the wire. */
interface AwsCall {
  /** `ec2`, `autoscaling` … by the signature. */
  readonly service: string
  readonly region: string
  readonly action: string
  readonly params: URLSearchParams
  /** As it was sent: JSON for services that speak it. */
  readonly body: string
  /** Whether it changes something: all but questions, and questions are also those with DryRun. */
  readonly changes: boolean
}

/**
 * What goes wrong with a call: `throttle` and `error` are answered without reaching the emulator, `reset` is cut off
 * before, `lost` after the change was made; `hang` is never answered; a code is denied with it, a recorded answer is given
 * as it is.
 */
export type Fault =
  | 'throttle'
  | 'error'
  | 'reset'
  | 'lost'
  | 'hang'
  | { readonly deny: string }
  | { readonly xml: string }
  | { readonly json: unknown }
  | undefined

export interface RecordingProxy {
  /** For AWS_ENDPOINT_URL. */
  readonly url: string
  readonly calls: AwsCall[]
  /** Asked for every call; replace it as you like. */
  fault: (call: AwsCall) => Fault
  readonly stop: () => Promise<void>
}

/** Stands in front of an emulator on loopback, records every call, and lets go wrong what a test wants to go wrong. */
export async function startRecordingProxy(upstream: string): Promise<RecordingProxy> {
  const server = createServer((incoming, outgoing) => {
    void (async () => {
      const body = await buffer(incoming)
      const params = new URLSearchParams(body.toString('utf8'))
      const [, region = '', service = ''] =
        /Credential=[^/]+\/\d+\/([^/]+)\/([^/]+)\//.exec(incoming.headers.authorization ?? '') ?? []
      const target = String(incoming.headers['x-amz-target'] ?? '')
      const action = params.get('Action') ?? target.slice(target.lastIndexOf('.') + 1)
      const reads = /^(Describe|Get|List|AssumeRole|Simulate|Generate)/.test(action) || params.get('DryRun') === 'true'
      const call: AwsCall = { service, region, action, params, body: body.toString('utf8'), changes: !reads }
      proxy.calls.push(call)
      const fault = proxy.fault(call)
      if (fault === 'reset') return void incoming.socket.destroy()
      if (fault === 'hang') return
      if (fault === 'throttle') return answer(503, service === 'ec2' ? 'RequestLimitExceeded' : 'Throttling')
      if (fault === 'error') return answer(500, 'InternalError')
      if (typeof fault === 'object') {
        if ('deny' in fault) return answer(403, fault.deny)
        const json = 'json' in fault
        outgoing.writeHead(200, { 'content-type': json ? 'application/x-amz-json-1.1' : 'text/xml' })
        return void outgoing.end(json ? JSON.stringify(fault.json) : fault.xml)
      }
      const url = new URL(incoming.url ?? '/', upstream)
      const passed = request(url, { method: incoming.method ?? 'POST', headers: incoming.headers }, (response) => {
        if (fault === 'lost') {
          response.resume().on('end', () => incoming.socket.destroy())
          return
        }
        outgoing.writeHead(response.statusCode ?? 502, response.headers)
        response.pipe(outgoing)
      })
      passed.on('error', () => incoming.socket.destroy())
      passed.end(body)

      function answer(status: number, code: string): void {
        if (target !== '') {
          outgoing.writeHead(status === 403 ? 400 : status, { 'content-type': 'application/x-amz-json-1.1' })
          outgoing.end(JSON.stringify({ __type: code, message: `made by the test: ${code}` }))
          return
        }
        const error = `<Code>${code}</Code><Message>made by the test: ${code}</Message>`
        outgoing.writeHead(status, { 'content-type': 'text/xml' })
        outgoing.end(
          service === 'ec2'
            ? `<Response><Errors><Error>${error}</Error></Errors><RequestID>test</RequestID></Response>`
            : `<ErrorResponse><Error><Type>Sender</Type>${error}</Error><RequestId>test</RequestId></ErrorResponse>`,
        )
      }
    })()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxy: RecordingProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls: [],
    fault: () => undefined,
    stop: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  return proxy
}
