import { Args, Flags } from '@oclif/core'
import { type AnchorCheck, checkAnchor } from '../../anchor/check.ts'
import { type CommandResult, IrCommand } from '../../base-command.ts'
import { type CheckResult, checkFiles } from '../../case/check.ts'
import { readSealersKey } from '../../case/seal-key.ts'
import { whereToCheck } from '../../case/where.ts'
import { count } from '../../ui/format.ts'
import { safe } from '../../ui/safe-text.ts'

export default class CaseCheck extends IrCommand {
  static override summary = 'Read every line of the journal and every byte of the evidence again.'
  static override description = 'Ends with code 4 and the place when anything was changed since it was written.'
  static override args = {
    case: Args.string({
      description: 'Case id, or an export of a case: its archive, or the folder that it was unpacked to.',
    }),
  }
  static override flags = {
    anchor: Flags.boolean({
      description: 'Compare with what the anchor knows of the journal: also a rewritten chain is found.',
      env: 'MCP_IR_ANCHOR',
    }),
    key: Flags.string({
      description: 'Public key (PEM) that must have sealed it. Without: the one that the seal names.',
      helpValue: 'FILE',
      env: 'MCP_IR_KEY',
    }),
  }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(CaseCheck)
    const context = await this.context(flags)
    const key = flags.key === undefined ? undefined : await readSealersKey(flags.key)
    const { place, files } = await whereToCheck(context.config.cases, args.case ?? flags.case, context.signal)
    const result = await checkFiles(files, { key })
    const anchor =
      flags.anchor && result.damage.length === 0 ? await checkAnchor(context.config, files, context.signal) : undefined
    const damage = [...result.damage, ...(anchor?.damage ?? [])]
    const sealed = result.sealed && { ...result.sealed, keyFrom: key === undefined ? 'seal' : 'flag' }
    const status = damage.length > 0 ? 'refused' : anchor?.heads === 0 ? 'partial' : 'done'
    return {
      status,
      exitCode: { refused: 4, partial: 3, done: 0 }[status],
      result: { folder: place, ...result, sealed, damage, ...(anchor === undefined ? {} : { anchor }) },
      text: [...wholeText(result, damage), ...sealText(result, key !== undefined), ...anchorText(anchor)].join('\n'),
    }
  }
}

function wholeText(result: CheckResult, damage: CheckResult['damage']): readonly string[] {
  const absent = result.leftOut.filter(({ path }) => path.startsWith('evidence/')).length
  const whole = `${count(result.lines, 'journal line')} and ${count(result.evidence - absent, 'piece')} of evidence are as they were written.`
  return [
    ...(damage.length === 0 ? [whole] : damage.map(({ place, what }) => `${safe(place)} ${safe(what)}`)),
    ...result.leftOut.map(({ path, name }) => `! left out of this export: ${safe(path)} (${safe(name, 200)})`),
  ]
}

function sealText({ sealed }: CheckResult, known: boolean): readonly string[] {
  if (sealed === undefined) return []
  const told = `Sealed at ${sealed.at} by ${safe(sealed.by)} with the key ${sealed.key}.`
  return known
    ? [told]
    : [
        told,
        '! That key is the one that the seal itself names. Add --key PUB to hold it against the key that you know.',
      ]
}

function anchorText(anchor: AnchorCheck | undefined): readonly string[] {
  if (anchor === undefined) return []
  const vouches = anchor.upTo === undefined ? [] : [`${anchor.anchor} vouches for lines 1 to ${anchor.upTo.seq}.`]
  return [...vouches, ...anchor.notes.map((note) => `! ${safe(note, 500)}`)]
}
