import { type CommandResult, deploymentFlag, expectFlag, IrCommand, serverArgument } from '../base-command.ts'
import { runSingle } from '../incident.ts'

export default class Rotate extends IrCommand {
  static override summary = 'Issue new credentials and deliver them; they are never shown.'
  static override args = serverArgument
  static override flags = { ...deploymentFlag, ...expectFlag }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(Rotate)
    const context = await this.context(flags)
    const { deployment, expect } = flags
    const incident = await runSingle(
      context,
      'credentials.rotate',
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
