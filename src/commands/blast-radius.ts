import { Flags } from '@oclif/core'
import { type CommandResult, serverArgument, windowFlags } from '../base-command.ts'
import { WindowCommand } from '../step-command.ts'

export default class BlastRadius extends WindowCommand {
  static override summary = 'What it could reach, did reach, and what is suspect.'
  static override args = serverArgument
  static override flags = {
    ...windowFlags,
    'through-hubs': Flags.boolean({
      description: 'Follow and list what goes through accounts and resources that join very many contexts.',
      env: 'MCP_IR_THROUGH_HUBS',
    }),
  }
  protected readonly use = 'blast-radius.compute'

  protected override async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(BlastRadius)
    return this.answer(args.server, flags, { throughHubs: flags['through-hubs'] || undefined })
  }
}
