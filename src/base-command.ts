import { randomBytes } from 'node:crypto'
import { homedir, hostname, userInfo } from 'node:os'
import { join } from 'node:path'
import { Args, Command, Flags, type Interfaces } from '@oclif/core'
import { loadConfig } from './config-file.ts'
import type { Context } from './context.ts'
import { IrError } from './errors.ts'
import type { IncidentOptions, IncidentResult } from './incident.ts'
import { wantsJson } from './json-mode.ts'
import type { StepReport } from './playbook/runner.ts'
import type { Registry } from './registry/port.ts'
import type { Ui } from './ui/port.ts'
import { safe } from './ui/safe-text.ts'
import { terminal } from './ui/terminal.ts'

const globalFlags = {
  config: Flags.string({
    char: 'c',
    description: 'Configuration file.',
    env: 'MCP_IR_CONFIG',
    helpGroup: 'GLOBAL',
    helpValue: 'FILE',
  }),
  case: Flags.string({
    description: 'Case to work on, where a server has several.',
    env: 'MCP_IR_CASE',
    helpGroup: 'GLOBAL',
    helpValue: 'ID',
  }),
  yes: Flags.boolean({
    char: 'y',
    description: 'Agree to the plan without being asked.',
    env: 'MCP_IR_YES',
    helpGroup: 'GLOBAL',
  }),
  'dry-run': Flags.boolean({
    description: 'Read the real world, show the plan, write and change nothing.',
    env: 'MCP_IR_DRY_RUN',
    helpGroup: 'GLOBAL',
  }),
  json: Flags.boolean({
    description: 'Print one JSON object. Never consent: add --yes to change anything.',
    env: 'MCP_IR_JSON',
    helpGroup: 'GLOBAL',
  }),
  by: Flags.string({
    description: 'Who acts. Default: user@host.',
    env: 'MCP_IR_BY',
    helpGroup: 'GLOBAL',
    helpValue: 'NAME',
  }),
  'approved-by': Flags.string({
    description: 'Who approved it; needed for servers of high criticality.',
    env: 'MCP_IR_APPROVED_BY',
    helpGroup: 'GLOBAL',
    helpValue: 'NAME',
  }),
  'take-over': Flags.boolean({
    description: 'Take over the lock of a responder on another host who is gone for good.',
    env: 'MCP_IR_TAKE_OVER',
    helpGroup: 'GLOBAL',
  }),
}

export const deploymentFlag = {
  deployment: Flags.string({
    description: 'Only this deployment of the server.',
    env: 'MCP_IR_DEPLOYMENT',
    helpValue: 'ID',
  }),
}

export const expectFlag = {
  expect: Flags.string({
    description: 'Go on only if the plan has this hash (see --dry-run --json).',
    env: 'MCP_IR_EXPECT',
    helpValue: 'HASH',
  }),
}

export const windowFlags = {
  since: Flags.string({
    description: "Start of the window: a moment, or 2h, 7d for how long ago. Default: the registry's knownGood.",
    env: 'MCP_IR_SINCE',
    helpValue: 'TIME',
  }),
  until: Flags.string({
    description: 'End of the window. Default: the isolation, else now.',
    env: 'MCP_IR_UNTIL',
    helpValue: 'TIME',
  }),
}

export const declareFlags = {
  commander: Flags.string({
    description: 'Who is in command of the incident.',
    env: 'MCP_IR_COMMANDER',
    helpValue: 'NAME',
  }),
  aware: Flags.string({
    description: 'Since when the company is aware: a moment, or 90m, 2h for how long ago.',
    env: 'MCP_IR_AWARE',
    helpValue: 'TIME',
  }),
}

export const answerFlags = {
  answer: Flags.string({
    description: 'Answer to a manual step, ID=TEXT; may be repeated.',
    multiple: true,
    helpValue: 'ID=TEXT',
    env: 'MCP_IR_ANSWER',
  }),
  skip: Flags.string({
    description: 'Reason for skipping a manual step, ID=REASON; may be repeated.',
    multiple: true,
    helpValue: 'ID=REASON',
    env: 'MCP_IR_SKIP',
  }),
}

export const serverArgument = {
  server: Args.string({ description: 'Server, by its registry name or an alias.', required: true }),
}

/** What a command hands back: its JSON, its exit code, and what a person reads. */
export interface CommandResult {
  readonly status: string
  readonly exitCode: number
  readonly case?: string | undefined
  readonly result: unknown
  readonly problems?: readonly unknown[]
  /** Data for stdout, when not `--json`. */
  readonly text?: string
}

type GlobalFlags = Interfaces.InferredFlags<typeof globalFlags>

/** A command parses, calls, and returns data; printing, exit codes and the context are done here. */
export abstract class IrCommand extends Command {
  static override baseFlags = globalFlags
  static override enableJsonFlag = false

  protected abstract act(): Promise<CommandResult>

  override async run(): Promise<void> {
    const result = await this.act()
    process.exitCode = result.exitCode
    if (wantsJson(this.argv, process.env)) {
      const { status, problems = [] } = result
      const schema = `mcp-ir/${(this.id ?? '').replaceAll(':', '-')}/1`
      process.stdout.write(
        `${JSON.stringify({ schema, status, case: result.case ?? null, result: result.result, problems })}\n`,
      )
    } else if (result.text !== undefined) process.stdout.write(`${result.text.trimEnd()}\n`)
  }

  /** The one place that reads the clock, the terminal, the environment and randomness. */
  protected async context(flags: GlobalFlags): Promise<Context> {
    const { ui, signal } = this.terminal(flags)
    const by = (flags.by ?? `${userInfo().username}@${hostname()}`).trim()
    const approvedBy = flags['approved-by']?.trim()
    if (by === '') throw new IrError('input', '--by: the name is empty.')
    if (approvedBy === '') throw new IrError('input', '--approved-by: the name is empty.')
    const config = await loadConfig({ env: process.env, cwd: process.cwd(), home: homedir(), flag: flags.config })
    let registry: Promise<Registry> | undefined
    return {
      version: this.config.version,
      by,
      approvedBy,
      now: () => new Date(),
      random: (bytes) => randomBytes(bytes),
      config,
      registry: async () => {
        if (config.registry === undefined) return undefined
        const { loadRegistry } = await import('./registry/load.ts')
        registry ??= loadRegistry(config.registry)
        return registry
      },
      ui,
      signal,
    }
  }

  protected terminal(flags: GlobalFlags): { readonly ui: Ui; readonly signal: AbortSignal } {
    const controller = new AbortController()
    // The first Ctrl-C ends things cleanly; the second is the system's, and the case is as consistent as after a crash.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => controller.abort())
    const { stdin, stdout, stderr } = process
    const ask = !flags.yes && !flags.json && !flags['dry-run']
    return { ui: terminal({ stdin, stdout, stderr, ask, signal: controller.signal }), signal: controller.signal }
  }

  protected incidentOptions(flags: GlobalFlags, context: Context): IncidentOptions {
    return {
      caseId: flags.case,
      consent: flags.yes ? 'yes' : context.ui.interactive ? 'ask' : 'none',
      dryRun: flags['dry-run'],
      takeOver: flags['take-over'],
      playbooks: join(this.config.root, 'playbooks'),
      columns: process.stderr.columns,
    }
  }

  /** The result of a command of one step. */
  protected single(incident: IncidentResult, text?: string): CommandResult {
    const [report] = incident.steps
    const { status, exitCode, problems } = incident
    return {
      status,
      exitCode,
      case: incident.kept || incident.attached ? incident.caseId : undefined,
      result: report === undefined ? {} : stepJson(report),
      problems,
      ...(text === undefined ? {} : { text }),
    }
  }

  /** The result of a whole playbook. */
  protected whole(incident: IncidentResult): CommandResult {
    const { status, exitCode, problems } = incident
    const steps = incident.steps.map((report) => ({
      id: report.id,
      use: report.use,
      state: report.state,
      startedAt: report.startedAt,
      endedAt: report.endedAt,
      ...stepJson(report),
    }))
    return {
      status,
      exitCode,
      case: incident.kept || incident.attached ? incident.caseId : undefined,
      result: { steps },
      problems,
    }
  }
}

function stepJson(report: StepReport): Record<string, unknown> {
  const { plan, verdict, output, open, residue, limits, warnings } = report
  return {
    ...(plan === undefined ? {} : { plan }),
    ...(verdict === undefined ? {} : { verdict: { state: report.state, operations: verdict, residue, limits } }),
    ...(output === undefined ? {} : { output }),
    open,
    warnings,
  }
}

/** `ID=TEXT` pairs. @throws IrError input */
export function pairs(values: readonly string[] | undefined, flag: string): Record<string, string> {
  return Object.fromEntries(
    (values ?? []).map((value) => {
      const at = value.indexOf('=')
      if (at > 0 && at < value.length - 1) return [value.slice(0, at), value.slice(at + 1)]
      throw new IrError('input', `${flag}: ${safe(value, 80)} is not ID=TEXT.`)
    }),
  )
}
