import { type CommandResult, IrCommand, serverArgument, windowFlags } from '../base-command.ts'
import { runSingle } from '../incident.ts'
import { reviewText } from '../ui/answers.ts'

export default class Review extends IrCommand {
  static override summary = 'What the server did, from the invocation log.'
  static override args = serverArgument
  static override flags = windowFlags

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(Review)
    const context = await this.context(flags)
    const { since, until } = flags
    const incident = await runSingle(
      context,
      'invocations.review',
      {},
      {
        ...this.incidentOptions(flags, context),
        server: args.server,
        since,
        until,
      },
    )
    return this.single(incident, reviewText(incident.steps[0]?.output))
  }
}
