import { type CommandResult, deploymentFlag, expectFlag, IrCommand, serverArgument } from '../base-command.ts'
import { runSingle } from '../incident.ts'

export default class Release extends IrCommand {
  static override summary = 'Undo the isolation, from the journal, after a look at what changed since.'
  static override args = serverArgument
  static override flags = { ...deploymentFlag, ...expectFlag }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(Release)
    const context = await this.context(flags)
    const { deployment, expect } = flags
    const incident = await runSingle(
      context,
      'network.release',
      {},
      {
        ...this.incidentOptions(flags, context),
        server: args.server,
        deployment,
        expect,
      },
    )
    return this.single(incident)
  }
}
