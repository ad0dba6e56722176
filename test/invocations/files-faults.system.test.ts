import { randomBytes } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Format } from '../../src/config.ts'
import { filesInvocations } from '../../src/invocations/files.ts'
import { openInvocations } from '../../src/invocations/index.ts'
import type { Reviewed } from '../../src/invocations/port.ts'
import { linesOf } from '../contracts/invocations.ts'

const signal = new AbortController().signal
const window = { since: '2026-11-20T00:00:00.000Z', until: '2026-11-21T00:00:00.000Z' }
const now = () => new Date('2026-11-21T00:00:00Z')
const server = 'io.acme/crm'

let root: string
let folder: string
let temporary: string
let before: string | undefined

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'mcp-ir-test-'))
  // Whatever the adapter leaves behind is seen here.
  temporary = join(root, 'tmp')
  await mkdir(temporary)
  before = process.env.TMPDIR
  process.env.TMPDIR = temporary
})
afterAll(async () => {
  if (before === undefined) delete process.env.TMPDIR
  else process.env.TMPDIR = before
  await rm(root, { recursive: true, force: true })
})
beforeEach(async () => {
  folder = await mkdtemp(join(root, 'logs-'))
})

let ids = 0
function line(more: Record<string, unknown> = {}): string {
  ids += 1
  return `${JSON.stringify({
    timestamp: '2026-11-20T10:00:00.000Z',
    'mcp.method.name': 'tools/call',
    'mcp.server.name': server,
    'gen_ai.tool.name': 'search',
    span_id: `span-${ids}`,
    'gen_ai.tool.call.arguments': { q: 'x' },
    'gen_ai.tool.call.result': { rows: [1, 2] },
    'gen_ai.agent.name': 'copilot',
    ...more,
  })}\n`
}

async function reading<T>(
  path: string,
  work: (reviewed: Reviewed) => T | Promise<T>,
  format: Format = 'otel',
  names = [server],
): Promise<T> {
  const log = await openInvocations({ kind: 'files', path, format }, now)
  const reviewed = await log.review(names, window, signal)
  try {
    return await work(reviewed)
  } finally {
    await reviewed.close()
    expect(await readdir(temporary)).toEqual([])
  }
}

const put = async (name: string, ...pieces: readonly (string | Buffer)[]) => {
  const path = join(folder, name)
  await writeFile(path, Buffer.concat(pieces.map((piece) => Buffer.from(piece))))
  return path
}

describe('lines that cannot be read', () => {
  it('counts each of them exactly, reads all others, and says that the log was read in part', async () => {
    const bad = [
      'hello\n',
      '{"timestamp": "2026-11-20T10:00:00Z", "mcp.serv\n',
      Buffer.concat([randomBytes(64).map((byte) => byte | 0x80), Buffer.from('\n')]),
      Buffer.from([0, 0, 0, 10]),
      '{"a":1} {"b":2}\n',
      '{"a":1}x\r\n',
    ]
    const path = await put(
      'log.ndjson',
      line(),
      '\n',
      '\r\n',
      '  \t \n',
      ...bad.flatMap((piece) => [piece, line()]),
      line().replace('\n', '\r\n'),
    )
    await reading(path, async ({ review, unread, raw }) => {
      expect(review.records).toBe(8)
      expect(unread).toEqual(['Could not be read because they are no JSON: 6 of 14 lines.'])
      expect(review.gaps).toEqual(expect.arrayContaining([...unread]))
      expect(await linesOf(raw)).toHaveLength(8)
    })
  })

  it('takes a half-written last line for a log that is being written, which is a gap and not a failure', async () => {
    const path = await put('log.ndjson', line(), line().slice(0, 50))
    await reading(path, ({ review, unread }) => {
      expect(review.records).toBe(1)
      expect(unread).toEqual([])
      expect(review.gaps.join('\n')).toContain('half-written')
    })
  })

  it('counts a last line without an end when it is whole', async () => {
    const path = await put('log.ndjson', line(), line().trimEnd())
    await reading(path, ({ review }) => {
      expect(review.records).toBe(2)
      expect(review.gaps.join('\n')).not.toContain('half-written')
    })
  })

  it('does not let characters that are not Unicode hide a call', async () => {
    const hidden = [
      Buffer.concat([
        Buffer.from(line().slice(0, -2)),
        Buffer.from(',"x":"'),
        Buffer.from([0xff, 0xc3]),
        Buffer.from('"}\n'),
      ]),
      line({ y: 'Z' }).replace('"Z"', '"\\ud83d"'),
      line({ y: 'Z' }).replace('"Z"', '"\\uDE00\\ud83d\\ude00\\\\ud83d"'),
      Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(line())]),
    ]
    const path = await put('log.ndjson', line({ z: '😀\\ud83d' }), ...hidden)
    await reading(path, async ({ review, unread, raw }) => {
      expect(review.records).toBe(5)
      expect(unread).toEqual([])
      expect(review.gaps).toContain('Read with the characters replaced that are not Unicode: 4 lines.')
      const lines = await linesOf(raw)
      expect(lines).toHaveLength(5)
      for (const raw of lines) JSON.parse(raw)
    })
  })

  it('reads a line of 50 MB, and leaves out and counts one that is beyond the bound', async () => {
    const big = 'y'.repeat(50 << 20)
    const path = await put('log.ndjson', line(), line({ 'gen_ai.tool.call.result': { text: big } }), line())
    await reading(path, async ({ review, unread, raw }) => {
      expect(review.records).toBe(3)
      expect(review.tools[0]?.bytes).toBe(2 * '{"rows":[1,2]}'.length + big.length + '{"text":""}'.length)
      expect(unread).toEqual([])
      let bytes = 0
      for await (const piece of raw) bytes += piece.length
      expect(bytes).toBeGreaterThan(50 << 20)
    })
    const beyond = await put(
      'beyond.ndjson',
      line(),
      line({ 'gen_ai.tool.call.result': { text: 'y'.repeat(66 << 20) } }),
      line(),
    )
    await reading(beyond, ({ review, unread }) => {
      expect(review.records).toBe(2)
      expect(unread).toEqual(['Not read because they are longer than 64 MiB: 1 of 3 lines.'])
    })
  })

  it('reads many lines of hundreds of kilobytes, which a query cannot hold at once', async () => {
    const text = 'y'.repeat(400_000)
    const long = Array.from({ length: 160 }, () => line({ 'gen_ai.tool.call.result': { rows: [{ text }] } }))
    const path = await put('log.ndjson', line(), ...long, 'half of a line that is long enough for it '.repeat(200))
    await reading(path, async ({ review, unread, raw }) => {
      expect(review.records).toBe(161)
      expect(review.tools[0]?.rows).toBe(162)
      expect(review.tools[0]?.bytes).toBe(
        '{"rows":[1,2]}'.length + 160 * (text.length + '{"rows":[{"text":""}]}'.length),
      )
      expect(unread).toEqual([])
      expect(await linesOf(raw)).toHaveLength(161)
    })
  })

  it('takes lines that are JSON but nothing of the format for other lines', async () => {
    const deep = `${'['.repeat(5000)}${']'.repeat(5000)}`
    const odd = [
      '[1,2]\n',
      '"text"\n',
      '42\n',
      'null\n',
      '{}\n',
      '{"mcp.method.name":{"a":1},"gen_ai":7}\n',
      `{"attributes":${deep}}\n`,
      '{"attributes":"text"}\n',
    ]
    const path = await put('log.ndjson', ...odd, line(), line({ 'mcp.method.name': 'resources/read' }))
    await reading(path, ({ review, unread }) => {
      expect(review.records).toBe(1)
      expect(unread).toEqual([])
      expect(review.gaps.join('\n')).toMatch(/no tool calls .*: 1 other lines/)
    })
  })
})

describe('files', () => {
  it('reads packed files, whole or in several pieces, whatever they are called', async () => {
    await put('1.ndjson.gz', gzipSync(line()), gzipSync(line() + line().slice(0, 20)))
    await put('2.ndjson', gzipSync(line()))
    await put('3.ndjson.gz', line())
    await reading(join(folder, '*'), async ({ review, unread, raw }) => {
      expect(review.records).toBe(4)
      expect(unread).toEqual([])
      expect(await linesOf(raw)).toHaveLength(4)
    })
  })

  it('says when a packed file breaks off, even between two lines, and reads what is before', async () => {
    const packed = gzipSync(Array.from({ length: 2000 }, () => line({ x: randomBytes(8).toString('hex') })).join(''))
    await put('log.ndjson.gz', packed.subarray(0, packed.length >> 1))
    await reading(join(folder, 'log.ndjson.gz'), ({ review, unread }) => {
      expect(review.records).toBeGreaterThan(200)
      expect(review.records).toBeLessThan(2000)
      expect(unread.join('\n')).toContain('damaged or cut off')
    })
  })

  it('reads files whose names are patterns or queries, and each of them once', async () => {
    for (const name of [
      'a*.ndjson',
      'b[1].ndjson',
      "c'; DROP TABLE lines; --.ndjson",
      'd?.ndjson',
      'e\u001b[31m.ndjson',
    ])
      await put(name, line())
    await reading(join(folder, '*.ndjson'), ({ review }) => expect(review.records).toBe(5))
    await reading(join(folder, 'a*.ndjson'), ({ review }) => expect(review.records).toBe(1))
  })

  it('says which file it may not read, and that none is there', async () => {
    await put('ok.ndjson', line())
    const locked = await put('locked\u001b[31m.ndjson', line())
    await chmod(locked, 0)
    await mkdir(join(folder, 'folder.ndjson'))
    if (process.getuid?.() !== 0) {
      await reading(join(folder, '*.ndjson'), ({ review, unread }) => {
        expect(review.records).toBe(1)
        expect(unread.join('\n')).toMatch(/locked\\u\{1b\}.*could not be read \(EACCES\)/)
      })
    }
    await reading(join(folder, 'missing-*.ndjson'), ({ review, unread, covered }) => {
      expect(review.records).toBe(0)
      expect(unread.join('\n')).toContain('No log file matches')
      expect(covered).toBe(false)
    })
  })

  it('reads an empty file and one of blank lines', async () => {
    await put('empty.ndjson')
    await put('blank.ndjson', '\n\n\r\n')
    await reading(join(folder, '*.ndjson'), ({ review, unread }) => {
      expect(review.records).toBe(0)
      expect(unread).toEqual([])
    })
  })
})

describe('records', () => {
  it('binds names of servers, and quotes field paths of a map', async () => {
    const names = [`x') OR 1=1 --`, `'; DROP TABLE lines; --`, '%', '*', '$names', '\0']
    const path = await put(
      'log.ndjson',
      line(),
      line({ 'mcp.server.name': 'io.acme/crm2' }),
      line({ 'mcp.server.name': '%' }),
    )
    await reading(path, ({ review }) => expect(review.records).toBe(1), 'otel', names)

    const key = `a"b'; DROP TABLE lines; --/~$[0]\\`
    const map = { time: `${key}.T`, tool: `${key}.t`, server: `${key}.'"` }
    const mapped = await put(
      'map.ndjson',
      `${JSON.stringify({ [key]: { T: 1795132800, t: 'tool', '\'"': server } })}\n`,
    )
    await reading(mapped, ({ review }) => expect(review.tools.map(({ tool }) => tool)).toEqual(['tool']), { map })
  })

  it('bounds names, however long the suspect made them', async () => {
    const long = 'n'.repeat(1 << 20)
    const path = await put(
      'log.ndjson',
      line({ 'gen_ai.tool.name': long, 'gen_ai.agent.name': long, 'mcp.session.id': long, span_id: long }),
      line({ 'gen_ai.tool.name': `${long}x` }),
    )
    await reading(path, ({ review }) => {
      expect(review.tools).toHaveLength(2)
      expect(JSON.stringify(review).length).toBeLessThan(5000)
    })
  })

  it('counts what cannot be placed: no time, no server, the future', async () => {
    const path = await put(
      'log.ndjson',
      line(),
      line({ timestamp: 'yesterday' }),
      line({ timestamp: undefined }),
      line({ timestamp: 'infinity' }),
      line({ timestamp: '2031-01-01T00:00:00Z' }),
      line({ 'mcp.server.name': undefined }),
    )
    await reading(path, ({ review }) => {
      expect(review.records).toBe(1)
      const gaps = review.gaps.join('\n')
      expect(gaps).toMatch(/for want of a time that can be read: 3 calls/)
      expect(gaps).toMatch(/clock is wrong: 1 calls/)
      expect(gaps).toMatch(/which server they went to: 1 calls/)
    })
  })

  it('understands every way to write a time, to the edges of the window', async () => {
    const inside = [
      '2026-11-20T00:00:00Z',
      '2026-11-20T01:00:00+01:00',
      '2026-11-19t20:00:00.000-0430',
      '2026-11-20 23:59:59.999999',
      1795132800,
      '1795132800000',
      1795132800000.5,
      '1795132800000000000',
      '1795219199999999',
    ]
    const outside = ['2026-11-21T00:00:00Z', '2026-11-19T23:59:59.999999Z', '2026-11-20T00:00:00+01:00', 1795219200]
    const path = await put('log.ndjson', ...[...inside, ...outside].map((timestamp) => line({ timestamp })))
    await reading(path, ({ review }) => {
      expect(review.records).toBe(inside.length)
      expect(review.first).toBe('2026-11-20T00:00:00.000Z')
      expect(review.last).toBe('2026-11-20T23:59:59.999Z')
      expect(review.gaps.join('\n')).not.toMatch(/want of a time/)
    })
  })

  it.each(['nan', '-inf', '1e400', 1e300, '12345678901234567000', -1e18, 'soon'])(
    'takes a duration of %s for none',
    async (duration) => {
      const path = await put('log.ndjson', line({ duration_ms: duration }), line({ duration_ms: 5 }))
      for (const ways of [{}, { oneByOne: 1 }]) {
        const log = filesInvocations({ kind: 'files', path, format: 'otel' }, now, ways)
        const reviewed = await log.review([server], window, signal)
        const took: number[] = []
        for await (const piece of reviewed.trail('own')) took.push(...piece.map(({ time, ends }) => ends - time))
        await reviewed.close()
        expect(took).toEqual([0, 5000])
      }
    },
  )

  it('tells apart what shares an id, and warns of ids that are used twice', async () => {
    const same = line({ span_id: 'a' })
    const path = await put(
      'log.ndjson',
      same,
      same,
      line({ span_id: 'a', 'gen_ai.tool.name': 'other' }),
      line({ span_id: '0000000000000000' }),
      line({ span_id: '0000000000000000', y: 1 }),
    )
    await reading(path, ({ review }) => {
      expect(review.records).toBe(4)
      expect(review.duplicates).toBe(1)
    })
    const map = { id: 'id', time: 'time', tool: 'tool' }
    const reused = await put(
      'reused.ndjson',
      ...['read', 'delete'].map((tool) => `${JSON.stringify({ id: 1, time: '2026-11-20T10:00:00Z', tool })}\n`),
    )
    await reading(
      reused,
      ({ review }) => {
        expect(review.duplicates).toBe(1)
        expect(review.gaps.join('\n')).toContain('An id that is used twice can hide a call')
      },
      { map },
    )
    const without = await put(
      'without.ndjson',
      ...[1, 1, 2].map((x) => `${JSON.stringify({ x, time: '2026-11-20T10:00:00Z', tool: 'a' })}\n`),
    )
    await reading(without, ({ review }) => expect([review.records, review.duplicates]).toEqual([2, 1]), {
      map: { time: 'time', tool: 'tool' },
    })
  })

  it('gives the raw records in time order, byte for byte', async () => {
    const at = (minute: number) =>
      line({
        timestamp: new Date(Date.parse(window.since) + minute * 60_000).toISOString(),
        text: '\u001b[31m<script>é',
      })
    const lines = [5, 3, 9, 1].map(at)
    await put('a.ndjson', ...lines.slice(0, 2))
    await put('b.ndjson.gz', gzipSync(lines.slice(2).join('')))
    await reading(join(folder, '*'), async ({ raw }) => {
      const expected = [...lines].sort().map((text) => text.trimEnd())
      expect(await linesOf(raw)).toEqual(expected)
      expect(await linesOf(raw)).toEqual(expected)
    })
  })
})

describe('answers of some kilobytes', () => {
  it('reads thousands of them within the memory that it allows itself', async () => {
    const lines = Array.from({ length: 12_000 }, (_, index) =>
      line({ 'gen_ai.tool.call.result': { text: 'x'.repeat(500 + ((index * 37) % 3500)) } }),
    )
    await reading(await put('log.ndjson', ...lines), ({ review }) => expect(review.records).toBe(lines.length))
  })
})

describe('check', () => {
  const check = async (path: string, format: Format = 'otel') =>
    (await openInvocations({ kind: 'files', path, format }, now)).check(signal)

  it('is content with a log of the format', async () => {
    expect(await check(await put('log.ndjson', line()))).toEqual([])
    expect(await readdir(temporary)).toEqual([])
  })

  it('says that nothing is there, that it is no JSON, or not of the format', async () => {
    expect(await check(join(folder, 'none'))).toEqual([expect.stringContaining('No log file matches')])
    expect(await check(await put('text', 'a\nb\n'))).toEqual([expect.stringContaining('is JSON')])
    expect(await check(await put('other', line()), 'toolhive')).toEqual([
      expect.stringContaining('a tool call in the format toolhive'),
    ])
    expect(await check(await put('timeless', line({ timestamp: 'x' })))).toEqual([
      expect.stringContaining('has a time'),
    ])
  })

  it('can be interrupted', async () => {
    const log = await openInvocations({ kind: 'files', path: await put('log.ndjson', line()), format: 'otel' }, now)
    await expect(log.review([server], window, AbortSignal.abort())).rejects.toMatchObject({ code: 'interrupted' })
    expect(await readdir(temporary)).toEqual([])
  })
})
