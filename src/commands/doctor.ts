import { Args } from '@oclif/core'
import { type CommandResult, IrCommand } from '../base-command.ts'
import { doctor } from '../doctor.ts'
import { adaptersFor } from '../doctor-adapters.ts'
import { safe } from '../ui/safe-text.ts'
import { table } from '../ui/table.ts'

export default class Doctor extends IrCommand {
  static override summary = 'Is everything that an incident needs there, reachable and permitted?'
  static override args = {
    server: Args.string({ description: 'Also ask the deployments and credentials of this server.' }),
  }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(Doctor)
    const context = await this.context(flags)
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
