/** What makes an answer unfit to be taken as whole. Never shown with what the server wrote. */
export class Malformed extends Error {}

/** Of a status, a header or the head of a chunk, and of all headers: bytes. */
const longestLine = 16 << 10
const longestHead = 64 << 10
const [newline, carriage] = [0x0a, 0x0d]

/**
 * One HTTP/1 answer (RFC 9112) as it comes in, in pieces cut anywhere. Strict, as its bytes are evidence: an answer that does not say
 * how long it is, or says it twice or oddly, is no answer, since nobody could tell it from one that was cut off.
 */
export class AnswerReader {
  status = 0
  /** Whether all of it has come. */
  whole = false
  /** Whether its connection may be asked again. */
  goesOn = false
  readonly #take: (bytes: Buffer) => void
  #expected: (line: string) => void = this.#statusLine
  #headers: [name: string, value: string][] = []
  #head = 0
  #line = ''
  /** Bytes of the body, or of its chunk, that are to come. */
  #left = 0
  #chunked = false

  /** @param take gets the body, piece by piece: views of what was read, which do not outlast the call */
  constructor(take: (bytes: Buffer) => void) {
    this.#take = take
  }

  /** @returns how many of the bytes belong to this answer. @throws Malformed */
  read(bytes: Buffer): number {
    let at = 0
    while (at < bytes.length && !this.whole) {
      if (this.#left > 0) {
        const end = Math.min(bytes.length, at + this.#left)
        this.#take(bytes.subarray(at, end))
        this.#left -= end - at
        this.whole = this.#left === 0 && !this.#chunked
        at = end
      } else at = this.#readLine(bytes, at)
    }
    return at
  }

  #readLine(bytes: Buffer, from: number): number {
    const end = bytes.indexOf(newline, from)
    const to = end === -1 ? bytes.length : end
    if (this.#line.length + to - from > longestLine) throw new Malformed('too long a line')
    this.#line += bytes.toString('latin1', from, to)
    if (end === -1) return to
    const line = this.#line.charCodeAt(this.#line.length - 1) === carriage ? this.#line.slice(0, -1) : this.#line
    this.#line = ''
    this.#expected(line)
    return end + 1
  }

  #statusLine(line: string): void {
    const [, minor, status] = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: |$)/.exec(line) ?? []
    // 101 would change the protocol, which nobody has asked for.
    if (status === undefined || status === '101') throw new Malformed('no status')
    this.status = Number(status)
    this.goesOn = minor === '1'
    this.#headers = []
    this.#expected = this.#header
  }

  #header(line: string): void {
    this.#head += line.length
    if (this.#head > longestHead) throw new Malformed('too long a head')
    if (line === '') this.#body()
    else {
      const [, name, value] = /^([^\s:]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? []
      if (name === undefined || value === undefined) throw new Malformed('no header')
      this.#headers.push([name.toLowerCase(), value.toLowerCase()])
    }
  }

  #body(): void {
    const values = (wanted: string) => this.#headers.flatMap(([name, value]) => (name === wanted ? [value] : []))
    const options = values('connection').flatMap((value) => value.split(/[ \t,]+/))
    this.goesOn = !options.includes('close') && (this.goesOn || options.includes('keep-alive'))
    const [codings, lengths] = [values('transfer-encoding'), [...new Set(values('content-length'))]]
    if (this.status < 200) this.#expected = this.#statusLine
    else if (this.status === 204 || this.status === 304) this.whole = true
    else if (codings.length > 0) {
      if (codings.join() !== 'chunked' || lengths.length > 0) throw new Malformed('an odd coding')
      this.#chunked = true
      this.#expected = this.#chunk
    } else {
      if (lengths.length !== 1 || !/^\d{1,15}$/.test(lengths[0] ?? '')) throw new Malformed('no length')
      this.#left = Number(lengths[0])
      this.whole = this.#left === 0
    }
  }

  #chunk(line: string): void {
    const [, size] = /^([0-9a-f]{1,12})[ \t]*(?:;.*)?$/i.exec(line) ?? []
    if (size === undefined) throw new Malformed('no chunk')
    this.#left = Number.parseInt(size, 16)
    this.#expected = this.#left === 0 ? this.#trailer : this.#afterChunk
  }

  #afterChunk(line: string): void {
    if (line !== '') throw new Malformed('a chunk of another length')
    this.#expected = this.#chunk
  }

  #trailer(line: string): void {
    this.#head += line.length
    if (this.#head > longestHead) throw new Malformed('too long a trailer')
    this.whole = line === ''
  }
}
