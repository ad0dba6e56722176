import { resolve } from 'node:path'
import { Flags } from '@oclif/core'
import { type CommandResult, serverArgument, windowFlags } from '../base-command.ts'
import { WindowCommand } from '../step-command.ts'

export default class Review extends WindowCommand {
  static override summary = 'What the server did, from the invocation log.'
  static override args = serverArgument
  static override flags = {
    ...windowFlags,
    export: Flags.string({
      description: 'Write its raw records to this file as NDJSON; goes on where an interrupted export ended.',
      env: 'MCP_IR_EXPORT',
      helpValue: 'FILE',
    }),
  }
  protected readonly use = 'invocations.review'

  protected override async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(Review)
    return this.answer(args.server, flags, { export: flags.export === undefined ? undefined : resolve(flags.export) })
  }
}
