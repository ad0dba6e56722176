import { Flags } from '@oclif/core'
import { type CommandResult, deploymentFlag, expectFlag, IrCommand, serverArgument } from '../base-command.ts'
import { runSingle } from '../incident.ts'

export default class Redeploy extends IrCommand {
  static override summary = 'Start a verified build with fresh credentials.'
  static override args = serverArgument
  static override flags = {
    ...deploymentFlag,
    ...expectFlag,
    'root-cause': Flags.string({
      description: 'Why this very build may run again; recorded.',
      helpValue: 'TEXT',
      env: 'MCP_IR_ROOT_CAUSE',
    }),
    'accept-unverifiable': Flags.string({
      description: 'Why a build that nothing vouches for may run; recorded.',
      helpValue: 'REASON',
      env: 'MCP_IR_ACCEPT_UNVERIFIABLE',
    }),
  }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(Redeploy)
    const context = await this.context(flags)
    const { deployment, expect } = flags
    const values = { 'root-cause': flags['root-cause'], 'accept-unverifiable': flags['accept-unverifiable'] }
    const incident = await runSingle(context, 'deployment.redeploy', values, {
      ...this.incidentOptions(flags, context),
      server: args.server,
      deployment,
      expect,
    })
    return this.single(incident)
  }
}
