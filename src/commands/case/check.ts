import { Args, Flags } from '@oclif/core'
import { type AnchorCheck, checkAnchor } from '../../anchor/check.ts'
import { readAttempts } from '../../anchor/receipts.ts'
import { type CommandResult, IrCommand } from '../../base-command.ts'
import { type CheckResult, checkCase, readCase } from '../../case/case.ts'
import { caseFolder } from '../../case/find.ts'
import { count } from '../../ui/format.ts'
import { safe } from '../../ui/safe-text.ts'

export default class CaseCheck extends IrCommand {
  static override summary = 'Read every line of the journal and every byte of the evidence again.'
  static override description = 'Ends with code 4 and the place when anything was changed since it was written.'
  static override flags = {
    anchor: Flags.boolean({
      description: 'Compare with what the anchor knows of the journal: also a rewritten chain is found.',
      env: 'MCP_IR_ANCHOR',
    }),
  }
  static override args = { case: Args.string({ description: 'Case id; default: the only open one.' }) }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(CaseCheck)
    const context = await this.context(flags)
    const folder = await caseFolder(context.config.cases, args.case ?? flags.case)
    const result = await checkCase(folder)
    const stored = flags.anchor && result.damage.length === 0 ? await readCase(folder) : undefined
    const anchor =
      stored && (await checkAnchor(context.config, stored, readAttempts(folder, stored.id), context.signal))
    const damage = [...result.damage, ...(anchor?.damage ?? [])]
    const nothing = anchor !== undefined && anchor.heads === 0
    const status = damage.length > 0 ? 'refused' : nothing ? 'partial' : 'done'
    return {
      status,
      exitCode: { refused: 4, partial: 3, done: 0 }[status],
      result: { folder, ...result, damage, ...(anchor === undefined ? {} : { anchor }) },
      text: checkText(result, damage, anchor),
    }
  }
}

function checkText(result: CheckResult, damage: CheckResult['damage'], anchor: AnchorCheck | undefined): string {
  const whole = `${count(result.lines, 'journal line')} and ${count(result.evidence, 'piece')} of evidence are as they were written.`
  const upTo = anchor?.upTo
  return [
    ...(damage.length === 0 ? [whole] : damage.map(({ place, what }) => `${safe(place)} ${safe(what)}`)),
    ...(anchor === undefined || upTo === undefined ? [] : [`${anchor.anchor} vouches for lines 1 to ${upTo.seq}.`]),
    ...(anchor?.notes ?? []).map((note) => `! ${safe(note, 500)}`),
  ].join('\n')
}
