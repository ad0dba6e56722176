import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/**
 * What goes wrong with a statement: `reset` is cut off before it gets to the server, `lost` after it was carried out, a code is
 * answered in the server's place.
 */
export type StatementFault = 'reset' | 'lost' | { readonly code: string } | undefined

export interface PostgresProxy {
  readonly port: number
  /** Every statement that came, in order; a log-in is `LOGIN <user>`. */
  readonly statements: string[]
  /** Asked for every statement; replace it as you like. */
  fault: (statement: string) => StatementFault
  readonly stop: () => Promise<void>
}

/** Stands in front of a PostgreSQL without TLS, knows enough of its protocol to see statements, and lets go wrong what a test wants. */
export async function startPostgresProxy(upstreamPort: number): Promise<PostgresProxy> {
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(upstreamPort, '127.0.0.1')
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      // Else every small message waits 40 ms for the one before to be acknowledged.
      socket.setNoDelay(true)
      socket.on('error', () => undefined)
      socket.on('close', () => sockets.delete(socket))
    }
    client.on('close', () => upstream.destroy())
    let losing = false
    const back = messages((type, bytes) => {
      // Carried out: the server is ready for the next one. Nobody is told.
      if (losing && type === 'Z') client.destroy()
      if (!losing) client.write(bytes)
    })
    upstream.on('data', back)
    upstream.on('close', () => client.destroy())

    let started = false
    let skipping: string | undefined
    const forward = messages(
      (type, bytes) => {
        if (type === 'S' && skipping !== undefined) {
          client.write(refusal('ERROR', skipping))
          skipping = undefined
          return
        }
        if (skipping !== undefined) return
        if (type !== 'Q' && type !== 'P') return void upstream.write(bytes)
        const [first = '', second = ''] = bytes.toString('utf8', 5).split('\0')
        const statement = type === 'Q' ? first : second
        proxy.statements.push(statement)
        const fault = proxy.fault(statement)
        if (fault === 'reset') return void client.destroy()
        if (typeof fault === 'object') {
          if (type === 'Q') client.write(refusal('ERROR', fault.code))
          else skipping = fault.code
          return
        }
        losing = fault === 'lost'
        upstream.write(bytes)
      },
      (bytes) => {
        if (started) return undefined
        if (bytes.length < 8) return 0
        const length = bytes.readInt32BE(0)
        if (bytes.length < length) return 0
        // SSLRequest: not here.
        if (bytes.readInt32BE(4) === 80877103) {
          client.write('N')
          return length
        }
        started = true
        const user = /user\0([^\0]*)\0/.exec(bytes.toString('utf8', 8, length))?.[1] ?? ''
        proxy.statements.push(`LOGIN ${user}`)
        const fault = proxy.fault(`LOGIN ${user}`)
        if (typeof fault === 'object') client.end(refusal('FATAL', fault.code))
        else if (fault === 'reset') client.destroy()
        else upstream.write(bytes.subarray(0, length))
        return length
      },
    )
    client.on('data', forward)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxy: PostgresProxy = {
    port: (server.address() as AddressInfo).port,
    statements: [],
    fault: () => undefined,
    stop: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
  return proxy
}

/**
 * Cuts a stream into messages: a letter, a length, a body. What has no letter yet is taken by `start`, which says how many bytes
 * it took: 0 to wait for more, undefined when it takes none any more.
 */
function messages(
  each: (type: string, bytes: Buffer) => void,
  start?: (bytes: Buffer) => number | undefined,
): (chunk: Buffer) => void {
  let rest = Buffer.alloc(0)
  return (chunk) => {
    rest = Buffer.concat([rest, chunk])
    for (;;) {
      const taken = start?.(rest)
      if (taken === 0) return
      if (taken !== undefined) {
        rest = rest.subarray(taken)
        continue
      }
      if (rest.length < 5) return
      const length = 1 + rest.readInt32BE(1)
      if (rest.length < length) return
      const one = rest.subarray(0, length)
      rest = rest.subarray(length)
      each(String.fromCharCode(one[0] ?? 0), one)
    }
  }
}

function refusal(severity: 'ERROR' | 'FATAL', code: string): Buffer {
  const fields = `S${severity}\0V${severity}\0C${code}\0Mmade by the test\0Rtest\0\0`
  const body = Buffer.from(fields)
  const error = Buffer.alloc(5 + body.length)
  error.write('E')
  error.writeInt32BE(4 + body.length, 1)
  body.copy(error, 5)
  if (severity === 'FATAL') return error
  return Buffer.concat([error, Buffer.from([0x5a, 0, 0, 0, 5, 0x49])])
}
