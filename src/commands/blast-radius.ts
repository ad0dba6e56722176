import { type CommandResult, IrCommand, serverArgument, windowFlags } from '../base-command.ts'
import { runSingle } from '../incident.ts'
import { blastRadiusText } from '../ui/answers.ts'

export default class BlastRadius extends IrCommand {
  static override summary = 'What it could reach, did reach, and what is suspect.'
  static override args = serverArgument
  static override flags = windowFlags

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(BlastRadius)
    const context = await this.context(flags)
    const { since, until } = flags
    const incident = await runSingle(
      context,
      'blast-radius.compute',
      {},
      {
        ...this.incidentOptions(flags, context),
        server: args.server,
        since,
        until,
      },
    )
    return this.single(incident, blastRadiusText(incident.steps[0]?.output))
  }
}
