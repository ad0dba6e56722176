import type { Change, JsonObject, Receipt } from '../change.ts'
import type { Line } from './events.ts'

/** A change that this case planned, in whichever step and run, and what came of it so far. */
export interface Past {
  readonly change: Change
  /** Once it is applied; taken away again when it is put back. */
  readonly receipt: Receipt | undefined
  readonly recorded: readonly JsonObject[]
}

type Draft = { -readonly [K in keyof Past]: Past[K] }

export interface PastChanges {
  /** Of an operation (`credentials/vault-approle crm`), oldest first; undefined when it never had any. */
  of(operation: string): readonly Past[] | undefined
  /** Those that recorded something, of every operation whose name begins so. */
  recordedBy(beginning: string): readonly Past[]
}

/** Reads on from where it stopped each time that it is asked, as a journal only grows. */
export function pastOf(lines: readonly Line[]): () => PastChanges {
  const byId = new Map<string, Draft>()
  const byOperation = new Map<string, Draft[]>()
  const operationOf = new Map<string, string>()
  const recording = new Set<Draft>()
  const undoes = new Map<string, string>()
  let read = 0

  const planned = (name: string, change: Change): void => {
    const known = byId.get(change.id)
    if (known !== undefined) {
      known.change = change
      return
    }
    const draft: Draft = { change, receipt: undefined, recorded: [] }
    byId.set(change.id, draft)
    operationOf.set(change.id, name)
    const others = byOperation.get(name)
    if (others === undefined) byOperation.set(name, [draft])
    else others.push(draft)
  }
  const take = (line: Line): void => {
    if (line.kind === 'step.planned')
      for (const { adapter, key, changes, undoes: originals = {} } of line.data.operations) {
        for (const change of changes) planned(`${adapter} ${key}`, change)
        for (const [id, original] of Object.entries(originals)) undoes.set(id, original)
      }
    if (line.kind === 'change.recorded') {
      const draft = byId.get(line.data.id)
      if (draft === undefined) return
      draft.recorded = [...draft.recorded, line.data.data]
      recording.add(draft)
    }
    if (line.kind === 'change.applied') {
      const draft = byId.get(line.data.id)
      if (draft !== undefined) draft.receipt = line.data.receipt
      const original = byId.get(undoes.get(line.data.id) ?? '')
      if (original !== undefined) original.receipt = undefined
    }
  }
  const all: PastChanges = {
    of: (operation) => byOperation.get(operation),
    recordedBy: (beginning) =>
      [...recording].filter(({ change }) => operationOf.get(change.id)?.startsWith(beginning) === true),
  }
  return () => {
    for (; read < lines.length; read++) take(lines[read] as Line)
    return all
  }
}
