import { Flags } from '@oclif/core'
import {
  answerFlags,
  type CommandResult,
  declareFlags,
  deploymentFlag,
  IrCommand,
  pairs,
  serverArgument,
  windowFlags,
} from '../base-command.ts'
import { respond } from '../incident.ts'

export default class Respond extends IrCommand {
  static override summary = 'The whole guided playbook, from wherever the case stands.'
  static override args = serverArgument
  static override flags = {
    ...deploymentFlag,
    ...windowFlags,
    ...declareFlags,
    ...answerFlags,
    playbook: Flags.string({
      description: 'compromise (default), tool-poisoning, credential-theft, data-exfiltration, or a file.',
      env: 'MCP_IR_PLAYBOOK',
      helpValue: 'NAME|FILE',
    }),
  }
  static override examples = [
    '<%= config.bin %> respond io.acme/crm',
    '<%= config.bin %> respond io.acme/crm --playbook tool-poisoning --aware 90m',
  ]

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(Respond)
    const context = await this.context(flags)
    const { deployment, since, until, commander, aware, playbook } = flags
    const incident = await respond(context, {
      ...this.incidentOptions(flags, context),
      server: args.server,
      deployment,
      since,
      until,
      commander,
      aware,
      playbook,
      answers: pairs(flags.answer, '--answer'),
      skips: pairs(flags.skip, '--skip'),
    })
    return this.whole(incident)
  }
}
