import type { Case } from '../case/case.ts'
import type { Context } from '../context.ts'
import { safe } from '../ui/safe-text.ts'
import type { PlaybookStep } from './load.ts'
import type { Consent } from './runner.ts'

/**
 * A step that only a person can do. Its answer, or the reason for skipping it, is recorded; without anybody to ask it
 * stays open and holds nothing up.
 */
export async function runManual(
  step: PlaybookStep,
  incident: Case,
  context: Context,
  options: { readonly consent: Consent; readonly dryRun?: boolean | undefined },
  answer: string | undefined,
  reason: string | undefined,
): Promise<void> {
  const { journal } = incident
  const { ui } = context
  const question = step.manual ?? step.id
  const began = context.now()
  const settled = journal.lines.findLast((line) => line.step === step.id && line.kind.startsWith('manual.'))
  if (settled !== undefined && settled.kind !== 'manual.open' && answer === undefined && reason === undefined) return
  ui.say(safe(question, 1000))
  if (options.dryRun === true) return
  const finish = (state: 'done' | 'skipped'): void => {
    const tookMs = context.now().getTime() - began.getTime()
    journal.append('step.finished', { use: 'manual', state, open: [], residue: [], limits: [], tookMs }, step.id)
  }
  const record = (kind: 'answered' | 'skipped', text: string): void => {
    journal.append('step.started', { use: 'manual', run: 1, resumed: false }, step.id)
    if (kind === 'answered') journal.append('manual.answered', { question, answer: text }, step.id)
    else journal.append('manual.skipped', { question, reason: text }, step.id)
    finish(kind === 'answered' ? 'done' : 'skipped')
  }
  if (answer !== undefined) return record('answered', answer)
  if (reason !== undefined) return record('skipped', reason)
  if (options.consent === 'ask' && ui.interactive) {
    const given = await ui.ask.text(
      step.ask === undefined ? 'Done? Say what was done, or Enter to leave it:' : 'Your answer (Enter leaves it open):',
    )
    if (given !== '') return record('answered', given)
    if (step.skip === 'with-reason') {
      const why = await ui.ask.text('Why is it skipped? (Enter leaves it open)')
      if (why !== '') return record('skipped', why)
    }
  }
  if (settled === undefined) journal.append('manual.open', { question }, step.id)
  ui.say(`  stays open: --answer ${step.id}=… or --skip ${step.id}=REASON records it later`)
}
