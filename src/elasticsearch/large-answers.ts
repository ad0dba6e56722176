import type { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { isIP, connect as overTcp, type Socket, type TcpNetConnectOpts } from 'node:net'
import { type ConnectionOptions, connect as overTls } from 'node:tls'
import { AnswerReader, Malformed } from './answer-reader.ts'
import { Room } from './room.ts'

/** Where to ask, and how: as the official client has worked it out from its options. */
export interface Host {
  readonly url: URL
  /** With the key, where there is one. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly tls: ConnectionOptions | null
}

export interface Answer {
  readonly status: number
  /** undefined: more than was to be taken. */
  readonly bytes: Buffer | undefined
}

/** What sockets are read into, all of them: whatever came is taken out of it before anything else is read. */
const inbox = Buffer.allocUnsafeSlow(256 << 10)
/** Certificates that are looked at. */
const longestChain = 20

/**
 * Requests whose answers have many megabytes, over connections of its own. The official client hands an answer over in pieces of
 * 64 kB, each new memory: for an export that takes more of our processor's time than anything else that we do
 * (docs/decisions/0011). Here the bytes go from one buffer into memory that is used again.
 */
export class LargeAnswers {
  readonly #host: Host
  readonly #timeoutMs: number
  readonly #signal: AbortSignal
  readonly #open = new Set<Socket>()
  readonly #idle: Socket[] = []
  #closed = false
  /** What each socket reads. */
  readonly #reading = new Map<Socket, Reading>()

  /** @param timeoutMs without a byte */
  constructor(host: Host, timeoutMs: number, signal: AbortSignal) {
    this.#host = host
    this.#timeoutMs = timeoutMs
    this.#signal = signal
    signal.addEventListener('abort', this.close, { once: true })
  }

  /**
   * @param longest bytes, beyond which the answer is left
   * @param room where the answer is put when it fits
   * @throws Error with a system's code when the connection or the answer is lost
   */
  async post(path: string, body: unknown, longest: number, room?: Buffer): Promise<Answer> {
    this.#signal.throwIfAborted()
    if (this.#closed) throw new Error('asked after it was closed')
    const request = requestOf(this.#host, path, JSON.stringify(body))
    const socket = this.#idle.pop()?.ref() ?? (await this.#connect())
    if (socket.destroyed) throw failure('ECONNRESET')
    return new Promise((resolve, reject) => {
      const whole = (answer: Answer, goesOn: boolean) => {
        this.#reading.delete(socket)
        // Nobody waits for one that is idle.
        if (goesOn && this.#open.has(socket)) this.#idle.push(socket.unref())
        else socket.destroy()
        resolve(answer)
      }
      const lost = (why: Error) => {
        this.#reading.delete(socket)
        socket.destroy()
        reject(why)
      }
      this.#reading.set(socket, new Reading({ room: new Room(longest, room), whole, lost }))
      socket.write(request)
    })
  }

  readonly close = (): void => {
    this.#closed = true
    this.#signal.removeEventListener('abort', this.close)
    for (const socket of this.#open) socket.destroy()
  }

  #connect(): Promise<Socket> {
    const { url, tls } = this.#host
    const onread = {
      buffer: inbox,
      callback: (length: number): boolean => {
        const reading = this.#reading.get(socket)
        // What comes unasked would be taken for the next answer.
        if (reading === undefined) socket.destroy()
        else reading.take(inbox.subarray(0, length))
        return true
      },
    }
    const secure = url.protocol === 'https:'
    const options: ConnectionOptions & Pick<TcpNetConnectOpts, 'onread'> = { ...addressOf(url), onread, ...tls }
    const socket: Socket = secure ? overTls(options) : overTcp({ ...addressOf(url), onread })
    this.#open.add(socket)
    socket.setNoDelay(true)
    socket.setTimeout(this.#timeoutMs, () => socket.destroy(failure('ETIMEDOUT')))
    return new Promise((resolve, reject) => {
      let why = failure('ECONNRESET')
      // Nothing is sent, no key either, before the server has shown who it is.
      socket.once(secure ? 'secureConnect' : 'connect', () => resolve(socket))
      socket.on('error', (error) => {
        why = error
      })
      socket.once('close', () => {
        this.#open.delete(socket)
        const at = this.#idle.indexOf(socket)
        if (at !== -1) this.#idle.splice(at, 1)
        this.#reading.get(socket)?.lose(why)
        reject(why)
      })
    })
  }
}

interface Wanted {
  readonly room: Room
  /** `goesOn`: whether the connection can be asked again. */
  readonly whole: (answer: Answer, goesOn: boolean) => void
  readonly lost: (why: Error) => void
}

/** An answer on its way into its room. */
class Reading {
  readonly #wanted: Wanted
  readonly #answer: AnswerReader
  #over = false

  constructor(wanted: Wanted) {
    this.#wanted = wanted
    this.#answer = new AnswerReader((bytes) => {
      if (!this.#over && !wanted.room.add(bytes)) this.#give(undefined, false)
    })
  }

  take(bytes: Buffer): void {
    try {
      const read = this.#answer.read(bytes)
      // More than was asked for would be taken for the next answer.
      if (this.#answer.whole) this.#give(this.#wanted.room.bytes, this.#answer.goesOn && read === bytes.length)
    } catch (error) {
      if (!(error instanceof Malformed)) throw error
      this.lose(failure('EPROTO', error))
    }
  }

  lose(why: Error): void {
    if (this.#over) return
    this.#over = true
    this.#wanted.lost(why)
  }

  #give(bytes: Buffer | undefined, goesOn: boolean): void {
    if (this.#over) return
    this.#over = true
    this.#wanted.whole({ status: this.#answer.status, bytes }, goesOn)
  }
}

function requestOf({ url, headers }: Host, path: string, body: string): string {
  const sent = {
    ...headers,
    host: url.host,
    accept: 'application/json',
    'content-type': 'application/json',
    'content-length': `${Buffer.byteLength(body)}`,
  }
  const lines = Object.entries(sent).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}`]))
  const head = [`POST ${url.pathname.replace(/\/$/, '')}${path} HTTP/1.1`, ...lines]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}

function failure(code: string, cause?: Error): Error {
  return Object.assign(new Error(`The connection was lost (${code}).`, { cause }), { code })
}

function addressOf(url: URL) {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  return {
    host,
    port: Number(url.port || (url.protocol === 'https:' ? 443 : 80)),
    ...(isIP(host) === 0 ? { servername: host } : {}),
  }
}

/** What a server shows for itself, unverified: its own certificate and those that it sends along. Nothing is sent to it. */
export async function certificatesOf(url: URL, timeoutMs: number, signal: AbortSignal): Promise<X509Certificate[]> {
  const socket = overTls({ ...addressOf(url), rejectUnauthorized: false, timeout: timeoutMs })
  socket.on('timeout', () => socket.destroy(failure('ETIMEDOUT')))
  try {
    await once(socket, 'secureConnect', { signal })
    const shown: X509Certificate[] = []
    let next = socket.getPeerX509Certificate()
    for (; next !== undefined && shown.length < longestChain; next = next.issuerCertificate) shown.push(next)
    return shown
  } finally {
    socket.destroy()
  }
}
