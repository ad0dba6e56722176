import type { Change } from '../change.ts'
import type { Consent, Presenter, StepReport } from '../playbook/runner.ts'
import { answerText } from './answers.ts'
import { count, duration, number } from './format.ts'
import type { Ui } from './port.ts'
import { safe } from './safe-text.ts'
import { table } from './table.ts'
import { styled } from './terminal.ts'
import { tree } from './tree.ts'

/** So many changes, or credentials and deployments, are shown one by one. */
const most = 60

const back: Readonly<Record<Change['effect'], string>> = {
  reversible: 'can be undone',
  irreversible: 'CANNOT be undone',
  creates: 'makes something new',
}

/** How far the changes of one adapter are. */
interface System {
  readonly name: string
  planned: number
  made: number
  failed: number
  began: number | undefined
}

function progressOf({ name, planned, made, failed }: System): string {
  return `${name}: ${made} of ${planned}${failed === 0 ? '' : `, ${failed} failed`}`
}

/**
 * Shows the steps of a playbook to a person, on stderr.
 * @param answers whether what the reading steps found out is shown too; a command of its own prints it as its data
 */
export function presenter(ui: Ui, consent: Consent, columns: number, answers: boolean): Presenter {
  const began = new Map<string, number>()
  /** Filled when there are too many changes to tell of each: what they are on, by change. */
  const systems = new Map<string, System>()
  const byName = new Map<string, System>()
  const width = Math.max(60, Math.min(columns, 140))
  const list = (mark: string, texts: readonly string[]): void => {
    for (const text of texts) ui.say(`  ${mark} ${safe(text, 2000)}`)
  }
  return {
    warnings: (_, warnings) => list(styled('yellow', '!'), warnings),
    plan: (step, server, operations, hash) => {
      const changes = operations.flatMap((operation) => operation.changes.map((change) => ({ operation, change })))
      if (changes.length === 0) {
        ui.say(`${styled('bold', step)}: nothing is left to change.`)
        return
      }
      ui.say('')
      ui.say(
        `${styled('bold', step)} would make ${count(changes.length, 'change')} on ${safe(server.name)} (owner ${safe(server.owner)}):`,
      )
      systems.clear()
      byName.clear()
      if (changes.length > most) {
        for (const { operation, change } of changes) {
          const name = operation.adapter.slice(operation.adapter.indexOf('/') + 1)
          const system = byName.get(name) ?? { name, planned: 0, made: 0, failed: 0, began: undefined }
          byName.set(name, system)
          system.planned++
          systems.set(change.id, system)
        }
      }
      ui.say('')
      const hanging = operations.filter((operation) => operation.changes.some(({ chain }) => chain !== undefined))
      if (hanging.length > 0) {
        const paths = hanging
          .slice(0, most)
          .flatMap(({ key, changes: its }) =>
            its.flatMap(({ chain }) => (chain === undefined ? [] : [[key, ...chain]])),
          )
        for (const line of tree(paths.map((path) => path.map((name) => safe(name))))) ui.say(`  ${line}`)
        if (hanging.length > most) ui.say(`  and ${number(hanging.length - most)} more like these`)
        ui.say('')
      }
      // In the order in which they are made, as far as it is one.
      const ordered = changes.toSorted((a, b) => (a.change.stage ?? 1) - (b.change.stage ?? 1))
      const [listed, left] = ordered.length <= most ? [ordered, []] : [ordered.slice(0, most), ordered.slice(most)]
      ui.say(
        table(
          ['WHERE', 'WHAT', 'BACK?', 'BREAKS'],
          listed.map(({ operation, change }) => [
            operation.key,
            change.priority === 'essential' ? change.summary : `${change.summary} (best effort)`,
            back[change.effect],
            change.breaks.length === 0 ? 'nothing known' : change.breaks.join('; '),
          ]),
          width,
        ),
      )
      if (left.length > 0) {
        const breaks = [...new Set(left.flatMap(({ change }) => change.breaks))]
        const forever = left.filter(({ change }) => change.effect === 'irreversible').length
        ui.say(
          `  and ${left.length} more like these, ${forever === 0 ? 'all of which can be undone' : `${forever} of which CANNOT be undone`}; they break ${breaks.length === 0 ? 'nothing known' : safe(breaks.join('; '), 2000)}.`,
        )
        ui.say('  All of them: --dry-run --json')
      }
      for (const { operation, change } of listed) {
        const facts = Object.entries(change.facts ?? {})
        if (facts.length === 0) continue
        ui.say('')
        ui.say(styled('dim', `  ${safe(operation.key)} · ${safe(change.target)}`))
        ui.say(
          table(
            ['', ''],
            facts.map(([name, value]) => [`  ${name}`, value]),
            width,
          ),
        )
      }
      ui.say(styled('dim', `  plan ${hash}`))
      ui.say('')
    },
    consent: async (step, server, changes) => {
      if (consent !== 'ask') return consent === 'yes'
      if (changes.some((change) => change.effect === 'irreversible')) {
        return ui.ask.typed(`This cannot be undone. Type ${safe(server.name)} to go on, Enter to stop:`, server.name)
      }
      return ui.ask.confirm(`Go on with ${step}?`)
    },
    change: (_, change, event, error) => {
      const system = systems.get(change.id)
      if (event === 'started') {
        began.set(change.id, performance.now())
        if (system !== undefined) system.began ??= performance.now()
        return undefined
      }
      const started = began.get(change.id)
      const took = started === undefined ? '' : styled('dim', ` ${duration(performance.now() - started)}`)
      const mark = event === 'failed' ? styled('red', '✗') : styled('green', '✓')
      const note =
        event === 'settled' ? ' (found to be done already)' : event === 'failed' ? `: ${safe(error ?? '', 2000)}` : ''
      if (system === undefined || event === 'failed') ui.say(`  ${mark} ${safe(change.summary)}${note}${took}`)
      if (system === undefined) return undefined
      if (event === 'failed') system.failed++
      else system.made++
      if (system.made + system.failed === system.planned) {
        const all = styled('dim', duration(performance.now() - (system.began ?? performance.now())))
        ui.say(`  ${system.failed === 0 ? styled('green', '✓') : styled('red', '✗')} ${progressOf(system)} ${all}`)
      }
      return [...byName.values()]
        .filter(({ planned, made, failed }) => made + failed < planned)
        .map(progressOf)
        .join(', ')
    },
    report: (report) => {
      for (const line of summary(report)) ui.say(line)
      const answer = answers ? answerText(report.use, report.output, width) : ''
      if (answer !== '') ui.say(`\n${answer}`)
    },
  }
}

const words: Readonly<Record<StepReport['state'], string>> = {
  done: 'done, and observed',
  residual: 'done, with residue that could not be excluded',
  partial: 'done in part',
  failed: 'failed',
  skipped: 'skipped',
  'nothing-to-do': 'nothing to do: observed to be so already',
  planned: 'planned; nothing was changed',
  'consent-required': 'waits for consent; nothing was changed',
  declined: 'declined; nothing was changed',
}

/** Of very many, those that are as they should be are counted by their adapter; every other one is told. */
function observations(verdict: NonNullable<StepReport['verdict']>): readonly string[] {
  const [ok, some, bad] = [styled('green', '✓'), styled('yellow', '!'), styled('red', '✗')]
  const lines: string[] = []
  const good = new Map<string, { operations: number; residual: number; observed: number }>()
  for (const { key, adapter, state, observed } of verdict) {
    const all = observed.length > 0 && observed.every(({ holds }) => holds)
    if (all && state !== 'failed' && verdict.length > most) {
      const name = adapter.slice(adapter.indexOf('/') + 1)
      const counted = good.get(name) ?? { operations: 0, residual: 0, observed: 0 }
      counted.operations++
      if (state === 'residual') counted.residual++
      counted.observed += observed.length
      good.set(name, counted)
      continue
    }
    if (!observed.some(({ holds }) => !holds) && verdict.length > most)
      lines.push(`  ${state === 'failed' ? bad : some} ${safe(key)}: ${state}, and nothing that was seen says why`)
    for (const { claim, seen, holds } of observed)
      if (!holds || verdict.length <= most)
        lines.push(`  ${holds ? ok : bad} ${safe(key)}: ${safe(claim)}: ${safe(seen)}`)
  }
  for (const [name, { operations, residual, observed }] of good) {
    const left = residual === 0 ? '' : `, ${number(residual)} of them with something left, which is told below`
    const seen = `${number(operations)} observed as they should be (${count(observed, 'observation')}: --json has them)`
    lines.push(`  ${residual === 0 ? ok : some} ${safe(name)}: ${seen}${left}`)
  }
  return lines
}

function summary(report: StepReport): string[] {
  const took = duration(report.tookMs)
  const good = report.state === 'done' || report.state === 'nothing-to-do'
  const bad = report.state === 'failed' || report.state === 'partial'
  const state = styled(good ? 'green' : bad ? 'red' : 'yellow', words[report.state])
  const lines = [`${styled('bold', report.id)}: ${state} ${styled('dim', `(${took})`)}`]
  lines.push(...observations(report.verdict ?? []))
  const part = (title: string, texts: readonly string[]): void => {
    if (texts.length === 0) return
    lines.push(`  ${styled('bold', title)}`)
    for (const text of texts) lines.push(`    - ${safe(text, 2000)}`)
  }
  if (report.state !== 'planned' && report.state !== 'consent-required') {
    part('Still open', report.open)
    part('May still live', report.residue)
    part('What this cannot do', report.limits)
  }
  if (report.state === 'consent-required')
    lines.push('  → Look at the plan above, then add --yes, or run it on a terminal.')
  return lines
}
