import { setFlagsFromString } from 'node:v8'
import { type Command, Errors, run } from '@oclif/core'
import { IrError } from './errors.ts'
import { wantsJson } from './json-mode.ts'
import { safe } from './ui/safe-text.ts'

/**
 * Runs the command line and sets the exit code. Errors are printed by an allow list: what else an error object carries
 * (headers, bodies, flag values) never surfaces.
 * @param root URL of a file in the package, from which oclif finds it
 */
export async function main(argv: string[], root: string): Promise<void> {
  // What a step keeps lives until it ends, so that room for what dies young is wasted: a quarter less memory in
  // `bench -- revoke`, at the same speed.
  setFlagsFromString('--semi-space-growth-factor=1')
  // On a machine with much memory garbage is left until it is four times what lives; at twice it is a fifth less in all, at no cost.
  setFlagsFromString('--heap-growing-percent=100')
  for (const stream of [process.stdout, process.stderr]) stream.on('error', unheard)
  try {
    await run(argv, root)
  } catch (error) {
    const { exitCode, code, message, hints } = explain(error)
    process.exitCode = exitCode
    if (exitCode === 0) return
    if (wantsJson(argv, process.env)) {
      const status =
        code === 'refused' || code === 'interrupted' ? code : code === 'consent' ? 'consent-required' : 'error'
      process.stdout.write(`${JSON.stringify({ schema: 'mcp-ir/error/1', status, error: { code, message, hints } })}\n`)
      return
    }
    const lines = message.split('\n').map((line, index) => `${index === 0 ? 'Error: ' : '       '}${safe(line, 2000)}`)
    process.stderr.write(`${[...lines, ...hints.map((hint) => `  → ${safe(hint, 2000)}`)].join('\n')}\n`)
  }
}

/**
 * Nobody reads any more (a closed pipe, a terminal that is gone), or the disk behind it is full: what was begun is finished
 * all the same, and the case tells of it. A cut must not end half-way because `head` had seen enough.
 */
function unheard(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE' && error.code !== 'EIO') process.exitCode ||= 3
}

interface Explained {
  readonly exitCode: number
  readonly code: string
  readonly message: string
  readonly hints: readonly string[]
}

function explain(error: unknown): Explained {
  if (error instanceof IrError) {
    return { exitCode: error.exitCode, code: error.code, message: error.message, hints: error.hints }
  }
  if (error instanceof Errors.ExitError)
    return { exitCode: error.oclif.exit ?? 0, code: 'exit', message: '', hints: [] }
  if (error instanceof Errors.CLIError) return { exitCode: 2, code: 'input', ...parsing(error) }
  // A bug of ours. Its message may hold anything, so only its place is told.
  const name = error instanceof Error ? error.name : typeof error
  const place =
    error instanceof Error ? (error.stack ?? '').split('\n').find((line) => /^\s+at /.test(line)) : undefined
  return {
    exitCode: 1,
    code: 'bug',
    message: `This is a bug in mcp-ir (${name}${place === undefined ? '' : `, ${place.trim()}`}).`,
    hints: ['The case is consistent: the same command goes on from where it stood. Please report the line above.'],
  }
}

/** oclif quotes the values of flags and arguments in some of its messages; what it names is enough. */
function parsing(error: Errors.CLIError): { message: string; hints: readonly string[] } {
  const parse = error as Errors.CLIError & { parse?: unknown; showHelp?: boolean }
  const [first = 'The command line could not be read.'] = parse.message.split('\n')
  const message = parse.message
    .split('\n')
    .filter((line) => line.trim() !== '' && !/^See more help/.test(line))
    .join('\n')
  return { message: message === '' ? first : message, hints: ['Add --help to see what is accepted.'] }
}

export type { Command }
