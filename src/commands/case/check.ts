import { Args } from '@oclif/core'
import { type CommandResult, IrCommand } from '../../base-command.ts'
import { checkCase } from '../../case/case.ts'
import { caseFolder } from '../../case/find.ts'
import { count } from '../../ui/format.ts'
import { safe } from '../../ui/safe-text.ts'

export default class CaseCheck extends IrCommand {
  static override summary = 'Read every line of the journal and every byte of the evidence again.'
  static override description = 'Ends with code 4 and the place when anything was changed since it was written.'
  static override args = { case: Args.string({ description: 'Case id; default: the only open one.' }) }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(CaseCheck)
    const { config } = await this.context(flags)
    const folder = await caseFolder(config.cases, args.case ?? flags.case)
    const result = await checkCase(folder)
    const whole = `${count(result.lines, 'journal line')} and ${count(result.evidence, 'piece')} of evidence are as they were written.`
    return {
      status: result.damage.length === 0 ? 'done' : 'refused',
      exitCode: result.damage.length === 0 ? 0 : 4,
      result: { folder, ...result },
      text:
        result.damage.length === 0
          ? whole
          : result.damage.map(({ place, what }) => `${safe(place)} ${safe(what)}`).join('\n'),
    }
  }
}
