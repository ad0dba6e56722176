import { Args, Flags } from '@oclif/core'
import { type CommandResult, IrCommand } from '../base-command.ts'
import { refuseSealed } from '../case/case.ts'
import { findCase } from '../case/find.ts'
import { reportOf } from '../report/step.ts'

const formats = ['html', 'md', 'json', 'timesketch'] as const

export default class Report extends IrCommand {
  static override summary = 'Write the incident report from the journal and the evidence.'
  static override description = 'Appends nothing to the case: made again, it is the same bytes.'
  static override args = { case: Args.string({ description: 'Case id; default: the only open one.' }) }
  static override flags = {
    format: Flags.option({
      description: 'Print this format on stdout instead of writing the files.',
      options: formats,
      env: 'MCP_IR_FORMAT',
    })(),
    tlp: Flags.option({
      description:
        'Whom it may be shared with: its Traffic Light Protocol label. Default: amber+strict, or as configured.',
      options: ['red', 'amber', 'amber+strict', 'green', 'clear'] as const,
      env: 'MCP_IR_TLP',
    })(),
    redact: Flags.boolean({
      description: 'For handing outside: names become pseudonyms, and what people wrote is left out.',
      env: 'MCP_IR_REDACT',
    }),
    duties: Flags.option({
      description: 'Laws whose notification clocks it shows. Default: as configured.',
      options: ['gdpr', 'nis2', 'dora'] as const,
      multiple: true,
      delimiter: ',',
      env: 'MCP_IR_DUTIES',
    })(),
  }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(Report)
    const { config } = await this.context(flags)
    const found = await findCase(config.cases, args.case ?? flags.case)
    const report = await reportOf(found, {
      tlp: flags.tlp ?? config.tlp,
      duties: flags.duties ?? config.duties,
      redacted: flags.redact,
    })
    if (flags.format !== undefined && !flags.json) {
      return { status: 'done', exitCode: 0, case: found.id, result: {}, text: report.text(flags.format) }
    }
    // The reports in the folder are part of what was sealed: they are made again only where that changes nothing.
    if (found.state.sealedAt !== undefined && !report.written()) refuseSealed(found.lines)
    const asItIs = flags['dry-run'] || found.state.sealedAt !== undefined
    const files = asItIs ? report.paths : report.write()
    return {
      status: 'done',
      exitCode: 0,
      case: found.id,
      result: { output: files },
      text: Object.values(files).join('\n'),
    }
  }
}
