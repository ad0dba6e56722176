import { Args, Flags } from '@oclif/core'
import { type CommandResult, IrCommand } from '../../base-command.ts'
import { findCase } from '../../case/find.ts'
import { readSigningKey } from '../../case/seal-key.ts'
import { checkSealable, sealCase } from '../../seal-case.ts'

export default class CaseSeal extends IrCommand {
  static override summary =
    'Sign a closed case (Ed25519): journal, evidence and reports. Nothing is added to it afterwards.'
  static override description =
    'The passphrase of an encrypted key comes from MCP_IR_SEAL_PASSPHRASE. `mcp-ir case check --key PUB` looks whether all is as it was sealed.'
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
  }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(CaseSeal)
    const context = await this.context(flags)
    const key = await readSigningKey(flags.key, process.env.MCP_IR_SEAL_PASSPHRASE)
    const found = await findCase(context.config.cases, args.case ?? flags.case)
    if (flags['dry-run']) {
      await checkSealable(found, key)
      return { status: 'planned', exitCode: 0, case: found.id, result: {}, text: `${found.id} is ready to be sealed.` }
    }
    const { problems, ...sealed } = await sealCase(context, found, key, flags['take-over'])
    return {
      status: 'done',
      exitCode: 0,
      case: found.id,
      result: sealed,
      problems,
      text: `${found.id} is sealed by the key ${sealed.key}: ${sealed.head.seq} journal lines, ${sealed.file}`,
    }
  }
}
