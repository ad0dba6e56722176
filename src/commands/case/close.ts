import { Args, Flags } from '@oclif/core'
import { type CommandResult, IrCommand } from '../../base-command.ts'
import { openCase } from '../../case/case.ts'
import { findCase } from '../../case/find.ts'
import { openPoints } from '../../case/state.ts'
import { IrError } from '../../errors.ts'

export default class CaseClose extends IrCommand {
  static override summary = 'Close a case; refused while something is open, unless a reason is given.'
  static override args = { case: Args.string({ description: 'Case id; default: the only open one.' }) }
  static override flags = {
    reason: Flags.string({
      description: 'Why it is closed although something is open; recorded.',
      helpValue: 'TEXT',
      env: 'MCP_IR_REASON',
    }),
  }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(CaseClose)
    const context = await this.context(flags)
    const found = await findCase(context.config.cases, args.case ?? flags.case)
    if (found.state.closedAt !== undefined)
      throw new IrError('input', `Case ${found.id} was closed at ${found.state.closedAt}.`)
    const open = openPoints(found.lines)
    const { reason } = flags
    if (open.length > 0 && reason === undefined) {
      throw new IrError(
        'refused',
        [`Case ${found.id} has open points:`, ...open.map((point) => `- ${point}`)].join('\n'),
        {
          hints: ['Finish them with `mcp-ir respond`, or close it all the same with --reason TEXT.'],
        },
      )
    }
    if (!flags['dry-run']) {
      const incident = openCase(found.folder, { by: context.by, now: context.now, takeOver: flags['take-over'] })
      try {
        incident.journal.append('case.closed', { ...(reason === undefined ? {} : { reason }), open })
      } finally {
        incident.close()
      }
    }
    const status = flags['dry-run'] ? 'planned' : 'done'
    return {
      status,
      exitCode: 0,
      case: found.id,
      result: { open },
      text: `${found.id} is ${flags['dry-run'] ? 'ready to be ' : ''}closed.`,
    }
  }
}
