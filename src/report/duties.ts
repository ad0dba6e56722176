import type { Line, LineOf } from '../case/events.ts'
import type { NoticeName } from '../case/notes.ts'
import type { Duty, Law, Moment, Notice } from './model.ts'
import { contentOf, type NoticeFacts } from './notice-content.ts'
import { utc } from './words.ts'

/**
 * The clocks of the duties to notify, as dates. They are counted by the hour from the recorded moment, which is never later
 * than the law's own way of counting; weekends and holidays, which some laws let pass, are not taken into account.
 */
export function buildDuties(laws: readonly Law[], lines: readonly Line[], facts: NoticeFacts): readonly Duty[] {
  const notices = lines.filter((line): line is LineOf<'note'> => line.kind === 'note' && line.data.kind === 'notified')
  const sent = (name: NoticeName) =>
    notices.filter((line) => line.data.about === name).map(({ data, by }) => ({ ...data, by }))
  const clocks = new Clocks(facts.times, sent)
  return all
    .filter(({ law }) => laws.includes(law))
    .map(({ law, label, applies, rules }) => ({
      law,
      label,
      applies,
      notices: rules.map(({ name, label: title, rule, due }): Notice => {
        const clock = due(clocks)
        const first = sent(name)[0]
        const late = first !== undefined && clock.at !== undefined && Date.parse(first.at) > Date.parse(clock.at)
        return {
          name,
          label: title,
          rule,
          due: clock.at,
          counted: clock.counted,
          assumed: clock.assumed,
          sent: first === undefined ? undefined : { at: first.at, by: first.by, text: first.text },
          state: first === undefined ? 'not sent' : late ? 'sent late' : 'sent',
          content: contentOf(name, lines, facts),
        }
      }),
    }))
}

interface Clock {
  readonly at: string | undefined
  readonly counted: string
  readonly assumed: boolean
}

interface Rule {
  readonly name: NoticeName
  readonly label: string
  readonly rule: string
  readonly due: (clocks: Clocks) => Clock
}

/** From which moments the time-limits run. */
class Clocks {
  readonly #times: readonly Moment[]
  readonly #sent: (name: NoticeName) => readonly { readonly at: string }[]

  constructor(times: readonly Moment[], sent: (name: NoticeName) => readonly { readonly at: string }[]) {
    this.#times = times
    this.#sent = sent
  }

  moment(key: Moment['key']): string | undefined {
    return this.#times.find((moment) => moment.key === key)?.at
  }

  /** Awareness as it was told; else the earliest moment that somebody may hold to be it. */
  get aware(): Clock {
    const told = this.moment('aware')
    if (told !== undefined) return { at: told, counted: `awareness, ${utc(told)}`, assumed: false }
    const [first] = (['detected', 'declared'] as const)
      .flatMap((key) => {
        const at = this.moment(key)
        return at === undefined ? [] : [{ key, at }]
      })
      .sort((a, b) => Date.parse(a.at) - Date.parse(b.at))
    if (first === undefined) return { at: undefined, counted: 'awareness, which nobody recorded', assumed: true }
    const what = first.key === 'detected' ? 'it was detected' : 'the case was opened'
    return {
      at: first.at,
      counted: `awareness, which nobody recorded: assumed to be when ${what}, ${utc(first.at)}`,
      assumed: true,
    }
  }

  afterAwareness(hours: number): Clock {
    const { at, ...rest } = this.aware
    return { ...rest, at: plusHours(at, hours) }
  }

  /** From when another notice went out; else from when it is due. */
  after(
    name: NoticeName,
    title: string,
    due: Clock,
    plus: (at: string | undefined) => string | undefined,
    which: 'first' | 'last' = 'first',
  ): Clock {
    const sent = this.#sent(name).at(which === 'first' ? 0 : -1)
    if (sent !== undefined) return { at: plus(sent.at), counted: `the ${title}, sent ${utc(sent.at)}`, assumed: false }
    return {
      at: plus(due.at),
      counted: `the ${title}, which is not recorded as sent: assumed to go out when it is due${due.at === undefined ? '' : `, ${utc(due.at)}`}`,
      assumed: true,
    }
  }

  /** Article 5(1)(a) and (2): four hours from the classification, 24 hours from awareness where it was classified by then. */
  get doraInitial(): Clock {
    const classified = this.moment('classified')
    const day = this.afterAwareness(24)
    if (classified === undefined) {
      return {
        at: day.at,
        counted: `${day.counted}. The classification as major is not recorded: 4 hours from it, if that is sooner, or if it comes after these 24 hours; none as long as it is not major`,
        assumed: true,
      }
    }
    const four = plusHours(classified, 4)
    const counted = `classification as major, ${utc(classified)}`
    const within = day.at !== undefined && Date.parse(classified) <= Date.parse(day.at)
    if (within && four !== undefined && day.at !== undefined && Date.parse(day.at) < Date.parse(four)) return day
    return {
      at: four,
      counted: within ? `${counted}, which is sooner than 24 hours from awareness` : counted,
      assumed: false,
    }
  }

  get doraIntermediate(): Clock {
    return this.after('dora-initial', 'initial notification', this.doraInitial, (at) => plusHours(at, 72))
  }
}

const all: readonly {
  readonly law: Law
  readonly label: string
  readonly applies: string
  readonly rules: readonly Rule[]
}[] = [
  {
    law: 'gdpr',
    label: 'GDPR, Article 33',
    applies:
      'Where personal data were breached, unless that is unlikely to be a risk to people. Where the risk is high, the people concerned are told as well, without undue delay (Article 34).',
    rules: [
      {
        name: 'gdpr-notification',
        label: 'Notification to the supervisory authority',
        rule: '72 hours after becoming aware (Art. 33(1)); what is not known yet may follow in phases (Art. 33(4)), what is later needs its reasons',
        due: (clocks) => clocks.afterAwareness(72),
      },
    ],
  },
  {
    law: 'nis2',
    label: 'NIS2, Article 23',
    applies: 'Where the incident is significant (Article 23(3)); to the CSIRT or the competent authority.',
    rules: [
      {
        name: 'nis2-early-warning',
        label: 'Early warning',
        rule: '24 hours after becoming aware (Art. 23(4)(a))',
        due: (clocks) => clocks.afterAwareness(24),
      },
      {
        name: 'nis2-notification',
        label: 'Incident notification',
        rule: '72 hours after becoming aware (Art. 23(4)(b)); 24 hours for providers of trust services',
        due: (clocks) => clocks.afterAwareness(72),
      },
      {
        name: 'nis2-final',
        label: 'Final report',
        rule: 'one month after the incident notification (Art. 23(4)(d)); while it goes on a progress report, and the final one a month after it was handled (e)',
        due: (clocks) =>
          clocks.after('nis2-notification', 'incident notification', clocks.afterAwareness(72), plusMonth),
      },
    ],
  },
  {
    law: 'dora',
    label: 'DORA, Article 19, and Regulation (EU) 2025/301',
    applies: 'For financial entities, where the incident is classified as major.',
    rules: [
      {
        name: 'dora-initial',
        label: 'Initial notification',
        rule: '4 hours after the classification as major, and 24 hours after becoming aware at the latest (Art. 5(1)(a)); 4 hours after a classification that comes later (Art. 5(2))',
        due: (clocks) => clocks.doraInitial,
      },
      {
        name: 'dora-intermediate',
        label: 'Intermediate report',
        rule: '72 hours after the initial notification (Art. 5(1)(b)), also when nothing has changed; again when regular activities have been recovered',
        due: (clocks) => clocks.doraIntermediate,
      },
      {
        name: 'dora-final',
        label: 'Final report',
        rule: 'one month after the last intermediate report (Art. 5(1)(c))',
        due: (clocks) =>
          clocks.after('dora-intermediate', 'intermediate report', clocks.doraIntermediate, plusMonth, 'last'),
      },
    ],
  },
]

function plusHours(at: string | undefined, hours: number): string | undefined {
  return at === undefined ? undefined : new Date(Date.parse(at) + hours * 3_600_000).toISOString()
}

/** The same day of the next month, or its last one where it has no such day. */
function plusMonth(at: string | undefined): string | undefined {
  if (at === undefined) return undefined
  const date = new Date(at)
  const day = date.getUTCDate()
  date.setUTCDate(1)
  date.setUTCMonth(date.getUTCMonth() + 1)
  const last = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 0)).getUTCDate()
  date.setUTCDate(Math.min(day, last))
  return date.toISOString()
}
