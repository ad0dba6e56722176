import { homedir } from 'node:os'
import { Args } from '@oclif/core'
import { type CommandResult, IrCommand } from '../base-command.ts'
import { viewTrust } from '../trust.ts'
import { storeTrust } from '../trust-store.ts'

export default class Trust extends IrCommand {
  static override summary = 'Accept a configuration by its hash.'
  static override description =
    'A configuration that was only found, by walking up from the working folder, directs no secrets and starts nothing until it is trusted. Any change to the file ends the trust.'
  static override args = { file: Args.string({ description: 'The configuration, mcp-ir.yaml.', required: true }) }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(Trust)
    const { ui } = this.terminal(flags)
    const place = { env: process.env, home: homedir(), uid: process.getuid?.() }
    const view = await viewTrust(args.file, process.cwd(), place)
    const result = { ...view }
    ui.say(`${view.file}\n  SHA-256 ${view.hash}`)
    for (const line of view.directs) ui.say(`  - ${line}`)
    if (view.trusted) return { status: 'nothing-to-do', exitCode: 0, result, text: 'It is trusted already.' }
    if (flags['dry-run']) return { status: 'planned', exitCode: 0, result }
    if (!flags.yes && !ui.interactive) {
      return {
        status: 'consent-required',
        exitCode: 2,
        result,
        text: 'Not trusted yet: read the file, then add --yes.',
      }
    }
    if (!flags.yes && !(await ui.ask.confirm('Trust exactly this content?'))) {
      return { status: 'consent-required', exitCode: 2, result, text: 'Not trusted.' }
    }
    await storeTrust({ file: view.file, hash: view.hash }, new Date(), place)
    return {
      status: 'done',
      exitCode: 0,
      result: { ...result, trusted: true },
      text: 'Trusted, as long as not a byte of it changes.',
    }
  }
}
