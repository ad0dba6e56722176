import { count, number } from '../../ui/format.ts'
import type { Finding } from '../port.ts'
import type { Newcomers, Selection, Usage } from './port.ts'
import type { Judged, Suspicion } from './suspicion.ts'
import { type Covered, fewest } from './usual-hours.ts'
import { between, listed, shown, whoAndWhence } from './words.ts'

/** More new names than this are told in one finding. */
const mostSingle = 5

const kinds = {
  agent: { kind: 'caller', one: 'agent' },
  user: { kind: 'caller', one: 'user' },
  address: { kind: 'address', one: 'address' },
  tool: { kind: 'tool', one: 'tool' },
} as const satisfies Record<Newcomers['of'], { kind: Finding['kind']; one: string }>

/**
 * Names that the baseline has not. How often new ones come is told by its second half: where that brought two or more that its first
 * half had not, new ones are usual, and only far more of them are out of the ordinary.
 */
export function newcomers(usage: Usage, { from, until }: Covered, windowHours: number): Judged {
  const days = (until - from) / 24
  const gaps: string[] = []
  const suspicions = usage.newcomers.flatMap((news) => {
    // Those that another newcomer explains are told with that one.
    const list = news.list.filter(({ byKnown }) => byKnown > 0)
    const all = news.all - (news.list.length - list.length)
    if (all === 0 || days < fewest) return []
    if (news.known === 0) {
      gaps.push(
        `No record from before the window names ${an(kinds[news.of].one)}: whether those in it are new cannot be told.`,
      )
      return []
    }
    const expected = (news.knownLate / (days / 2)) * (windowHours / 24)
    if (news.knownLate <= 1 && all <= mostSingle) return list.map(({ name }) => single(news, name))
    if (news.knownLate <= 1 || all > 3 * expected + 2) return [several(news, all, list, expected)]
    gaps.push(
      `${count(all, kinds[news.of].one, plural(kinds[news.of].one))} ${all === 1 ? 'was' : 'were'} never seen before, which is usual for this server (the two weeks before brought ${news.knownLate}): ${all === 1 ? 'it is' : 'they are'} no finding.`,
    )
    return []
  })
  return { suspicions, gaps }
}

function single({ of, known }: Newcomers, name: string): Suspicion {
  const { kind, one } = kinds[of]
  return {
    kind,
    from: 0,
    records: { [of]: name } satisfies Selection,
    tell: (found) => ({
      summary: `${of === 'tool' ? 'A tool' : `An ${one}`.replace('An user', 'A user')} that was never seen before: ${shown(name)}`,
      expected: `one of ${count(known, one, plural(one))} of the time before`,
      seen:
        found === undefined
          ? ''
          : `${count(found.calls, 'call')}${found.failed > 0 ? `, ${number(found.failed)} of them failed,` : ''} ${between(found)}${whoAndWhence(found)}${of === 'tool' ? '' : toolsOf(found)}`,
    }),
  }
}

function several(
  { of, known, knownLate }: Newcomers,
  all: number,
  list: Newcomers['list'],
  expected: number,
): Suspicion {
  const { kind, one } = kinds[of]
  return {
    kind,
    from: 0,
    records: { newcomers: of },
    tell: (found) => ({
      summary: `${count(all, one, plural(one))} that were never seen before`,
      expected: `${expected < 1 ? 'hardly any' : `about ${number(Math.round(expected))}`}: the baseline has ${number(known)}, of which its second half brought ${number(knownLate)}`,
      seen:
        found === undefined
          ? ''
          : `${listed(
              list.slice(0, mostSingle).map(({ name }) => shown(name)),
              all - Math.min(mostSingle, list.length),
            )}, with ${count(found.calls, 'call')} ${between(found)}`,
    }),
  }
}

function toolsOf({
  tools,
}: {
  readonly tools: { readonly list: readonly { readonly name: string }[]; readonly others: number }
}): string {
  return tools.list.length === 0
    ? ''
    : `, to ${listed(
        tools.list.map(({ name }) => shown(name)),
        tools.others,
      )}`
}

function plural(one: string): string {
  return one === 'address' ? 'addresses' : `${one}s`
}

function an(one: string): string {
  return one === 'user' || one === 'tool' ? `a ${one}` : `an ${one}`
}
