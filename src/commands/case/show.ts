import { Args } from '@oclif/core'
import { lastAnchored } from '../../anchor/receipts.ts'
import { type CommandResult, IrCommand } from '../../base-command.ts'
import { findCase } from '../../case/find.ts'
import { evidenceOf, openPoints } from '../../case/state.ts'
import { caseText } from '../../ui/answers.ts'

export default class CaseShow extends IrCommand {
  static override summary = 'Where a case stands and what is open.'
  static override args = { case: Args.string({ description: 'Case id; default: the only open one.' }) }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(CaseShow)
    const { config } = await this.context(flags)
    const found = await findCase(config.cases, args.case ?? flags.case)
    const { server, openedAt, closedAt, sealedAt, isolatedAt, since, notes, steps } = found.state
    return {
      status: 'done',
      exitCode: 0,
      case: found.id,
      result: {
        folder: found.folder,
        server: server.name,
        openedAt,
        closedAt: closedAt ?? null,
        sealedAt: sealedAt ?? null,
        anchored: lastAnchored(found.folder, found.id) ?? null,
        isolatedAt: isolatedAt ?? null,
        since,
        notes,
        steps: [...steps.values()].map(({ id, use, runs }) => {
          const last = runs.at(-1)
          return {
            id,
            use,
            runs: runs.length,
            state: last?.finished?.state ?? 'unfinished',
            undone: last?.undone ?? false,
          }
        }),
        evidence: evidenceOf(found.lines),
        open: openPoints(found.lines),
      },
      text: caseText(found),
    }
  }
}
