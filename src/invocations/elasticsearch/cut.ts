const [comma, colon, newline, carriage, space, minus] = [0x2c, 0x3a, 0x0a, 0x0d, 0x20, 0x2d]
const [openBrace, openBracket, closeBracket, zero, nine] = [0x7b, 0x5b, 0x5d, 0x30, 0x39]
/** Bytes that are looked for in many places, by Horspool's algorithm: for one hit at a time, `Buffer.indexOf` spends more on being called. */
class Needle {
  readonly length: number
  readonly #bytes: Uint8Array
  /** How far to go on when the window ends in this byte. */
  readonly #steps: Uint8Array

  /** @param text ASCII, fewer than 256 characters */
  constructor(text: string) {
    this.#bytes = Buffer.from(text, 'latin1')
    this.length = this.#bytes.length
    this.#steps = new Uint8Array(256).fill(this.length)
    for (let at = 0; at < this.length - 1; at += 1) this.#steps[this.#bytes[at] ?? 0] = this.length - 1 - at
  }

  /** @returns where it begins at or after `from`; -1 when it is not there */
  in(body: Uint8Array, from: number): number {
    const [bytes, steps, last] = [this.#bytes, this.#steps, this.length - 1]
    const ending = bytes[last]
    for (let at = from + last; at < body.length; ) {
      const byte = body[at] as number
      if (byte === ending) {
        let back = 1
        while (back <= last && body[at - back] === bytes[last - back]) back += 1
        if (back > last) return at - last
      }
      at += steps[byte] as number
    }
    return -1
  }
}

const hitsKey = Buffer.from('"hits":[')
const sourceKey = new Needle('"_source":')
const sortKey = ',"sort":['

/** One page of a search, without its records ever having been parsed. */
export interface Page {
  /** All of the answer but its hits. */
  readonly envelope: Readonly<Record<string, unknown>>
  readonly count: number
  /** The records in their order, each with an end of line, byte for byte as they were shipped. */
  readonly bytes: Buffer
  /** One of them, with its end of line: a view. */
  line(hit: number): Buffer
  /** The first sort value of each hit, where it is a whole number; NaN elsewhere. */
  readonly times: readonly number[]
  /** The sort values of the last hit; undefined when there is none. */
  readonly last: readonly (number | string | null)[] | undefined
}

/**
 * Takes the records out of a search's answer without looking at what they hold: parsing is what costs, and a record need not be
 * understood to be kept. Each hit ends with the name of a clause of the query, and that name is `mark`, which was drawn at random
 * after the record was written: no record can hold it. Quotes inside of strings have a backslash before them, so that no id or name
 * can imitate the keys that are looked for. The records are moved together inside `body`, which is theirs from then on.
 *
 * @throws SyntaxError when this is no answer of a search
 */
export function cutPage(body: Buffer, mark: string): Page {
  const list = body.indexOf(hitsKey)
  if (list === -1) throw new SyntaxError('no hits')
  const begin = list + hitsKey.length
  const tail = new Needle(`],"matched_queries":["${mark}"]}`)
  const ends: number[] = []
  const times: number[] = []
  const wrapped = body.includes(newline)
  let last: Page['last']
  let put = begin
  let at = begin
  for (let end = tail.in(body, at); end !== -1; end = tail.in(body, at)) {
    if (body[at] === comma) at += 1
    if (body[at] !== openBrace) throw new SyntaxError('no hit')
    const from = sourceKey.in(body, at) + sourceKey.length
    // Sort values are numbers: nothing that was logged stands between them and the mark.
    let sort = end - 1
    while (sort > from && body[sort] !== openBracket) sort -= 1
    const to = sort + 1 - sortKey.length
    if (from < at || to < from || body[to] !== comma || body[sort - 1] !== colon)
      throw new SyntaxError('a hit without its source')
    times.push(wholeNumber(body, sort + 1))
    if (body[end + tail.length] === closeBracket)
      last = JSON.parse(body.toString('latin1', sort, end + 1)) as Page['last']
    if (wrapped) unwrap(body.subarray(from, to))
    body.copyWithin(put, from, to)
    put += to - from
    body[put] = newline
    put += 1
    ends.push(put)
    at = end + tail.length
  }
  if (body[at] !== closeBracket) throw new SyntaxError('a hit without its mark')
  const envelope = Buffer.concat([body.subarray(0, begin), body.subarray(at)]).toString('utf8')
  return {
    envelope: JSON.parse(envelope) as Record<string, unknown>,
    count: ends.length,
    bytes: body.subarray(begin, put),
    line: (hit) => body.subarray(ends[hit - 1] ?? begin, ends[hit]),
    times,
    last,
  }
}

function wholeNumber(body: Buffer, from: number): number {
  const negative = body[from] === minus
  let value = 0
  let at = negative ? from + 1 : from
  const first = at
  for (let byte = body[at] ?? 0; byte >= zero && byte <= nine; byte = body[at] ?? 0) {
    value = value * 10 + byte - zero
    at += 1
  }
  const ended = body[at] === comma || body[at] === closeBracket
  return at === first || !ended ? Number.NaN : negative ? -value : value
}

/** A record that was shipped with line ends between its members: outside of strings they mean nothing, and inside they cannot be. */
function unwrap(line: Buffer): void {
  for (let at = line.indexOf(newline); at !== -1; at = line.indexOf(newline, at)) line[at] = space
  for (let at = line.indexOf(carriage); at !== -1; at = line.indexOf(carriage, at)) line[at] = space
}
