import { Args, Flags } from '@oclif/core'
import { type CommandResult, IrCommand } from '../../base-command.ts'
import { refuseSealed } from '../../case/case.ts'
import { closing } from '../../case/closing.ts'
import { findCase } from '../../case/find.ts'
import { IrError } from '../../errors.ts'
import { runSingle } from '../../incident.ts'
import { writeCase } from '../../write-case.ts'

export default class CaseClose extends IrCommand {
  static override summary = 'Close a case; refused while something is open, unless a reason is given.'
  static override args = { case: Args.string({ description: 'Case id; default: the only open one.' }) }
  static override flags = {
    reason: Flags.string({
      description: 'Why it is closed although something is open; recorded.',
      helpValue: 'TEXT',
      env: 'MCP_IR_REASON',
    }),
    destroy: Flags.boolean({
      description:
        'First destroy for good what was only put out of the way: old versions in Vault KV, inactive AWS keys.',
      env: 'MCP_IR_DESTROY',
    }),
  }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(CaseClose)
    const context = await this.context(flags)
    const found = await findCase(context.config.cases, args.case ?? flags.case)
    refuseSealed(found.lines)
    if (found.state.closedAt !== undefined)
      throw new IrError('input', `Case ${found.id} was closed at ${found.state.closedAt}.`)
    const closed = closing(found, flags.reason)
    const { open } = closed
    const destroyed = flags.destroy
      ? await runSingle(
          context,
          'credentials.destroy',
          {},
          { ...this.incidentOptions(flags, context), caseId: found.id },
        )
      : undefined
    // What was not agreed to, or did not end well, is still to be had: the case stays open for it.
    if (destroyed !== undefined && !['done', 'residual', 'nothing-to-do'].includes(destroyed.status))
      return this.single(destroyed)
    const problems = flags['dry-run']
      ? []
      : await writeCase(context, found.folder, flags['take-over'], ({ journal }) =>
          journal.append('case.closed', closed),
        )
    const status = flags['dry-run'] ? 'planned' : 'done'
    return {
      status,
      exitCode: destroyed?.exitCode ?? 0,
      case: found.id,
      result: { open, ...(destroyed === undefined ? {} : { destroyed: this.single(destroyed).result }) },
      problems: [...problems, ...(destroyed?.problems ?? [])],
      text: `${found.id} is ${flags['dry-run'] ? 'ready to be ' : ''}closed.`,
    }
  }
}
