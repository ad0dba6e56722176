import type { Interfaces } from '@oclif/core'
import {
  type CommandResult,
  deploymentFlag,
  expectFlag,
  IrCommand,
  serverArgument,
  windowFlags,
} from './base-command.ts'
import { runSingle } from './incident.ts'
import { answerText } from './ui/answers.ts'

/** A command that is one step on one server and takes nothing else. */
export abstract class StepCommand extends IrCommand {
  static override args = serverArgument
  static override flags = { ...deploymentFlag, ...expectFlag }

  /** Kind of the step. */
  protected abstract readonly use: string

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(StepCommand)
    const context = await this.context(flags)
    const { deployment, expect } = flags
    const options = { ...this.incidentOptions(flags, context), server: args.server, deployment, expect }
    return this.single(await runSingle(context, this.use, {}, options))
  }
}

/** A command that is one reading step over a window of time; its answer is its data. */
export abstract class WindowCommand extends IrCommand {
  static override args = serverArgument
  static override flags = windowFlags

  /** Kind of the step. */
  protected abstract readonly use: string

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(WindowCommand)
    return this.answer(args.server, flags, {})
  }

  /** @param values what the step is told beside the window */
  protected async answer(
    server: string,
    flags: Interfaces.InferredFlags<typeof WindowCommand.flags & typeof IrCommand.baseFlags>,
    values: Readonly<Record<string, unknown>>,
  ): Promise<CommandResult> {
    const context = await this.context(flags)
    const { since, until } = flags
    const options = { ...this.incidentOptions(flags, context), server, since, until }
    const incident = await runSingle(context, this.use, values, options)
    return this.single(incident, answerText(this.use, incident.steps[0]?.output, process.stdout.columns))
  }
}
