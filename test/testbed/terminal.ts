import type { Context } from '../../src/context.ts'
import { IrError } from '../../src/errors.ts'
import type { Prompts, Ui } from '../../src/ui/port.ts'

/** A terminal that nobody sits at; what is said is kept. Answers can be given, in order, to make it interactive. */
function testUi(answers?: unknown[]): Ui & { readonly said: string[] } {
  const said: string[] = []
  const next = async (question: string): Promise<never> => {
    if (answers === undefined) throw new IrError('consent', `asked without a terminal: ${question}`)
    said.push(`? ${question}`)
    if (answers.length === 0) throw new Error(`no answer left for: ${question}`)
    return answers.shift() as never
  }
  const ask: Prompts = { confirm: next, typed: next, text: next, select: next }
  return {
    interactive: answers !== undefined,
    write: (text) => said.push(text),
    say: (text) => said.push(text),
    task: (_, work) => work(() => {}),
    ask,
    said,
  }
}

/** A context on a cases folder, with no registry but the given one. */
export function testContext(cases: string, over: Partial<Context> & { config?: Context['config'] } = {}): Context {
  return {
    version: '0.0.0',
    by: 'alice@laptop',
    approvedBy: undefined,
    now: () => new Date(),
    random: (bytes) => new Uint8Array(bytes).fill(7),
    config: {
      file: undefined,
      trusted: true,
      registry: undefined,
      cases,
      invocations: undefined,
      vault: {},
      aws: {},
      hours: undefined,
      duties: [],
      tlp: 'amber+strict',
    },
    registry: async () => undefined,
    ui: testUi(),
    signal: new AbortController().signal,
    ...over,
  }
}
