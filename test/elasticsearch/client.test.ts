import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setImmediate as later } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Cluster, connect } from '../../src/elasticsearch/client.ts'

/** Stand-ins: how an answer is cut into pieces, lost or left without an end cannot be asked of a real cluster. */
const open: { readonly clusters: Cluster[]; readonly servers: Server[]; readonly sockets: Set<Socket> } = {
  clusters: [],
  servers: [],
  sockets: new Set(),
}
afterEach(async () => {
  for (const cluster of open.clusters.splice(0)) await cluster.close()
  for (const socket of open.sockets) socket.destroy()
  for (const server of open.servers.splice(0)) server.close()
})

async function listening(server: Server): Promise<number> {
  open.servers.push(server)
  server.on('connection', (socket: Socket) => {
    open.sockets.add(socket)
    socket.on('error', () => undefined).on('close', () => open.sockets.delete(socket))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return (server.address() as AddressInfo).port
}

async function clusterAt(node: string, env = {}, signal = new AbortController().signal): Promise<Cluster> {
  const cluster = await connect(node, signal, env, 1)
  open.clusters.push(cluster)
  return cluster
}

/** Answers whatever is sent to it as `say` does, and counts who came. */
async function saying(say: (socket: Socket, request: string) => unknown) {
  const came = { connections: 0 }
  const server = createTcpServer((socket) => {
    came.connections += 1
    socket.setNoDelay(true).on('data', (data) => void say(socket, data.toString('latin1')))
  })
  return { came, cluster: await clusterAt(`http://127.0.0.1:${await listening(server)}`) }
}

const most = 1 << 20
const asked = async (cluster: Cluster, longest = most, room?: Buffer) =>
  (await cluster.bytes('/_search', { size: 1 }, longest, room))?.toString('latin1')
const body = '{"hits":[1]}'
const sized = `content-length: ${body.length}\r\n\r\n${body}`

describe('a large answer', () => {
  it.each([
    ['with its length', `HTTP/1.1 200 OK\r\n${sized}`, 1],
    [
      'in chunks',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\n{"hit\r\n007\r\ns":[1]}\r\n0\r\nx: y\r\n\r\n',
      1,
    ],
    ['after word that it comes', `HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n${sized}`, 1],
    ['that is the last of its connection', `HTTP/1.1 200 OK\r\nconnection: close\r\n${sized}`, 2],
    ['of an older server', `HTTP/1.0 200 OK\r\n${sized}`, 2],
  ])('is whole %s, wherever it is cut', async (_, answer, connections) => {
    const { came, cluster } = await saying(async (socket) => {
      for (const byte of answer) {
        socket.write(byte)
        await later()
      }
    })
    expect([await asked(cluster), await asked(cluster)]).toEqual([body, body])
    expect(came.connections).toBe(connections)
  })

  it.each([
    ['no length', '\r\n'],
    ['two lengths', 'content-length: 12\r\ncontent-length: 13\r\n\r\n'],
    ['a length that is none', 'content-length: 12, 12\r\n\r\n'],
    ['a negative length', 'content-length: -40\r\n\r\n'],
    ['half a byte', 'content-length: 5.5\r\n\r\n'],
    ['a length and chunks', 'content-length: 12\r\ntransfer-encoding: chunked\r\n\r\n'],
    ['another coding', 'transfer-encoding: gzip, chunked\r\n\r\n'],
    ['a chunk without a size', 'transfer-encoding: chunked\r\n\r\nzz\r\n'],
    ['a chunk of less than nothing', 'transfer-encoding: chunked\r\n\r\n-5\r\n'],
    ['a chunk of another size', 'transfer-encoding: chunked\r\n\r\n3\r\nabcde\r\n'],
    ['another protocol', 'upgrade: x\r\n\r\n', 'HTTP/1.1 101 Switching Protocols'],
    ['a version that we do not speak', 'content-length: 12\r\n\r\n', 'HTTP/2.0 200 OK'],
    ['a header that is none', 'content-length 12\r\n\r\n'],
    ['a head without an end', `x: ${'y'.repeat(99)}\r\n`.repeat(1000)],
    ['a line without an end', `x: ${'y'.repeat(99_000)}`],
  ])('is not whole with %s', async (_, head, status = 'HTTP/1.1 200 OK') => {
    const { came, cluster } = await saying((socket) => socket.end(`${status}\r\n${head}${body}`))
    await expect(asked(cluster)).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringMatching(/does not answer \(EPROTO\)/),
    })
    expect(came.connections).toBe(5)
  })

  it('is not followed by what nobody asked for', async () => {
    let times = 0
    const answer = (n: number) => `HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n${n}`
    const { came, cluster } = await saying((socket) => {
      times += 1
      // With it, and a moment later.
      if (times === 1) socket.write(answer(1) + answer(9))
      else socket.write(answer(times), () => setTimeout(() => socket.write(answer(9)), 10))
    })
    for (let n = 1; n <= 3; n += 1) {
      expect(await asked(cluster)).toBe(`${n}`)
      while (open.sockets.size > 0) await later()
    }
    expect(came.connections).toBe(3)
  })

  it('lies in the room that is given, and in more where it does not fit', async () => {
    const { cluster } = await saying((socket) => socket.write(`HTTP/1.1 200 OK\r\n${sized}`))
    const room = Buffer.alloc(100)
    expect((await cluster.bytes('/', {}, most, room))?.buffer).toBe(room.buffer)
    expect(room.toString('latin1', 0, body.length)).toBe(body)
    expect(await asked(cluster, most, Buffer.alloc(5))).toBe(body)
  })

  it('is left when it is too long, and the connection with it', async () => {
    const { came, cluster } = await saying((socket) => socket.write(`HTTP/1.1 200 OK\r\n${sized}`))
    expect(await asked(cluster, body.length - 1)).toBeUndefined()
    expect(await asked(cluster, body.length)).toBe(body)
    expect(came.connections).toBe(2)
  })

  it('is not mixed with others that come at the same time', async () => {
    const cluster = await clusterAt(
      `http://127.0.0.1:${await listening(
        createServer((request, response) => {
          let size = 0
          request.on('data', (piece: Buffer) => {
            size += piece.length
          })
          request.on('end', () => {
            for (let piece = 0; piece < 50; piece += 1) response.write(`${size} `.repeat(7000))
            response.end()
          })
        }),
      )}`,
    )
    const sizes = Array.from({ length: 20 }, (_, n) => n)
    const answers = await Promise.all(sizes.map((n) => cluster.bytes('/', { filler: 'x'.repeat(n) }, 64 << 20)))
    for (const n of sizes) expect(new Set(answers[n]?.toString().trim().split(' '))).toEqual(new Set([`${n + 13}`]))
  })

  it.each([
    ['before it begins', (socket: Socket) => socket.destroy()],
    ['in its head', (socket: Socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-le')],
    ['in its middle', (socket: Socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"hit')],
    [
      'between two chunks',
      (socket: Socket) => socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"hit\r\n'),
    ],
    ['to what is no HTTP', (socket: Socket) => socket.write('SSH-2.0-OpenSSH\r\n')],
  ])('that is lost %s is asked for again, and at last said to be lost', async (_, lose) => {
    let times = 0
    const { cluster } = await saying((socket) => {
      times += 1
      if (times % 3 === 0) socket.write(`HTTP/1.1 200 OK\r\n${sized}`)
      else lose(socket)
    })
    expect(await asked(cluster)).toBe(body)
    expect(times).toBe(3)
    const { cluster: gone } = await saying(lose)
    await expect(asked(gone)).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringMatching(/does not answer \((ECONNRESET|EPROTO)\)/),
    })
  })

  it('comes over another connection when the last one was closed meanwhile', async () => {
    const { came, cluster } = await saying((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\n${sized}`)
      setTimeout(() => socket.destroy(), 20)
    })
    for (let time = 1; time <= 3; time += 1) {
      expect(await asked(cluster)).toBe(body)
      while (open.sockets.size > 0) await later()
      expect(came.connections).toBe(time)
    }
  })

  it('tells a refusal by its status', async () => {
    const { cluster } = await saying((socket) =>
      socket.write(
        'HTTP/1.1 403 Forbidden\r\ncontent-length: 33\r\n\r\n{"error":{"type":"nobody_may_it"}}'.slice(0, -1),
      ),
    )
    await expect(asked(cluster)).rejects.toMatchObject({ code: 'denied' })
  })

  it('is given up with the work that it is for', async () => {
    const stop = new AbortController()
    const server = createTcpServer((socket) => socket.on('data', () => stop.abort()))
    const cluster = await clusterAt(`http://127.0.0.1:${await listening(server)}`, {}, stop.signal)
    await expect(asked(cluster)).rejects.toMatchObject({ code: 'interrupted' })
    await expect(asked(cluster)).rejects.toMatchObject({ code: 'interrupted' })
    while (open.sockets.size > 0) await later()
  })
})

it('a connection that is idle keeps nobody waiting', async () => {
  const server = createServer((request, response) => void request.resume().on('end', () => response.end(body)))
  // It would end the connection by itself.
  server.keepAliveTimeout = 0
  const port = await listening(server)
  const program = `
    const { connect } = await import(${JSON.stringify(new URL('../../src/elasticsearch/client.ts', import.meta.url))})
    const cluster = await connect('http://127.0.0.1:${port}', new AbortController().signal, {})
    process.stdout.write(await cluster.bytes('/', {}, 100))`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [said, [code]] = await Promise.all([text(child.stdout), once(child, 'close')])
  expect([said, code]).toEqual([body, 0])
})

describe('a cluster with TLS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-ir-tls-'))
  const file = (name: string) => join(folder, name)
  const requests: { readonly path: string; readonly key: string }[] = []
  let port = 0
  beforeAll(() => {
    const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'ignore'] })
    const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
    const authority = (name: string, subject: string) =>
      openssl(
        'req',
        '-x509',
        ...ec,
        '-days',
        '1',
        '-subj',
        `/CN=${subject}`,
        '-keyout',
        file(`${name}.key`),
        '-out',
        file(`${name}.pem`),
      )
    authority('ca', 'ca')
    authority('other', 'other')
    // Has the name of the authority, and nothing else of it.
    authority('impostor', 'ca')
    writeFileSync(file('names'), 'subjectAltName=IP:127.0.0.1')
    for (const [name, by] of [
      ['node', 'ca'],
      ['forged', 'impostor'],
    ]) {
      openssl('req', '-new', ...ec, '-subj', '/CN=node', '-keyout', file(`${name}.key`), '-out', file(`${name}.csr`))
      const signed = ['-CA', file(`${by}.pem`), '-CAkey', file(`${by}.key`), '-days', '1', '-extfile', file('names')]
      openssl('x509', '-req', '-in', file(`${name}.csr`), ...signed, '-out', file(`${name}.pem`))
    }
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const node = async (prefix = '', name = 'node') => {
    requests.length = 0
    const server = createSecureServer(
      {
        key: readFileSync(file(`${name}.key`)),
        cert: `${readFileSync(file(`${name}.pem`))}${readFileSync(file('ca.pem'))}`,
      },
      (request, response) => {
        requests.push({ path: request.url ?? '', key: request.headers.authorization ?? '' })
        request
          .resume()
          .on('end', () =>
            response
              .setHeader('x-elastic-product', 'Elasticsearch')
              .setHeader('content-type', 'application/json')
              .end(body),
          )
      },
    )
    port = await listening(server)
    return `https://127.0.0.1:${port}${prefix}`
  }
  const key = { ELASTICSEARCH_API_KEY: 'canary-key' }

  it('gets the key with small questions and large ones, below the path that it has', async () => {
    const cluster = await clusterAt(await node('/logs/'), { ...key, ELASTICSEARCH_CA: file('ca.pem') })
    expect(await cluster.ask('GET', '/_pit')).toEqual({ hits: [1] })
    expect(await asked(cluster)).toBe(body)
    expect(requests).toEqual([
      { path: '/logs/_pit', key: 'ApiKey canary-key' },
      { path: '/logs/_search', key: 'ApiKey canary-key' },
    ])
  })

  it('gets nothing when another authority speaks for it', async () => {
    const cluster = await clusterAt(await node(), { ...key, ELASTICSEARCH_CA: file('other.pem') })
    const failure: unknown = await asked(cluster).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'unreachable', message: expect.stringContaining('not trusted') })
    expect(JSON.stringify([failure, String(failure)])).not.toContain('canary')
    await expect(cluster.ask('GET', '/_pit')).rejects.toMatchObject({ message: expect.stringContaining('not trusted') })
    expect(requests).toEqual([])
  })

  const fingerprint = (name: string) =>
    execFileSync('openssl', ['x509', '-in', file(`${name}.pem`), '-noout', '-fingerprint', '-sha256'])
      .toString()
      .trim()
      .replace(/^.*=/, '')

  it('may be known by the fingerprint of its authority', async () => {
    const url = await node()
    const cluster = await clusterAt(url, { ...key, ELASTICSEARCH_CA_FINGERPRINT: fingerprint('ca') })
    expect(await cluster.ask('GET', '/_pit')).toEqual({ hits: [1] })
    expect(await asked(cluster)).toBe(body)
    await expect(clusterAt(url, { ...key, ELASTICSEARCH_CA_FINGERPRINT: fingerprint('other') })).rejects.toMatchObject({
      code: 'refused',
    })
    await expect(clusterAt(url, { ...key, ELASTICSEARCH_CA_FINGERPRINT: 'sha256' })).rejects.toMatchObject({
      code: 'input',
    })
    expect(requests).toHaveLength(2)
  })

  it('does not pass for another by showing the certificate of its authority, which everybody has', async () => {
    const cluster = await clusterAt(await node('', 'forged'), {
      ...key,
      ELASTICSEARCH_CA_FINGERPRINT: fingerprint('ca'),
    })
    await expect(asked(cluster)).rejects.toMatchObject({ message: expect.stringContaining('not trusted') })
    await expect(cluster.ask('GET', '/_pit')).rejects.toMatchObject({ message: expect.stringContaining('not trusted') })
    expect(requests).toEqual([])
  })

  it('needs both the file and the fingerprint when both are given', async () => {
    writeFileSync(file('both.pem'), `${readFileSync(file('other.pem'))}${readFileSync(file('ca.pem'))}`)
    const env = { ...key, ELASTICSEARCH_CA: file('both.pem') }
    const url = await node()
    expect(await asked(await clusterAt(url, { ...env, ELASTICSEARCH_CA_FINGERPRINT: fingerprint('ca') }))).toBe(body)
    const other = await clusterAt(url, { ...env, ELASTICSEARCH_CA_FINGERPRINT: fingerprint('other') })
    await expect(asked(other)).rejects.toMatchObject({ message: expect.stringContaining('not trusted') })
    await expect(
      clusterAt(url, { ...env, ELASTICSEARCH_CA_FINGERPRINT: fingerprint('impostor') }),
    ).rejects.toMatchObject({ code: 'input' })
    writeFileSync(file('broken.pem'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')
    await expect(
      clusterAt(url, { ...key, ELASTICSEARCH_CA: file('broken.pem'), ELASTICSEARCH_CA_FINGERPRINT: fingerprint('ca') }),
    ).rejects.toMatchObject({ code: 'input', message: expect.stringContaining('no certificate') })
    expect(requests).toHaveLength(1)
  })

  it('is given up while it does not show a certificate', async () => {
    const stop = new AbortController()
    const port = await listening(createTcpServer((socket) => socket.on('data', () => stop.abort())))
    const env = { ELASTICSEARCH_CA_FINGERPRINT: fingerprint('ca') }
    await expect(clusterAt(`https://127.0.0.1:${port}`, env, stop.signal)).rejects.toMatchObject({
      code: 'interrupted',
    })
  })

  it('is not there when it does not answer', async () => {
    const [silent, gone] = [createTcpServer((socket) => socket.destroy()), createTcpServer()]
    const ports = [await listening(silent), await listening(gone)]
    await new Promise((resolve) => gone.close(resolve))
    for (const port of ports) {
      const env = { ELASTICSEARCH_CA_FINGERPRINT: fingerprint('ca') }
      await expect(clusterAt(`https://127.0.0.1:${port}`, env)).rejects.toMatchObject({
        code: 'unreachable',
        message: expect.stringContaining('does not answer'),
      })
    }
  })
})

it('a key that is none is not sent', async () => {
  const url = 'https://127.0.0.1:1'
  for (const odd of ['canary\r\nx-other: 1', 'canary ', 'canary\u00e9']) {
    const failure: unknown = await clusterAt(url, { ELASTICSEARCH_API_KEY: odd }).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'input' })
    expect(JSON.stringify([failure, String(failure)])).not.toContain('canary')
  }
})
