import { styleText } from 'node:util'
import { IrError } from '../errors.ts'
import { duration } from './format.ts'
import type { Prompts, Ui } from './port.ts'
import { safe } from './safe-text.ts'
import { wrap } from './wrap.ts'

export interface TerminalOptions {
  readonly stdin: NodeJS.ReadStream
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
  /** A person may be asked: no `--yes`, no `--json`. */
  readonly ask: boolean
  readonly signal: AbortSignal
}

type Style = Parameters<typeof styleText>[0]

/** Colour only on a terminal, and not with NO_COLOR. Set once per process: there is one terminal. */
let colours = false

export function styled(style: Style, text: string): string {
  return colours ? styleText(style, text, { validateStream: false }) : text
}

/** The real terminal. */
export function terminal(options: TerminalOptions): Ui {
  const { stdin, stdout, stderr } = options
  const live = stderr.isTTY === true
  const interactive = options.ask && stdin.isTTY === true && live
  const { env } = process
  colours = live && (env.NO_COLOR ?? '') === '' && env.TERM !== 'dumb'
  return {
    interactive,
    write: (text) => stdout.write(text.endsWith('\n') ? text : `${text}\n`),
    // The progress line, where there is one, makes room and is drawn again.
    say: (text) => stderr.write(live ? `${clearLine}${fitted(text, stderr.columns)}\n` : `${text}\n`),
    task: (label, work) => task(label, work, stderr, live),
    ask: interactive ? prompts(options) : nobody,
  }
}

/** Prose is broken between words at the terminal's edge; what follows is indented as its first line, and two more. */
function fitted(text: string, columns = 80): string {
  return text
    .split('\n')
    .map((line) => wrap(line, columns, `${/^ */.exec(line)?.[0] ?? ''}  `))
    .join('\n')
}

const clearLine = '\r\u001b[2K'
const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']

async function task<T>(
  label: string,
  work: (update: (text: string) => void) => Promise<T>,
  stderr: NodeJS.WriteStream,
  live: boolean,
): Promise<T> {
  const began = performance.now()
  let text = label
  let frame = 0
  const draw = (): void => {
    const room = Math.max(20, (stderr.columns ?? 80) - 16)
    const line = `${frames[frame++ % frames.length]} ${safe(text).slice(0, room)} ${styled('dim', duration(performance.now() - began))}`
    stderr.write(`${clearLine}${line}`)
  }
  const timer = live ? setInterval(draw, 100) : undefined
  try {
    return await work((update) => {
      text = `${label}: ${update}`
    })
  } finally {
    clearInterval(timer)
    if (live) stderr.write(clearLine)
  }
}

/** Inquirer, loaded when the first question is asked. Ctrl-C in a prompt is the same as anywhere else. */
function prompts({ stdin, stderr, signal }: TerminalOptions): Prompts {
  const context = { input: stdin, output: stderr, signal }
  const asked = async <T>(question: () => Promise<T>): Promise<T> => {
    try {
      return await question()
    } catch (error) {
      if (error instanceof Error && (error.name === 'ExitPromptError' || error.name === 'AbortPromptError')) {
        throw new IrError('interrupted', 'Interrupted at a question; nothing was changed by it.', {
          hints: ['Run the same command again: it goes on from here.'],
        })
      }
      throw error
    }
  }
  return {
    confirm: (message, options) =>
      asked(async () =>
        (await import('@inquirer/prompts')).confirm({ message, default: options?.default ?? false }, context),
      ),
    typed: (message, expected) =>
      asked(async () => {
        const { input } = await import('@inquirer/prompts')
        const answer = await input(
          {
            message,
            validate: (value) =>
              value === '' || value === expected || `Type ${expected} to agree, or nothing to leave it.`,
          },
          context,
        )
        return answer === expected
      }),
    text: (message, options) =>
      asked(async () =>
        (await import('@inquirer/prompts')).input({ message, default: options?.default ?? '' }, context),
      ),
    select: (message, choices) =>
      asked(async () => (await import('@inquirer/prompts')).select({ message, choices: [...choices] }, context)),
  }
}

function refuse(): never {
  throw new IrError('consent', 'There is no terminal to ask on.', { hints: ['Add --yes to agree without a question.'] })
}

const nobody: Prompts = { confirm: refuse, typed: refuse, text: refuse, select: refuse }
