import { Args } from '@oclif/core'
import { Anchoring } from '../../anchor/anchoring.ts'
import { readAttempts } from '../../anchor/receipts.ts'
import { type CommandResult, IrCommand } from '../../base-command.ts'
import { findCase } from '../../case/find.ts'
import { IrError } from '../../errors.ts'

export default class CaseAnchor extends IrCommand {
  static override summary = 'Take the head of the journal off this host now; it is done after every step anyway.'
  static override description = 'Where to is `anchor` in the configuration. Writes nothing into the journal.'
  static override args = { case: Args.string({ description: 'Case id; default: the only open one.' }) }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(CaseAnchor)
    const context = await this.context(flags)
    const { config } = context
    const { id, folder, lines } = await findCase(config.cases, args.case ?? flags.case)
    if (config.anchor === undefined)
      throw new IrError('input', 'The configuration names no anchor.', {
        hints: ['Add `anchor: {kind: …}` to mcp-ir.yaml; docs/case.md says what it can be.'],
      })
    const anchoring = new Anchoring(context)
    await anchoring.atEnd({ id, folder, kept: !flags['dry-run'], lines })
    const [problem] = anchoring.problems
    if (problem !== undefined) throw problem
    const last = readAttempts(folder, id).findLast(({ receipt }) => receipt !== undefined)
    return {
      status: flags['dry-run'] ? 'planned' : 'done',
      exitCode: 0,
      case: id,
      result: { anchor: last?.anchor ?? null, head: last?.head ?? null },
      text:
        last === undefined
          ? `${id}: line ${lines.length} would be anchored.`
          : `${id}: anchored up to line ${last.head.seq}: ${last.anchor}`,
    }
  }
}
