import { Args, Flags } from '@oclif/core'
import { type CommandResult, IrCommand } from '../../base-command.ts'
import { closing } from '../../case/closing.ts'
import { findCase } from '../../case/find.ts'
import { readSigningKey } from '../../case/seal-key.ts'
import { checkSealable, sealCase } from '../../seal-case.ts'

export default class CaseSeal extends IrCommand {
  static override summary =
    'Close a case and sign it (Ed25519): journal, evidence and reports. Nothing is added to it afterwards.'
  static override description =
    'What is open can then only be put right in a new case, so it is refused, unless with --yes or a reason. The passphrase of an encrypted key comes from MCP_IR_SEAL_PASSPHRASE. `mcp-ir case check --key PUB` looks whether all is as it was sealed.'
  static override args = {
    case: Args.string({ description: 'Case id; default: the only open one, else the only one.' }),
  }
  static override flags = {
    key: Flags.string({
      description: 'Ed25519 private key (PEM) that nobody but you can read.',
      helpValue: 'FILE',
      required: true,
      env: 'MCP_IR_SEAL_KEY',
    }),
    reason: Flags.string({
      description: 'Why it is closed and sealed although something is open; recorded.',
      helpValue: 'TEXT',
      env: 'MCP_IR_REASON',
    }),
  }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(CaseSeal)
    const context = await this.context(flags)
    const key = await readSigningKey(flags.key, process.env.MCP_IR_SEAL_PASSPHRASE)
    const found = await findCase(context.config.cases, args.case ?? flags.case)
    const reason = flags.reason ?? (flags.yes ? 'it was to be sealed' : undefined)
    const closed = found.state.closedAt === undefined ? closing(found, reason) : { open: [] }
    if (flags['dry-run']) {
      await checkSealable(found, key)
      return { status: 'planned', exitCode: 0, case: found.id, result: {}, text: `${found.id} is ready to be sealed.` }
    }
    const { problems, ...sealed } = await sealCase(context, found, key, closed, flags['take-over'])
    return {
      status: 'done',
      exitCode: 0,
      case: found.id,
      result: { ...sealed, open: closed.open },
      problems,
      text: `${found.id} is sealed by the key ${sealed.key}: ${sealed.head.seq} journal lines, ${sealed.file}`,
    }
  }
}
