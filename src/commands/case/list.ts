import { type CommandResult, IrCommand } from '../../base-command.ts'
import { listCases } from '../../case/case.ts'
import { openPoints } from '../../case/state.ts'
import { casesText } from '../../ui/answers.ts'
import { safe } from '../../ui/safe-text.ts'

export default class CaseList extends IrCommand {
  static override summary = 'All cases, newest first.'

  protected async act(): Promise<CommandResult> {
    const { flags } = await this.parse(CaseList)
    const { config } = await this.context(flags)
    const { cases, damaged } = await listCases(config.cases)
    const problems = damaged.map(({ folder, error }) => ({ code: error.code, message: error.message, folder }))
    return {
      status: damaged.length > 0 ? 'partial' : 'done',
      exitCode: damaged.length > 0 ? 3 : 0,
      result: {
        cases: cases.map(({ id, folder, lines, state }) => ({
          id,
          folder,
          server: state.server.name,
          openedAt: state.openedAt,
          closedAt: state.closedAt ?? null,
          sealedAt: state.sealedAt ?? null,
          isolatedAt: state.isolatedAt ?? null,
          open: openPoints(lines),
        })),
      },
      problems,
      text: [casesText(cases), ...problems.map(({ message }) => `! ${safe(message, 1000)}`)].join('\n'),
    }
  }
}
