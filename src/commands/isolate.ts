import { Args, Flags } from '@oclif/core'
import { type CommandResult, declareFlags, deploymentFlag, expectFlag, IrCommand } from '../base-command.ts'
import { runSingle } from '../incident.ts'

export default class Isolate extends IrCommand {
  static override summary = 'Cut a server off; on a terminal, go on with the playbook.'
  static override description =
    'Opens the case of the server, or attaches to its open one. Shows what would be changed, asks, changes it, and looks at the world again.'
  static override args = { server: Args.string({ description: 'Server, by its registry name or an alias.' }) }
  static override flags = {
    ...deploymentFlag,
    ...expectFlag,
    ...declareFlags,
    target: Flags.string({
      description: 'A server that no registry knows: pid:1234, url:http://127.0.0.1:7001/mcp.',
      env: 'MCP_IR_TARGET',
      helpValue: 'KIND:ID',
    }),
    region: Flags.string({ description: 'Region of an aws-ec2 target.', env: 'MCP_IR_REGION' }),
    clients: Flags.string({
      description: 'A home folder: take the server out of the client configurations in it too.',
      env: 'MCP_IR_CLIENTS',
      helpValue: 'DIR',
    }),
    'force-node': Flags.boolean({
      description: "Cut a Kubernetes worker node off too, with everybody's pods on it.",
      env: 'MCP_IR_FORCE_NODE',
    }),
    as: Flags.string({ description: 'Name for the target in the case.', env: 'MCP_IR_AS', helpValue: 'NAME' }),
  }
  static override examples = [
    '<%= config.bin %> isolate io.acme/crm',
    '<%= config.bin %> isolate --target pid:4711 --as suspicious-server',
    '<%= config.bin %> isolate io.acme/crm --dry-run --json',
  ]

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(Isolate)
    const context = await this.context(flags)
    const { target, region, as, clients, deployment, expect, commander, aware } = flags
    const incident = await runSingle(
      context,
      'network.isolate',
      { clients, forceNode: flags['force-node'] ? true : undefined },
      {
        ...this.incidentOptions(flags, context),
        server: args.server,
        target,
        region,
        as,
        deployment,
        expect,
        commander,
        aware,
      },
    )
    return incident.steps.length > 1 ? this.whole(incident) : this.single(incident)
  }
}
