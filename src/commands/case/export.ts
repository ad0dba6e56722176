import { resolve } from 'node:path'
import { Args, Flags } from '@oclif/core'
import { type CommandResult, IrCommand } from '../../base-command.ts'
import { exportCase } from '../../case/export.ts'
import { findCase } from '../../case/find.ts'
import { count } from '../../ui/format.ts'
import { safe } from '../../ui/safe-text.ts'

export default class CaseExport extends IrCommand {
  static override summary = 'One archive of a case with checksums, which `case check FILE` accepts anywhere.'
  static override description =
    'What undoing needs (private/) is left out. The same case gives the same bytes. Holds raw log records, unless --redact.'
  static override args = {
    case: Args.string({ description: 'Case id; default: the only open one, else the only one.' }),
  }
  static override flags = {
    to: Flags.string({
      description: 'Archive to write (tar.gz); must not exist. Default: CASE.tar.gz here.',
      helpValue: 'FILE',
      env: 'MCP_IR_TO',
    }),
    redact: Flags.boolean({
      description: 'Leave out raw log records, console output and the full reports; the archive says what is missing.',
      env: 'MCP_IR_REDACT',
    }),
  }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(CaseExport)
    const { config } = await this.context(flags)
    const { id, folder } = await findCase(config.cases, args.case ?? flags.case)
    const to = resolve(flags.to ?? `${id}.tar.gz`)
    if (flags['dry-run'])
      return { status: 'planned', exitCode: 0, case: id, result: {}, text: `${id} would be exported to ${safe(to)}.` }
    const made = await exportCase(folder, to, flags.redact)
    return {
      status: 'done',
      exitCode: 0,
      case: id,
      result: made,
      text: [
        `${id}: ${count(made.files, 'file')} in ${safe(made.file)}`,
        `SHA-256 of the archive: ${made.sha256}`,
        ...made.leftOut.map(({ path, name }) => `left out: ${safe(path)} (${safe(name)})`),
      ].join('\n'),
    }
  }
}
