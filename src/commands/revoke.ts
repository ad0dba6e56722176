import { type CommandResult, deploymentFlag, expectFlag, IrCommand, serverArgument } from '../base-command.ts'
import { runSingle } from '../incident.ts'

export default class Revoke extends IrCommand {
  static override summary = 'Revoke every credential of a server, and prove the old ones dead.'
  static override args = serverArgument
  static override flags = { ...deploymentFlag, ...expectFlag }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(Revoke)
    const context = await this.context(flags)
    const { deployment, expect } = flags
    const incident = await runSingle(
      context,
      'credentials.revoke',
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
