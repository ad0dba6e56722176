import { type CommandResult, deploymentFlag, expectFlag, IrCommand, serverArgument } from '../base-command.ts'
import { runSingle } from '../incident.ts'

export default class Reinstate extends IrCommand {
  static override summary = 'Undo the revocations that can be undone (a false alarm).'
  static override args = serverArgument
  static override flags = { ...deploymentFlag, ...expectFlag }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(Reinstate)
    const context = await this.context(flags)
    const { deployment, expect } = flags
    const incident = await runSingle(
      context,
      'credentials.reinstate',
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
