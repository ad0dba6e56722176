import { existsSync } from 'node:fs'
import { readdir, readFile, rm, stat } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../config-file.ts'
import type { Context } from '../context.ts'
import { IrError, systemCode } from '../errors.ts'
import { type IncidentOptions, type IncidentResult, respond } from '../incident.ts'
import { loadRegistry } from '../registry/load.ts'
import { count } from '../ui/format.ts'
import { table } from '../ui/table.ts'
import { styled } from '../ui/terminal.ts'
import {
  type Company,
  type CompanyState,
  endCompany,
  folderPrefix,
  serverName,
  startCompany,
  stateFile,
} from './company.ts'
import { type Custody, custody } from './custody.ts'
import { leaked, measure, type Proof, shown } from './proof.ts'

export const scenarios = ['compromise', 'tool-poisoning', 'credential-theft', 'data-exfiltration'] as const

export interface DrillOptions extends IncidentOptions {
  /** Name of the playbook. */
  readonly scenario: string
  /** Leave the processes standing. */
  readonly keep: boolean
}

export interface DrillResult {
  readonly status: string
  readonly exitCode: number
  readonly case: string | undefined
  readonly problems: IncidentResult['problems']
  readonly result: {
    readonly steps: readonly { id: string; use: string; state: string; startedAt: string; endedAt: string }[]
    readonly proof: readonly Proof[]
    /** What was tried on copies of the case; empty when nothing was kept. */
    readonly custody: readonly Custody[]
    /** Absolute paths; null when the playbook did not get that far. */
    readonly report: Readonly<Record<'html' | 'md' | 'json', string>> | null
    /** Folder of the company, with its configuration, log, builds and cases; null when nothing was kept. */
    readonly folder: string | null
  }
  readonly text?: string
}

/** A real exercise on this machine: builds the company, runs the ordinary `respond` in it, and measures what came of it. */
export async function drill(context: Context, options: DrillOptions): Promise<DrillResult> {
  const { ui, signal } = context
  if (options.dryRun) {
    throw new IrError('input', 'A drill is its own dry run: it changes nothing but the company that it makes.', {
      hints: ['Leave --dry-run out.'],
    })
  }
  let company: Company | undefined
  let stays = false
  try {
    company = await ui.task('Building a small company out of real processes', (progress) =>
      startCompany({ now: context.now, progress, signal }),
    )
    await introduce(context, company)
    const measuring = measure(company, context)
    const inside = await contextOf(context, company)
    const { scenario, keep, ...rest } = options
    const incident = await respond(inside, { ...rest, server: serverName, playbook: scenario, watch: measuring.watch })
    const kept = incident.kept
      ? await ui.task('Forging, sealing and exporting copies of the case', () =>
          custody(inside, company?.folder ?? '', incident),
        )
      : []
    const result = await conclude(incident, company, measuring.proof(), kept)
    if (keep && incident.kept) {
      await company.keep()
      stays = true
    }
    farewell(context, company, result, stays, Math.min(options.columns ?? 100, 120))
    return result
  } catch (error) {
    if (signal.aborted || (error instanceof IrError && error.code === 'interrupted'))
      throw new IrError('interrupted', 'The drill was interrupted; its processes have ended.', {
        cause: error,
        hints: (await hasCase(company)) ? [`Its case stays in ${company?.folder}.`] : [],
      })
    throw error
  } finally {
    if (company !== undefined && !stays) await company.end()
    if (company !== undefined && !(await hasCase(company))) await rm(company.folder, { recursive: true, force: true })
  }
}

async function hasCase(company: Company | undefined): Promise<boolean> {
  const cases = join(company?.folder ?? '', 'cases')
  return company !== undefined && existsSync(cases) && (await readdir(cases)).length > 0
}

/** The company's own configuration, which the drill wrote itself just now; everything else as the responder has it. */
async function contextOf(context: Context, company: Company): Promise<Context> {
  const config = await loadConfig({ flag: company.config, env: {}, cwd: company.folder, home: homedir() })
  const registry = loadRegistry(company.registry)
  return { ...context, config, registry: () => registry }
}

async function introduce({ ui, signal }: Context, company: Company): Promise<void> {
  const bytes = await leaked(company, 1000, signal)
  ui.say(styled('bold', 'A drill. Everything below is real and runs on this machine, on loopback only.'))
  ui.say('')
  ui.say(
    [
      '  Example Ltd has two agents at work, support-copilot and sales-agent. They look customers up',
      `  through the MCP server ${serverName}. The registry approves its version 1.4.0. What has run`,
      '  since last night is 1.4.1: nobody knows where it came from, the description of one of its tools',
      '  has changed, and it talks to an address that nobody knows.',
      '',
      `  In the last second it sent ${styled('red', count(bytes, 'byte'))} there: customers, bank details, its own token,`,
      '  and what people told the agents. It goes on while you read this.',
    ].join('\n'),
  )
  ui.say('')
}

async function conclude(
  incident: IncidentResult,
  company: Company,
  proof: readonly Proof[],
  custody: readonly Custody[],
): Promise<DrillResult> {
  const planned = incident.status === 'planned' || incident.status === 'consent-required'
  const done = incident.status === 'done' || incident.status === 'residual'
  const holds = [...proof, ...custody].every((one) => one.holds)
  const report = incident.kept ? await reportFiles(incident) : null
  const failed = done && (!holds || report === null)
  return {
    status: failed ? 'partial' : incident.status,
    exitCode: failed ? 3 : incident.exitCode,
    case: incident.kept ? incident.caseId : undefined,
    problems: incident.problems,
    result: {
      steps: incident.steps.map(({ id, use, state, startedAt, endedAt }) => ({ id, use, state, startedAt, endedAt })),
      proof: planned ? [] : proof,
      custody,
      report,
      folder: incident.kept ? company.folder : null,
    },
    ...(report === null ? {} : { text: `Report: ${report.html}\n        ${report.md}\n        ${report.json}` }),
  }
}

async function reportFiles(incident: IncidentResult): Promise<DrillResult['result']['report']> {
  if ((await incident.outputs('report.write')) === undefined) return null
  const file = (format: string) => join(incident.folder, 'report', `report.${format}`)
  const files = { html: file('html'), md: file('md'), json: file('json') }
  return Object.values(files).every((one) => existsSync(one)) ? files : null
}

function farewell(
  { ui }: Context,
  company: Company,
  { result, case: caseId }: DrillResult,
  stays: boolean,
  columns: number,
): void {
  if (result.proof.length > 0) {
    ui.say('')
    ui.say(styled('bold', 'What the drill measured itself, on the running processes:'))
    ui.say('')
    ui.say(
      table(
        ['', 'CLAIM', 'UNDER COMPROMISE', 'AFTERWARDS'],
        result.proof.map(({ claim, before, after, holds }) => [holds ? '✓' : '✗', claim, shown(before), shown(after)]),
        columns,
      ),
    )
  }
  if (result.custody.length > 0) {
    ui.say('')
    ui.say(styled('bold', 'What it did to copies of the case, and what the checks said:'))
    ui.say('')
    const rows = result.custody.map(({ done, said, holds }) => [holds ? '✓' : '✗', done, said])
    ui.say(table(['', 'DONE TO A COPY', 'WHAT THE CHECK SAID'], rows, columns))
  }
  if (caseId === undefined) return
  ui.say('')
  if (stays) {
    ui.say(`The company stands in ${company.folder}. Try it by hand:`)
    for (const command of [
      `isolate ${serverName}`,
      `release ${serverName}`,
      `review ${serverName}`,
      'case show',
      'doctor',
    ]) {
      ui.say(`  mcp-ir ${command} --config ${company.config}`)
    }
    ui.say('  mcp-ir drill --stop       ends its processes; the case stays')
  } else {
    ui.say(`The processes have ended and their secrets are gone. The case stays: ${company.folder}`)
    ui.say(`  mcp-ir case show ${caseId} --config ${company.config}`)
  }
}

/** Ends every company of this user that was kept, or whose drill died. */
export async function stopDrills(
  { ui }: Context,
  dryRun: boolean,
): Promise<Omit<DrillResult, 'result'> & { readonly result: { readonly stopped: readonly string[] } }> {
  const stopped: string[] = []
  for (const name of await readdir(tmpdir())) {
    const folder = join(tmpdir(), name)
    if (!name.startsWith(folderPrefix) || !(await leftStanding(folder))) continue
    stopped.push(folder)
    if (dryRun) {
      ui.say(`Would end the processes of ${folder}.`)
      continue
    }
    const processes = await endCompany(folder)
    ui.say(`Ended ${count(processes, 'process', 'processes')} of ${folder}; the case stays there.`)
  }
  if (stopped.length === 0) ui.say('No drill stands.')
  const status = stopped.length === 0 ? 'nothing-to-do' : dryRun ? 'planned' : 'done'
  return { status, exitCode: 0, case: undefined, problems: [], result: { stopped } }
}

async function leftStanding(folder: string): Promise<boolean> {
  try {
    // Anybody can make such a folder in a shared /tmp: only the user's own counts.
    if ((await stat(folder)).uid !== process.getuid?.()) return false
    const state = JSON.parse(await readFile(join(folder, stateFile), 'utf8')) as CompanyState
    return state.kept || !alive(state.drill)
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR' || error instanceof SyntaxError) return false
    throw error
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return systemCode(error) === 'EPERM'
  }
}
