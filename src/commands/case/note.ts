import { Args, Flags } from '@oclif/core'
import { type CommandResult, IrCommand } from '../../base-command.ts'
import { refuseSealed } from '../../case/case.ts'
import { findCase } from '../../case/find.ts'
import { isNoticeName, noteKinds, noticeItems, noticeNames } from '../../case/notes.ts'
import { IrError } from '../../errors.ts'
import { parseInstant } from '../../instant.ts'
import { moment } from '../../ui/format.ts'
import { writeCase } from '../../write-case.ts'

export default class CaseNote extends IrCommand {
  static override summary = 'Write something into the case: when it was detected, who was called, what was decided.'
  static override args = {
    text: Args.string({ description: 'What there is to say. Never a secret: it is kept as it is.', required: true }),
  }
  static override flags = {
    at: Flags.string({
      description: 'When it happened: a moment, or 90m, 2h for how long ago. Default: now.',
      helpValue: 'TIME',
      env: 'MCP_IR_AT',
    }),
    kind: Flags.option({ description: 'What it tells.', options: noteKinds, default: 'note', env: 'MCP_IR_KIND' })(),
    about: Flags.option({
      description: 'Which notice went out (with --kind notified), or which part of a notice it answers.',
      options: [...noticeNames, ...noticeItems] as const,
      env: 'MCP_IR_ABOUT',
    })(),
  }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(CaseNote)
    const context = await this.context(flags)
    if (args.text.trim() === '') throw new IrError('input', 'The note is empty.')
    if ((flags.kind === 'notified') !== isNoticeName(flags.about)) {
      throw new IrError('input', '--kind notified and --about NOTICE go together: which notice went out.', {
        hints: [`--kind notified --about ${noticeNames.join(' | ')}`],
      })
    }
    const at = flags.at === undefined ? context.now().toISOString() : parseInstant(flags.at, '--at', context.now())
    const found = await findCase(context.config.cases, flags.case)
    refuseSealed(found.lines)
    const { kind, about } = flags
    const note = { kind, text: args.text, at, ...(about === undefined ? {} : { about }) }
    const problems = flags['dry-run']
      ? []
      : await writeCase(context, found.folder, flags['take-over'], ({ journal }) => journal.append('note', note))
    const status = flags['dry-run'] ? 'planned' : 'done'
    return {
      status,
      exitCode: 0,
      case: found.id,
      result: { note },
      problems,
      text: `Noted in ${found.id}: ${note.kind}, ${moment(at)}`,
    }
  }
}
