import { Args, Flags } from '@oclif/core'
import { type CommandResult, IrCommand } from '../base-command.ts'
import { doctor } from '../doctor.ts'
import { adaptersFor, policyFor } from '../doctor-adapters.ts'
import { safe } from '../ui/safe-text.ts'
import { table } from '../ui/table.ts'

export default class Doctor extends IrCommand {
  static override summary = 'Is everything that an incident needs there, reachable and permitted?'
  static override args = {
    server: Args.string({ description: 'Also ask the deployments and credentials of this server.' }),
  }
  static override flags = {
    'iam-policy': Flags.boolean({
      description: 'Print the least AWS policy that a responder needs, for this server or for any, and ask nothing.',
      env: 'MCP_IR_IAM_POLICY',
    }),
  }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(Doctor)
    const context = await this.context(flags)
    if (flags['iam-policy']) {
      const { policy, characters, parts, notes } = await policyFor(context, args.server)
      // Data on stdout, so that it can go straight into a file; what a person should know of it beside it.
      if (!flags.json) for (const note of notes) context.ui.say(note)
      return {
        status: 'done',
        exitCode: 0,
        result: { policy, characters, parts, notes },
        text: JSON.stringify(policy, null, 2),
      }
    }
    const rows = await doctor(context, args.server, adaptersFor(context))
    const failed = rows.some((row) => row.state === 'failed')
    const hints = rows.flatMap((row) => (row.hint === undefined ? [] : [`${safe(row.check)}: ${safe(row.hint, 500)}`]))
    return {
      status: failed ? 'partial' : 'done',
      exitCode: failed ? 3 : 0,
      result: { checks: rows },
      text: [
        table(
          ['CHECK', 'STATE', 'DETAIL'],
          rows.map((row) => [row.check, row.state, row.detail]),
          140,
        ),
        ...(hints.length === 0 ? [] : ['', ...hints]),
      ].join('\n'),
    }
  }
}
