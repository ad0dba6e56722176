import { readFile } from 'node:fs/promises'
import { hostname, userInfo } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Anchoring } from './anchor/anchoring.ts'
import {
  type Case,
  caseId,
  createCase,
  listCases,
  makeFolder,
  openCase,
  pretendCase,
  refuseSealed,
  removeFolder,
  type StoredCase,
} from './case/case.ts'
import type { Events } from './case/events.ts'
import { acquireLock } from './case/lock.ts'
import { pastOf } from './case/past.ts'
import { decisionsSince, isDone, isWhole, standing } from './case/state.ts'
import { discover } from './containment/index.ts'
import type { Context } from './context.ts'
import { exitCodes, IrError, systemCode } from './errors.ts'
import { parseInstant } from './instant.ts'
import { checkWith, type Playbook, type PlaybookStep, parsePlaybook } from './playbook/load.ts'
import { isTrue, resolve } from './playbook/lookup.ts'
import { runManual } from './playbook/manual.ts'
import { type Consent, type Presenter, requireApprover, runStep, type StepReport } from './playbook/runner.ts'
import type { CaseView, StepKind } from './playbook/step.ts'
import type { Registry, Server } from './registry/port.ts'
import { findServer, registryDifference } from './registry/query.ts'
import { loadKinds } from './steps.ts'
import { count } from './ui/format.ts'
import { presenter } from './ui/presenter.ts'
import { safe } from './ui/safe-text.ts'
import { styled } from './ui/terminal.ts'

/** Told before and after each step; the drill measures the world there. */
export interface StepWatch {
  before(step: { readonly id: string; readonly use: string }): Promise<void>
  after(step: StepReport): Promise<void>
}

export interface IncidentOptions {
  readonly server?: string | undefined
  /** `KIND:ID` for a server that no registry knows. */
  readonly target?: string | undefined
  /** Region of a target in AWS. */
  readonly region?: string | undefined
  /** Name for the case-local entry of a target. */
  readonly as?: string | undefined
  readonly caseId?: string | undefined
  readonly consent: Consent
  readonly dryRun?: boolean | undefined
  readonly expect?: string | undefined
  readonly deployment?: string | undefined
  readonly takeOver?: boolean | undefined
  readonly since?: string | undefined
  readonly until?: string | undefined
  readonly commander?: string | undefined
  readonly aware?: string | undefined
  /** Answers to manual steps, and reasons for skipping them, by step id. */
  readonly answers?: Readonly<Record<string, string>> | undefined
  readonly skips?: Readonly<Record<string, string>> | undefined
  readonly watch?: StepWatch | undefined
  /** Folder of the playbooks that come with the tool. */
  readonly playbooks: string
  readonly columns?: number | undefined
}

type Status =
  | 'done'
  | 'residual'
  | 'partial'
  | 'refused'
  | 'planned'
  | 'consent-required'
  | 'nothing-to-do'
  | 'interrupted'
  | 'error'

export interface IncidentResult {
  readonly caseId: string
  readonly folder: string
  /** Whether the case is on disk: not for a dry run or without consent. */
  readonly kept: boolean
  /** Whether the case was there before. */
  readonly attached: boolean
  readonly server: string
  readonly status: Status
  readonly exitCode: number
  readonly steps: readonly StepReport[]
  readonly problems: readonly { readonly code: string; readonly message: string; readonly hints: readonly string[] }[]
  /** Output of the last finished run of a step of this kind. */
  readonly outputs: (use: string) => Promise<unknown>
}

/** The whole guided playbook, from wherever the case stands. */
export async function respond(
  context: Context,
  options: IncidentOptions & { playbook?: string | undefined },
): Promise<IncidentResult> {
  const kinds = await loadKinds()
  const playbook = await readPlaybook(options.playbook, options.playbooks, kinds)
  const manual = playbook.steps.flatMap(({ id, manual: question }) => (question === undefined ? [] : [id]))
  for (const id of Object.keys({ ...options.answers, ...options.skips })) {
    if (manual.includes(id)) continue
    throw new IrError('input', `${safe(id)} is no manual step of ${playbook.name}.`, {
      hints: [`It has: ${manual.join(', ')}.`],
    })
  }
  return withIncident(context, options, kinds, 'respond', (session) => session.runAll(playbook))
}

/** A playbook of one step, in the same case and by the same runner. */
export async function runSingle(
  context: Context,
  use: string,
  values: Readonly<Record<string, unknown>>,
  options: IncidentOptions,
): Promise<IncidentResult> {
  const kinds = await loadKinds()
  const kind = kinds.get(use)
  if (kind === undefined) throw new TypeError(`no step of kind ${use}`)
  return withIncident(context, options, kinds, use, async (session) => {
    const id = session.idOf(use)
    const given = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined))
    await session.runOne({ id, use, with: given }, kind)
    const [report] = session.reports
    if (use !== 'network.isolate' || report === undefined || !goesOn(report.state) || !context.ui.interactive) return
    context.ui.say('')
    if (!(await goOnWithPlaybook(context))) return
    await session.runAll(await readPlaybook(undefined, options.playbooks, kinds))
  })
}

/** Ctrl-C at this question is a no: the cut is done. */
async function goOnWithPlaybook({ ui }: Context): Promise<boolean> {
  try {
    return await ui.ask.confirm('The server is cut off. Go on with the playbook?', { default: true })
  } catch (error) {
    if (!(error instanceof IrError) || error.code !== 'interrupted') throw error
    ui.say('The cut holds. `mcp-ir respond` goes on from here.')
    return false
  }
}

async function withIncident(
  context: Context,
  options: IncidentOptions,
  kinds: ReadonlyMap<string, StepKind>,
  use: string,
  work: (session: Session) => Promise<void>,
): Promise<IncidentResult> {
  const now = context.now()
  const { since, until, aware, server, target } = options
  for (const [flag, value] of [
    ['--since', since],
    ['--until', until],
    ['--aware', aware],
  ] as const) {
    if (value !== undefined) parseInstant(value, flag, now)
  }
  if (server !== undefined && target !== undefined) {
    throw new IrError('input', 'Both a server and --target are named.', { hints: ['Leave one out.'] })
  }
  const changes = use === 'respond' || kinds.get(use)?.operations !== undefined
  const kept = options.dryRun !== true && !(changes && options.consent === 'none')
  const { incident, attached } = await enter(context, options, use, kept, changes)
  const anchoring = new Anchoring(context)
  try {
    const answers = use === 'respond' || use === 'network.isolate'
    const session = new Session(context, options, kinds, incident, anchoring, answers)
    if (context.ui.interactive && kept && (use === 'respond' || use === 'network.isolate')) await session.declare()
    else session.noteFlags()
    await work(session)
    await anchoring.atEnd(incident)
    return session.result(attached)
  } catch (error) {
    // What a failed step wrote, too.
    await anchoring.atEnd(incident)
    throw error
  } finally {
    incident.close()
  }
}

const noConsent = new IrError('consent', 'The plan was not agreed to; nothing was changed.', {
  hints: ['Look at the plan, then add --yes, or --yes --expect HASH for exactly this plan.'],
})

/** One command at work on one case. */
class Session {
  readonly reports: StepReport[] = []
  readonly #problems: IrError[] = []
  readonly #outputs = new Map<string, unknown>()
  readonly #presenter: Presenter
  readonly #context: Context
  readonly #options: IncidentOptions
  readonly #kinds: ReadonlyMap<string, StepKind>
  readonly #case: Case
  readonly #anchoring: Anchoring

  constructor(
    context: Context,
    options: IncidentOptions,
    kinds: ReadonlyMap<string, StepKind>,
    incident: Case,
    anchoring: Anchoring,
    answers: boolean,
  ) {
    this.#context = context
    this.#options = options
    this.#kinds = kinds
    this.#case = incident
    this.#anchoring = anchoring
    this.#presenter = presenter(context.ui, options.consent, options.columns ?? 100, answers)
  }

  /** Who is in command and since when the company knows: asked once, may be left open. */
  async declare(): Promise<void> {
    const { ui } = this.#context
    const { notes } = this.#case.state()
    this.noteFlags()
    if (notes.length > 0 || this.#options.commander !== undefined) return
    ui.say('Two questions first; Enter leaves one open, `mcp-ir case note` answers it later.')
    const commander = await ui.ask.text('Who is in command?', { default: this.#context.by })
    if (commander !== '') this.#note('decision', `${commander} is in command.`)
    for (;;) {
      const aware = await ui.ask.text('Since when is the company aware (2026-11-23T02:00:00Z, or 90m ago as 90m)?')
      if (aware === '') return
      try {
        this.#note('aware', 'The company became aware.', parseInstant(aware, 'aware', this.#context.now()))
        return
      } catch (error) {
        if (!(error instanceof IrError)) throw error
        ui.say(`  ${error.message} ${error.hints.join(' ')}`)
      }
    }
  }

  noteFlags(): void {
    const { commander, aware } = this.#options
    if (commander !== undefined) this.#note('decision', `${commander} is in command.`)
    if (aware !== undefined) {
      this.#note('aware', 'The company became aware.', parseInstant(aware, '--aware', this.#context.now()))
    }
  }

  #note(kind: Events['note']['kind'], text: string, at = this.#context.now().toISOString()): void {
    const known = this.#case.state().notes.some((note) => note.kind === kind && note.text === text)
    if (!known) this.#case.journal.append('note', { kind, text, at })
  }

  /** The id that a kind of step has in this case, so that a single command and the playbook mean the same step. */
  idOf(use: string): string {
    for (const step of this.#case.state().steps.values()) if (step.use === use) return step.id
    return use === 'blast-radius.compute' ? 'blast-radius' : (use.split('.')[1] ?? use)
  }

  async runAll(playbook: Playbook): Promise<void> {
    const { ui } = this.#context
    if (this.#case.state().playbook !== playbook.name) {
      this.#case.journal.append('playbook.started', {
        playbook: playbook.name,
        steps: playbook.steps.map((step) => ({ id: step.id, use: step.use ?? 'manual' })),
      })
    }
    ui.say(
      styled(
        'bold',
        `${playbook.summary}: ${count(playbook.steps.length, 'step')} on ${safe(this.#case.state().server.name)}`,
      ),
    )
    for (const [index, step] of playbook.steps.entries()) {
      const last = this.#case.state().steps.get(step.id)?.runs.at(-1)
      const kind = step.use === undefined ? undefined : this.#kinds.get(step.use)
      if (last?.finished !== undefined && isWhole(last.finished) && !last.undone && kind?.fresh !== true) {
        ui.say(styled('dim', `${step.id}: done already (${last.finished.state})`))
        continue
      }
      ui.say('')
      ui.say(
        styled(
          'dim',
          `── ${index + 1} of ${playbook.steps.length} · ${step.id} ${'─'.repeat(Math.max(0, 48 - step.id.length))}`,
        ),
      )
      if (!(await this.#step(step, kind))) return
    }
  }

  /** @returns whether the playbook goes on */
  async #step(step: PlaybookStep, kind: StepKind | undefined): Promise<boolean> {
    if (step.when !== undefined && !isTrue(resolve(step.when, await this.#document(step.when)))) {
      this.#skip(step, kind)
      return true
    }
    if (kind === undefined) {
      const { answers, skips } = this.#options
      await runManual(step, this.#case, this.#context, this.#options, answers?.[step.id], skips?.[step.id])
      return true
    }
    const resuming = this.#case.state().steps.get(step.id)?.runs.at(-1)
    const begun = resuming?.approved === true && resuming.finished === undefined
    if (typeof step.ask === 'string' && this.#options.consent === 'ask' && !begun) {
      if (!(await this.#context.ui.ask.confirm(step.ask, { default: true }))) {
        this.#context.ui.say(`Stopped before ${step.id}. The same command goes on from here.`)
        return false
      }
    }
    try {
      const report = await this.runOne(step, kind)
      if (goesOn(report.state) || report.state === 'planned') return true
      if (report.state === 'consent-required' || report.state === 'declined') return false
    } catch (error) {
      if (!(error instanceof IrError) || error.code === 'interrupted' || error.code === 'consent') throw error
      if (this.#case.kept && error.code === 'partial') throw error
      this.#failed(step, error)
      // Later steps of a dry run stand on what the earlier ones would have done.
      if (this.#options.dryRun === true) return true
    }
    return this.#goOn(step)
  }

  async #goOn(step: PlaybookStep): Promise<boolean> {
    const { ui } = this.#context
    const policy = step['on-failure'] ?? 'stop'
    if (policy === 'continue') return true
    if (policy === 'ask' && ui.interactive) return ui.ask.confirm(`${step.id} is not whole. Go on all the same?`)
    ui.say(
      `Stopped at ${step.id}: what was cut off stays cut off. When the cause is removed, the same command goes on from here.`,
    )
    return false
  }

  #failed(step: PlaybookStep, error: IrError): void {
    const { ui } = this.#context
    this.#problems.push(error)
    ui.say(`${styled('red', '✗')} ${step.id}: ${safe(error.message, 2000)}`)
    for (const hint of error.hints) ui.say(`  ${safe(hint, 2000)}`)
  }

  #skip(step: PlaybookStep, kind: StepKind | undefined): void {
    const use = kind?.kind ?? 'manual'
    const { journal } = this.#case
    journal.append('step.started', { use, run: 1, resumed: false }, step.id)
    journal.append('step.finished', { use, state: 'skipped', open: [], residue: [], limits: [], tookMs: 0 }, step.id)
    this.#context.ui.say(`${step.id}: skipped, as ${step.when ?? ''} is empty`)
  }

  async runOne(step: PlaybookStep, kind: StepKind): Promise<StepReport> {
    const values = resolve(step.with ?? {}, await this.#document(JSON.stringify(step.with ?? {})))
    checkWith(step, kind, values)
    const { consent, expect, deployment } = this.#options
    await this.#options.watch?.before({ id: step.id, use: kind.kind })
    const report = await runStep(
      kind,
      { id: step.id, with: values as never, consent, dryRun: this.#options.dryRun === true, expect, deployment },
      this.#case,
      await this.#view(),
      this.#context,
      this.#presenter,
    )
    if (report.output !== undefined) this.#outputs.set(kind.kind, report.output)
    this.reports.push(report)
    await this.#anchoring.afterStep(this.#case)
    await this.#options.watch?.after(report)
    return report
  }

  async #view(): Promise<CaseView> {
    const state = this.#case.state()
    const { since, until } = this.#options
    const now = this.#context.now()
    const registry = await readableRegistry(this.#context)
    return {
      id: state.id,
      folder: this.#case.folder,
      server: state.server,
      servers: registry?.servers ?? [state.server],
      since: since === undefined ? state.since : parseInstant(since, '--since', now),
      sinceFrom: since === undefined ? state.sinceFrom : 'flag',
      until: until === undefined ? (state.isolatedAt ?? now.toISOString()) : parseInstant(until, '--until', now),
      isolatedAt: state.isolatedAt,
      past: pastOf(this.#case.journal.lines),
      output: (use) => this.#output(use),
      standing: (use) =>
        standing(this.#case.journal.lines, use).map(({ operation, change }) => ({ key: operation.key, change })),
      decisionsSince: (use) => decisionsSince(this.#case.journal.lines, use),
    }
  }

  async #output(use: string): Promise<unknown> {
    if (this.#outputs.has(use)) return this.#outputs.get(use)
    for (const step of [...this.#case.state().steps.values()].reverse()) {
      const sha256 =
        step.use === use
          ? // What was taken back since tells of a world that is no more.
            step.runs.findLast((run) => run.finished?.output !== undefined && !run.undone)?.finished?.output
          : undefined
      if (sha256 === undefined) continue
      const output: unknown = JSON.parse(Buffer.from(await this.#case.evidence.get(sha256)).toString('utf8'))
      this.#outputs.set(use, output)
      return output
    }
    return undefined
  }

  /** What look-ups see. Outputs are read only when the text names their step. */
  async #document(text: string): Promise<unknown> {
    const view = await this.#view()
    const { server } = view
    const steps: Record<string, unknown> = {}
    for (const step of this.#case.state().steps.values()) {
      if (!text.includes(`steps.${step.id}`)) continue
      steps[step.id] = { state: step.runs.at(-1)?.finished?.state, output: await this.#output(step.use) }
    }
    const { id, since, until, isolatedAt } = view
    return {
      case: { id, server: server.name, owner: server.owner, criticality: server.criticality, since, until, isolatedAt },
      steps,
    }
  }

  result(attached: boolean): IncidentResult {
    const state = this.#case.state()
    const { status, exitCode } = this.#status()
    return {
      caseId: this.#case.id,
      folder: this.#case.folder,
      kept: this.#case.kept,
      attached,
      server: state.server.name,
      status,
      exitCode,
      steps: this.reports,
      problems: [
        ...this.#problems,
        ...(status === 'consent-required' ? [noConsent] : []),
        ...this.#anchoring.problems,
      ].map(({ code, message, hints }) => ({ code, message, hints })),
      outputs: (use) => this.#output(use),
    }
  }

  #status(): { status: Status; exitCode: number } {
    if (this.#options.dryRun === true) return { status: 'planned', exitCode: 0 }
    const states = this.reports.map((report) => report.state)
    const [problem] = this.#problems
    const changed = states.some((state) => state !== 'consent-required' && state !== 'declined')
    if (states.includes('consent-required') || states.includes('declined')) {
      return { status: 'consent-required', exitCode: exitCodes.consent }
    }
    if (problem !== undefined && (!changed || problem.code === 'refused')) {
      return { status: problem.code === 'refused' ? 'refused' : 'error', exitCode: problem.exitCode }
    }
    if (this.reports.some(({ refused }) => refused)) return { status: 'refused', exitCode: exitCodes.refused }
    if (problem !== undefined || states.includes('partial') || states.includes('failed')) {
      return { status: 'partial', exitCode: exitCodes.partial }
    }
    if (states.includes('residual')) return { status: 'residual', exitCode: 6 }
    if (states.length > 0 && states.every((state) => state === 'nothing-to-do'))
      return { status: 'nothing-to-do', exitCode: 0 }
    return { status: 'done', exitCode: 0 }
  }
}

function goesOn(state: StepReport['state']): boolean {
  return state !== 'planned' && state !== 'consent-required' && state !== 'declined' && isDone(state)
}

/**
 * The registry, for what can go on without it: whoever breaks that file must not be able to stop a cut or a release of a
 * server whose entry the case has.
 */
async function readableRegistry(context: Context): Promise<Registry | undefined> {
  try {
    return await context.registry()
  } catch (error) {
    if (!(error instanceof IrError)) throw error
    context.ui.say(
      `${styled('yellow', '!')} The registry cannot be read; the case goes on with the entry that it has: ${safe(error.message, 500)}`,
    )
    return undefined
  }
}

interface Entered {
  readonly incident: Case
  readonly attached: boolean
}

/** Attaches to the open case of the server, or opens one. */
async function enter(
  context: Context,
  options: IncidentOptions,
  use: string,
  kept: boolean,
  changes: boolean,
): Promise<Entered> {
  const { ui, config } = context
  const clock = { by: context.by, now: context.now }
  if (!config.trusted && config.file !== undefined) {
    ui.say(
      `${styled('yellow', '!')} ${safe(config.file)} was found, not named, and is not trusted: see that it is yours.`,
    )
  }
  // Of two responders who open the first case of a server at once, the second finds the case of the first.
  const opening = kept ? await openingLock(config.cases, context) : undefined
  try {
    const found = await chooseCase(context, options, use)
    if (found.stored === undefined) {
      const opened = await openedBy(context, options, found.server, found.local)
      if (opened.sinceFrom === 'default') {
        ui.say(
          `${styled('yellow', '!')} The registry says no knownGood for ${safe(opened.server.name)}: the window starts seven days ago (${opened.since}).`,
        )
      }
      if (!kept) return { incident: pretendCase(config.cases, opened, clock), attached: false }
      if (changes) requireApprover(found.server, context)
      const incident = createCase(config.cases, opened, { ...clock, takeOver: false })
      ui.say(`Opened case ${styled('bold', incident.id)}`)
      return { incident, attached: false }
    }
    const { stored } = found
    const incident = kept
      ? openCase(stored.folder, { ...clock, takeOver: options.takeOver === true })
      : pretendCase(config.cases, stored, clock)
    try {
      ui.say(`Case ${styled('bold', incident.id)}`)
      if (!found.local) await acceptRegistry(context, options, incident, changes)
      return { incident, attached: true }
    } catch (error) {
      incident.close()
      throw error
    }
  } finally {
    opening?.release()
  }
}

/** Held while it is looked whether there is a case, and one is opened. Leaves nothing behind. */
async function openingLock(cases: string, context: Context): Promise<{ release(): void }> {
  const folder = join(cases, '.opening')
  for (let tried = 0; ; tried++) {
    makeFolder(folder)
    try {
      const lock = acquireLock(folder, context.by, context.now(), false)
      return {
        release: () => {
          lock.release()
          removeFolder(folder)
        },
      }
    } catch (error) {
      // Somebody else holds it, or took the folder away just now.
      if (!(error instanceof IrError) || tried === 100) throw error
      await sleep(50, undefined, { signal: context.signal })
    }
  }
}

type Chosen = { stored: StoredCase; local: boolean } | { stored: undefined; server: Server; local: boolean }

async function chooseCase(context: Context, options: IncidentOptions, use: string): Promise<Chosen> {
  const { cases, damaged } = await listCases(context.config.cases)
  if (options.caseId !== undefined) {
    const stored = cases.find((one) => one.id === options.caseId)
    const broken = damaged.find(({ folder }) => basename(folder) === options.caseId)
    if (broken !== undefined) throw broken.error
    if (stored === undefined) {
      throw new IrError('input', `There is no case ${safe(options.caseId)}.`, {
        hints: ['`mcp-ir case list` shows them.'],
      })
    }
    const { server, closedAt, local } = stored.state
    if (options.server !== undefined && ![server.name, ...server.aliases].includes(options.server)) {
      throw new IrError('input', `Case ${stored.id} is about ${safe(server.name)}, not ${safe(options.server)}.`)
    }
    refuseSealed(stored.lines)
    if (closedAt !== undefined) {
      throw new IrError('input', `Case ${stored.id} was closed at ${closedAt}.`, {
        hints: ['A new incident on the same server opens a new case: leave --case out.'],
      })
    }
    return { stored, local }
  }
  const open = cases.filter((one) => one.state.closedAt === undefined)
  const { server, local } = await nameServer(context, options, open)
  const own = open.filter((one) => one.state.server.name === server.name)
  if (own.length > 1) {
    throw new IrError('input', `${safe(server.name)} has ${own.length} open cases.`, {
      hints: [`Say which one: --case ${own.map((one) => one.id).join(' or --case ')}`],
    })
  }
  const [stored] = own
  if (stored !== undefined) return { stored, local: stored.state.local }
  for (const broken of damaged.filter((one) => one.server === undefined || one.server === server.name)) {
    // A cut must not wait for a damaged journal; whatever would put something back needs it.
    if (use !== 'network.isolate' && use !== 'respond') throw broken.error
    context.ui.say(
      `${styled('red', '!')} ${safe(broken.error.message, 1000)} That case is left as it is; a new one is opened.`,
    )
  }
  if (use === 'network.release' || use === 'credentials.reinstate') {
    const closed = cases.filter((one) => one.state.server.name === server.name)
    if (closed[0] !== undefined) refuseSealed(closed[0].lines)
    throw new IrError('input', `${safe(server.name)} has no open case, so there is nothing to put back.`, {
      hints: closed.map(
        (one) => `Case ${one.id} was closed at ${one.state.closedAt}: its journal says what was changed.`,
      ),
    })
  }
  return { stored, server, local }
}

async function nameServer(
  context: Context,
  options: IncidentOptions,
  open: readonly StoredCase[],
): Promise<{ server: Server; local: boolean }> {
  if (options.target !== undefined) return { server: await fromTarget(context, options, open), local: true }
  if (options.server === undefined) {
    throw new IrError('input', 'No server is named.', {
      hints: ['Name one of the registry, or use --target pid:… or url:….'],
    })
  }
  const { server } = options
  const known = open.find(({ state }) => state.server.name === server || state.server.aliases.includes(server))
  if (known?.state.local) return { server: known.state.server, local: true }
  if (known !== undefined && (await readableRegistry(context)) === undefined)
    return { server: known.state.server, local: false }
  return { server: findServer(await context.registry(), server), local: false }
}

/** The case-local entry of a server that no registry knows. */
async function fromTarget(context: Context, options: IncidentOptions, open: readonly StoredCase[]): Promise<Server> {
  const { target = '', as } = options
  const colon = target.indexOf(':')
  if (colon <= 0) {
    throw new IrError('input', `--target: ${safe(target, 80)} is not KIND:ID.`, {
      hints: ['For example --target pid:4711 or --target url:http://127.0.0.1:7001/mcp.'],
    })
  }
  if (as !== undefined && !/^[A-Za-z0-9][A-Za-z0-9._/@-]{0,199}$/.test(as)) {
    throw new IrError('input', `--as: ${safe(as, 80)} is no name.`, { hints: ['Use letters, digits and . _ / @ -'] })
  }
  const found = await discover(target.slice(0, colon), target.slice(colon + 1), options.region)
  const name = as ?? found.suggestedName
  const registry = await readableRegistry(context)
  if (registry?.servers.some((server) => server.name === name || server.aliases.includes(name))) {
    throw new IrError('input', `The registry has a server ${safe(name)}.`, {
      hints: [`If it is that one: mcp-ir isolate ${safe(name)}. Else choose another name with --as.`],
    })
  }
  const other = open.find(({ state }) => state.server.name === name)
  if (other !== undefined && JSON.stringify(other.state.server.deployments) !== JSON.stringify([found.deployment])) {
    throw new IrError('input', `Case ${other.id} is about another target of the name ${safe(name)}.`, {
      hints: ['Choose another name with --as: each target has a case of its own.'],
    })
  }
  return {
    name,
    aliases: [],
    version: 'unknown',
    status: 'proposed',
    owner: 'unknown',
    criticality: 'normal',
    package: { registryType: 'file', identifier: 'unknown', version: 'unknown' },
    capabilities: [],
    deployments: [found.deployment],
    clients: [],
    credentials: [],
    reaches: [],
    resources: [],
    consumers: [],
  }
}

const weekMs = 7 * 86_400_000

async function openedBy(
  context: Context,
  options: IncidentOptions,
  server: Server,
  local: boolean,
): Promise<Events['case.opened']> {
  const now = context.now()
  const registry = local ? undefined : await context.registry()
  const since =
    options.since === undefined
      ? (server.knownGood ?? new Date(now.getTime() - weekMs).toISOString())
      : parseInstant(options.since, '--since', now)
  return {
    case: caseId(server.name, now, context.random(2)),
    server,
    local,
    ...(registry === undefined ? {} : { registry: { file: registry.file, hash: registry.hash } }),
    tool: `mcp-ir ${context.version}`,
    host: hostname(),
    identities: [`local user ${userInfo().username} (uid ${userInfo().uid})`],
    since,
    sinceFrom: options.since !== undefined ? 'flag' : server.knownGood !== undefined ? 'knownGood' : 'default',
    clocks: [],
  }
}

/** A registry that changed since the case was opened may be the attacker's work: the difference is shown and needs a yes. */
async function acceptRegistry(
  context: Context,
  options: IncidentOptions,
  incident: Case,
  changes: boolean,
): Promise<void> {
  const registry = await readableRegistry(context)
  const state = incident.state()
  if (registry === undefined || state.registry === undefined || registry.hash === state.registry.hash) return
  const server = registry.servers.find((one) => one.name === state.server.name)
  const difference = server === undefined ? ['the server is no longer in it'] : registryDifference(state.server, server)
  const { ui } = context
  if (difference.length > 0) {
    ui.say(`${styled('yellow', '!')} The registry changed since this case was opened:`)
    for (const line of difference) ui.say(`    ${safe(line, 1000)}`)
    if (server === undefined || !changes) {
      ui.say('  The case goes on with the entry as it was.')
      return
    }
    const agreed =
      options.consent === 'yes' ||
      (options.consent === 'ask' && (await ui.ask.confirm('Go on with the changed entry?')))
    if (!agreed) {
      throw new IrError('consent', 'The registry changed since this case was opened.', {
        hints: ['Look at the difference above, and add --yes to go on with the changed entry.'],
      })
    }
  }
  if (server === undefined) return
  incident.journal.append('registry.accepted', { file: registry.file, hash: registry.hash, server, difference })
}

async function readPlaybook(
  name: string | undefined,
  folder: string,
  kinds: ReadonlyMap<string, StepKind>,
): Promise<Playbook> {
  const named = name ?? 'compromise'
  const file = /^[a-z][a-z0-9-]*$/.test(named) ? join(folder, `${named}.yaml`) : named
  try {
    return parsePlaybook(file, await readFile(file), kinds)
  } catch (error) {
    if (systemCode(error) === undefined || error instanceof IrError) throw error
    throw new IrError('input', `The playbook ${safe(named)} cannot be read (${systemCode(error)}).`, {
      hints: [
        'Playbooks that come with the tool: compromise, tool-poisoning, credential-theft, data-exfiltration; or name a file.',
      ],
    })
  }
}
