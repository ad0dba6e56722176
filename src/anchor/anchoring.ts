import { setTimeout as sleep } from 'node:timers/promises'
import type { Line } from '../case/events.ts'
import type { Context } from '../context.ts'
import { IrError, systemCode } from '../errors.ts'
import { assertTrusted } from '../trust.ts'
import { safe } from '../ui/safe-text.ts'
import { styled } from '../ui/terminal.ts'
import { loadAnchor } from './index.ts'
import type { Head } from './port.ts'
import { appendAttempt, readAttempts } from './receipts.ts'

/** Longest that a command waits for its anchor at one time. */
const patienceMs = 5000

/** A case, as far as it is anchored. */
interface Anchorable {
  readonly id: string
  readonly folder: string
  readonly kept: boolean
  readonly lines: readonly Line[]
}

/**
 * Takes the journal's head off the host where the configuration says so: after every step and at the end of the command.
 * Never throws for the anchor and never waits long for it. A head that could not be anchored needs no queue: the next one
 * vouches for it, as it is in its chain.
 */
export class Anchoring {
  readonly #context: Context
  readonly #failures: IrError[] = []

  constructor(context: Context) {
    this.#context = context
  }

  /** What could not be anchored, for `problems`. */
  get problems(): readonly IrError[] {
    return this.#failures.slice(-1)
  }

  /** After a step. An anchor that failed once in this command is not waited for again before its end. */
  async afterStep(work: Anchorable): Promise<void> {
    if (this.#failures.length === 0) await this.atEnd(work)
  }

  /** At the end of a command that wrote to the case. */
  async atEnd(work: Anchorable): Promise<void> {
    const { config, signal, ui, now } = this.#context
    const head = headOf(work)
    if (config.anchor === undefined || !work.kept || head === undefined || signal.aborted) return
    try {
      await assertTrusted(config, 'the anchor of the journal')
      const anchor = await loadAnchor(config.anchor)
      const before = readAttempts(work.folder, work.id).filter((one) => one.anchor === anchor.name)
      if (before.at(-1)?.receipt !== undefined && before.at(-1)?.head.hash === head.hash) return
      try {
        const receipt = await patiently((limit) => anchor.put(head, limit), signal)
        this.#keep(work, { anchor: anchor.name, at: now().toISOString(), head, receipt })
        if (receipt.made === true)
          ui.say(
            `${styled('yellow', '!')} ${anchor.name} was not there and was made: if it is to lie on a mount, look.`,
          )
        if (before.at(-1)?.failed !== undefined)
          ui.say(styled('dim', `Anchored up to line ${head.seq}: ${anchor.name}`))
        this.#failures.length = 0
      } catch (error) {
        if (!(error instanceof IrError) || signal.aborted) throw error
        const failed = safe(error.message, 500)
        this.#keep(work, { anchor: anchor.name, at: now().toISOString(), head, failed })
        throw error
      }
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof IrError)) throw error
      this.#tell(error, head)
    }
  }

  #keep(work: Anchorable, attempt: Parameters<typeof appendAttempt>[1]): void {
    try {
      appendAttempt(work.folder, attempt)
    } catch (error) {
      const code = systemCode(error)
      if (code === undefined) throw error
      this.#context.ui.say(
        `${styled('yellow', '!')} What the anchor answered could not be kept in the case folder (${code}).`,
      )
    }
  }

  #tell(error: IrError, head: Head): void {
    this.#failures.push(
      new IrError(error.code, `Line ${head.seq} of the journal is not anchored: ${error.message}`, {
        hints: [...error.hints, 'It is tried again at the next step, or with `mcp-ir case anchor`.'],
        cause: error,
      }),
    )
    const { ui } = this.#context
    ui.say(`${styled('yellow', '!')} Not anchored (line ${head.seq}): ${safe(error.message, 500)}`)
    for (const hint of error.hints) ui.say(`  ${safe(hint, 500)}`)
    ui.say('  Nothing waits for it: it is tried again at the next step, or with `mcp-ir case anchor`.')
  }
}

function headOf({ lines, id }: Anchorable): Head | undefined {
  const last = lines.at(-1)
  return last === undefined ? undefined : { case: id, seq: last.seq, hash: last.hash, at: last.at }
}

/** A system call on a dead mount hears no signal: it is left behind. */
async function patiently<T>(work: (limit: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
  const timeout = new AbortController()
  const over = sleep(patienceMs, undefined, { signal: timeout.signal, ref: false }).then(() => {
    throw new IrError('unreachable', `it did not answer within ${patienceMs / 1000} s`)
  })
  over.catch(() => undefined)
  const limit = new AbortController()
  try {
    return await Promise.race([work(AbortSignal.any([signal, limit.signal])), over])
  } finally {
    timeout.abort()
    limit.abort()
  }
}
