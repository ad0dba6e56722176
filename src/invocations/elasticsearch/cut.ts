const [quote, backslash, comma, colon, newline, carriage, space] = [0x22, 0x5c, 0x2c, 0x3a, 0x0a, 0x0d, 0x20]
const [openBrace, closeBrace, openBracket, closeBracket] = [0x7b, 0x7d, 0x5b, 0x5d]

/** One page of a search, without its records ever having been parsed. */
export interface Page {
  /** All of the answer but its hits. */
  readonly envelope: Readonly<Record<string, unknown>>
  readonly count: number
  /** The records in their order, each with an end of line: views into the answer, byte for byte as they were shipped. */
  readonly lines: readonly Buffer[]
  /** The sort values of a hit. */
  sort(hit: number): readonly (number | string | null)[]
}

/**
 * Takes the records out of a search's answer by looking at braces, brackets and strings only: parsing is what costs, and a record
 * need not be understood to be kept. The end of line is written over the byte behind each record.
 *
 * @throws SyntaxError when this is no answer of a search
 */
export function cutPage(body: Buffer): Page {
  // A quote inside a string has a backslash before it, so that this cannot stand in anything that was logged.
  const list = body.indexOf('"hits":[')
  if (list === -1) throw new SyntaxError('no hits')
  const begin = list + '"hits":['.length
  const lines: Buffer[] = []
  const sorts: number[] = []
  const wrapped = body.includes(newline)
  let at = begin
  while (body[at] !== closeBracket) {
    if (body[at] === comma) at += 1
    const hit = cutHit(body, at)
    at = hit.end
    if (hit.from === undefined || hit.to === undefined) throw new SyntaxError('a hit without its source')
    const line = body.subarray(hit.from, hit.to + 1)
    if (wrapped) unwrap(line)
    lines.push(line)
    sorts.push(hit.sort ?? -1, hit.sortEnd ?? -1)
  }
  const envelope = Buffer.concat([body.subarray(0, begin), body.subarray(at)]).toString('utf8')
  for (const line of lines) line[line.length - 1] = newline
  return {
    envelope: JSON.parse(envelope) as Record<string, unknown>,
    count: lines.length,
    lines,
    sort: (hit) =>
      JSON.parse(body.toString('latin1', sorts[hit * 2], sorts[hit * 2 + 1])) as (number | string | null)[],
  }
}

interface Hit {
  /** Where its source begins and ends. */
  from?: number
  to?: number
  sort?: number
  sortEnd?: number
  end: number
}

function cutHit(body: Buffer, start: number): Hit {
  if (body[start] !== openBrace) throw new SyntaxError('no hit')
  const hit: Hit = { end: start }
  let at = start + 1
  while (body[at] !== closeBrace) {
    if (body[at] === comma) at += 1
    const key = at + 1
    at = pastString(body, at)
    const keyEnd = at - 1
    if (body[at] !== colon) throw new SyntaxError('no value')
    const from = at + 1
    at = pastValue(body, from)
    if (isKey(body, key, keyEnd, '_source')) {
      hit.from = from
      hit.to = at
    } else if (isKey(body, key, keyEnd, 'sort')) {
      hit.sort = from
      hit.sortEnd = at
    }
  }
  hit.end = at + 1
  return hit
}

function isKey(body: Buffer, from: number, to: number, key: string): boolean {
  if (to - from !== key.length) return false
  for (let at = 0; at < key.length; at += 1) if (body[from + at] !== key.charCodeAt(at)) return false
  return true
}

function pastValue(body: Buffer, from: number): number {
  const first = body[from]
  if (first === quote) return pastString(body, from)
  if (first !== openBrace && first !== openBracket) {
    let at = from
    while (at < body.length && body[at] !== comma && body[at] !== closeBrace && body[at] !== closeBracket) at += 1
    return at
  }
  let depth = 0
  for (let at = from; at < body.length; at += 1) {
    const byte = body[at]
    if (byte === quote) at = pastString(body, at) - 1
    else if (byte === openBrace || byte === openBracket) depth += 1
    else if (byte === closeBrace || byte === closeBracket) {
      depth -= 1
      if (depth === 0) return at + 1
    }
  }
  throw new SyntaxError('the answer breaks off')
}

/** @returns the place behind the closing quote */
function pastString(body: Buffer, from: number): number {
  for (let at = from + 1; at < body.length; at += 1) {
    const byte = body[at]
    if (byte === backslash) at += 1
    else if (byte === quote) return at + 1
  }
  throw new SyntaxError('the answer breaks off')
}

/** A record that was shipped with line ends between its members: outside of strings they mean nothing, and inside they cannot be. */
function unwrap(line: Buffer): void {
  for (let at = line.indexOf(newline); at !== -1; at = line.indexOf(newline, at)) line[at] = space
  for (let at = line.indexOf(carriage); at !== -1; at = line.indexOf(carriage, at)) line[at] = space
}
