import { basename } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Call } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { type Ran, type RunLimits, run } from '../../program/run.ts'
import { scrubbed } from '../../program/scrub.ts'
import type { CredentialOf } from '../../registry/port.ts'
import { sharedOf } from '../../shared-answers.ts'
import { safe } from '../../ui/safe-text.ts'
import type { CredentialTarget } from '../port.ts'
import { type Answer, type Failure, type Known, type Operation, parseAnswer, type Request } from './answer.ts'

export type ExecTarget = CredentialTarget<CredentialOf<'exec'>>
export type ExecCall = Pick<Call<ExecTarget>, 'target' | 'signal' | 'caseId'>

export interface ExecSettings extends RunLimits {
  /** How often a program is asked that says that its system is not there just now. */
  readonly attempts: number
  /** Before the second time; doubled for each further one. */
  readonly pauseMs: number
}

/** The company's program, asked about one credential. `unsupported`: it says that it cannot do this. */
export interface Program {
  /** For people. */
  readonly name: string
  /** The secrets that are not dead yet, and whatever else it tells. */
  discover(): Promise<readonly Known[] | 'unsupported'>
  /** @param ref undefined: all of them */
  revoke(ref: string | undefined, changeId: string): Promise<Known>
  /** Asked again for the same change, it leaves one living secret of that change: the one that it answers with. */
  rotate(changeId: string): Promise<{ readonly secret: string; readonly ref: string }>
  probe(secret: string): Promise<Known | 'unsupported'>
}

export function execProgram(call: ExecCall, settings: ExecSettings): Program {
  const { command } = call.target.credential
  const name = safe(basename(command[0] ?? ''), 100)
  const answers = sharedOf(call.signal, 'exec')

  async function ask(operation: Operation, more: Partial<Request> = {}): Promise<Answer> {
    const line = `${JSON.stringify(requestOf(call, operation, more))}\n`
    for (let attempt = 1; ; attempt++) {
      const running = (): Promise<Ran> => run(command, line, settings, call.signal)
      // Whatever system it changes, what was seen of others before does not count after it.
      const ran = await (changes(operation) ? answers.changing(running) : running())
      const answer = parseAnswer(ran.stdout, operation)
      if (typeof answer === 'object' && 'error' in answer) {
        if (answer.error.code === 'unavailable' && attempt < settings.attempts) {
          await pause(settings.pauseMs * 2 ** (attempt - 1), call.signal)
          continue
        }
        throw failed(answer, ran, operation, more)
      }
      const wrong = ran.failed ?? (typeof answer === 'string' ? answer : undefined)
      if (typeof answer === 'string' || wrong !== undefined)
        throw new IrError('unreachable', `${name} gave no answer to ${operation}: ${wrong}`, {
          ambiguous: changes(operation),
          hints: told(ran, operation, more),
        })
      return answer
    }
  }

  function failed({ error }: Failure, ran: Ran, operation: Operation, more: Partial<Request>): IrError {
    const { code, message = '' } = error
    // What is told of a rotation may hold the new secret, which is not known here.
    const said = operation === 'rotate' ? '' : scrubbed(message, secretsOf(more))
    const why = `${name} could not ${operation} (${scrubbed(code, secretsOf(more), 40)})${said === '' ? '' : `: ${said}`}`
    const hints = told(ran, operation, more)
    if (code === 'unsupported') return new Unsupported('partial', why)
    if (code === 'denied') return new IrError('denied', why, { hints })
    if (code === 'unavailable') return new IrError('unreachable', why, { hints })
    return new IrError('partial', why, { ambiguous: changes(operation), hints })
  }

  function told({ stderr, stderrBytes }: Ran, operation: Operation, more: Partial<Request>): readonly string[] {
    if (stderrBytes === 0) return []
    if (operation === 'rotate') return [`Its stderr (${stderrBytes} bytes) is not shown, as it may hold the new secret`]
    const lines = stderr.split('\n').filter((line) => line.trim() !== '')
    return lines.slice(-3).map((line) => `It wrote: ${scrubbed(line, secretsOf(more), 200)}`)
  }

  return {
    name,
    discover: () =>
      orUnsupported(async () => {
        const answer = await ask('discover')
        const { state, secrets } = answer
        return secrets ?? (state === undefined ? [] : [{ ...answer, state }])
      }),
    revoke: async (ref, changeId) =>
      withState(await ask('revoke', { changeId, ...(ref === undefined ? {} : { ref }) })),
    async rotate(changeId) {
      const { secret = '', ref = '' } = await ask('rotate', { changeId })
      return { secret, ref }
    },
    probe: (secret) => orUnsupported(async () => withState(await ask('probe', { secret }))),
  }
}

/** What it is asked, also for a person who asks it by hand. */
export function requestOf(
  call: Pick<ExecCall, 'target' | 'caseId'>,
  operation: Operation,
  more: Partial<Request>,
): Request {
  const { credential, server } = call.target
  return { protocol: 'mcp-ir/exec/1', operation, id: credential.id, server, case: call.caseId, ...more }
}

class Unsupported extends IrError {}

async function orUnsupported<T>(work: () => Promise<T>): Promise<T | 'unsupported'> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof Unsupported) return 'unsupported'
    throw error
  }
}

function withState({ state = 'unknown', ...rest }: Answer): Known {
  return { ...rest, state }
}

function secretsOf({ secret }: Partial<Request>): readonly string[] {
  return secret === undefined ? [] : [secret]
}

function changes(operation: Operation): boolean {
  return operation === 'revoke' || operation === 'rotate'
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {
    throw new IrError('interrupted', 'Interrupted.')
  })
}
