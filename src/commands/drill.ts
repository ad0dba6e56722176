import { Flags } from '@oclif/core'
import { type CommandResult, declareFlags, IrCommand } from '../base-command.ts'
import { drill, scenarios, stopDrills } from '../drill/drill.ts'

export default class Drill extends IrCommand {
  static override summary = 'A real exercise on this machine, nothing else needed.'
  static override description =
    'Builds a small company out of real processes on loopback, whose MCP server is compromised, and runs the ordinary respond on it. What came of it is measured on the running processes. The case outlives the drill.'
  static override flags = {
    ...declareFlags,
    scenario: Flags.string({
      description: 'Playbook to exercise.',
      options: [...scenarios],
      default: 'compromise',
      env: 'MCP_IR_SCENARIO',
    }),
    keep: Flags.boolean({
      description: 'Leave the company standing, to try the other commands on it.',
      env: 'MCP_IR_KEEP',
    }),
    stop: Flags.boolean({ description: 'End the companies that were left standing.', env: 'MCP_IR_STOP' }),
  }
  static override examples = [
    '<%= config.bin %> drill',
    '<%= config.bin %> drill --yes --keep --scenario tool-poisoning',
    '<%= config.bin %> drill --stop',
  ]

  protected async act(): Promise<CommandResult> {
    const { flags } = await this.parse(Drill)
    const context = await this.context(flags)
    if (flags.stop) return stopDrills(context, flags['dry-run'])
    const { scenario, keep, commander, aware } = flags
    return drill(context, { ...this.incidentOptions(flags, context), scenario, keep, commander, aware })
  }
}
