import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { dirname, resolve, sep } from 'node:path'
import type { ActionCall, Adapter, Call, Change, Json, Observation, Problem, Receipt, Verdict } from '../change.ts'
import { type Document, parseClientFile } from '../clients/document.ts'
import { type Entry, entriesOf } from '../clients/entries.ts'
import { keep, kept, type Looked, lookAt, type Owned, replace, sha256 } from '../clients/file.ts'
import { clientOf } from '../clients/known-files.ts'
import { type Match, match } from '../clients/match.ts'
import { type SecretName, secretsOf } from '../clients/secrets.ts'
import { Uneditable, Unparsable } from '../clients/tree.ts'
import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import type { ClientTarget, ContainmentIntent } from './port.ts'

/**
 * A configuration file of an MCP client that knows the server. The server's entries are taken out of it and every other
 * byte stays; the original bytes are kept in the case's private folder, from where release puts them back.
 * One change takes out all entries of a file: between two changes of one file no byte could be told apart.
 */

const action = 'remove-client-entry'

const limits = [
  'A client that runs keeps what it read before: it lets go of the server when it is started again or reads its configuration anew, and may write what it knew back.',
  'Only the named configuration files were looked at: other users, machines and projects may know the server too.',
]

/** An entry as it is journalled: names only. */
interface Removed {
  readonly name: string
  /** Keys from the root of the file. */
  readonly where: readonly string[]
  readonly why: string
  /** Whether the client starts a process of its own (stdio), or goes to a URL. */
  readonly starts: 'process' | 'nothing' | 'unknown'
  readonly secrets: readonly SecretName[]
}

/** SHA-256 of the file's bytes before and after; the former is also the name of the kept bytes. */
interface Undo extends Owned {
  readonly file: string
  readonly before: string
  readonly after: string
}

interface Params {
  readonly file: string
  readonly entries: readonly Removed[]
  readonly undo: Undo
}

/** What a look at the file came to. */
interface View {
  readonly looked: Looked
  readonly document: Document | undefined
  readonly certain: readonly Found[]
  readonly unsure: readonly Found[]
  readonly entries: number
  /** Why it cannot be read as a configuration. */
  readonly unreadable: string | undefined
}

interface Found {
  readonly entry: Entry
  readonly match: Match
}

export const mcpClientConfig: Adapter<ClientTarget, ContainmentIntent> = {
  permissions: ['to read the configuration files and to write to their folders (the user of the client, or root)'],

  async check({ target, intent, privateFolder }) {
    if (intent === 'release') return []
    const file = resolve(target.file)
    if (isInside(file, dirname(privateFolder))) {
      return [{ kind: 'refused', message: `${safe(file)} lies in the case itself: it is no client's configuration.` }]
    }
    const view = await viewOf(target)
    const problems: Problem[] = []
    if (view.looked.state === 'absent') problems.push({ kind: 'warning', message: `${safe(file)} does not exist` })
    if (view.unreadable !== undefined) {
      problems.push({
        kind: 'warning',
        message: `${safe(file)} is left as it is: ${view.unreadable}`,
        hint: `Look into it, and take ${safe(target.server)} out by hand.`,
      })
    }
    for (const found of view.unsure) problems.push({ kind: 'warning', message: unsure(file, found) })
    if (view.certain.length > 0) {
      const denied = await notPermitted(file, view.looked)
      if (denied !== undefined) problems.push(denied)
      if (emptied(target, view) === undefined) {
        problems.push({ kind: 'warning', message: `${safe(file)}: its layout does not allow to take the entry out` })
      }
    }
    return problems
  },

  async plan({ target, intent, changeId, privateFolder }) {
    if (intent === 'release' || isInside(resolve(target.file), dirname(privateFolder))) return []
    const view = await viewOf(target)
    const { file, server } = target
    const after = emptied(target, view)
    if (view.looked.state !== 'file' || view.certain.length === 0 || after === undefined) return []
    const { mode, uid, gid } = view.looked
    const entries = view.certain.map(removed)
    const undo: Undo = { file, before: view.looked.sha256, after: sha256(after), mode, uid, gid }
    const params: Params = { file, entries, undo }
    const client = clientOf(file)
    const places = entries.map(({ where }) => safe(where.join('.'), 120)).join(', ')
    return [
      {
        id: changeId(action, file),
        action,
        target: file,
        summary: `Take ${places} out of ${safe(file)}`,
        effect: 'reversible',
        priority: 'essential',
        after: [],
        params: params as unknown as Json,
        undo: undo as unknown as Json,
        breaks: [`whoever uses ${client ?? 'the client'} with this file loses the tools of ${safe(server)}`],
        command: `sudoedit ${quoted(file)}  # take out ${places}`,
        facts: {
          ...(client === undefined ? {} : { client }),
          file: safe(file),
          ...Object.fromEntries(entries.map((entry, at) => [`entry ${at + 1}`, told(entry)])),
        },
      },
    ]
  },

  async verify(call) {
    return call.intent === 'release' ? verifyReleased(call) : verifyIsolated(call)
  },

  actions: {
    [action]: {
      apply: takeOut,
      async settle(change, call) {
        const { undo } = change.params as unknown as Params
        const looked = await lookAt(undo.file)
        if (looked.state !== 'file' || looked.sha256 !== undo.after) return undefined
        // Without the original bytes it was not this change that took it out.
        return (await kept(call.privateFolder, undo.before)) === undefined ? undefined : receiptOf(change)
      },
      undo: {
        drift,
        apply: putBack,
        async settle(change, receipt) {
          const { first } = undoOf(change, receipt)
          const looked = await lookAt(first.file)
          return looked.state === 'file' && looked.sha256 === first.before ? restored(first) : undefined
        },
      },
    },
  },
}

async function takeOut(change: Change, call: ActionCall<ClientTarget>): Promise<Receipt> {
  notInterrupted(call.signal)
  const { file, undo } = change.params as unknown as Params
  const view = await viewOf({ ...call.target, file })
  const { looked } = view
  if (looked.state === 'file' && looked.sha256 === undo.after) {
    if ((await kept(call.privateFolder, undo.before)) !== undefined) return receiptOf(change)
  }
  const after = looked.state === 'file' && looked.sha256 === undo.before ? emptied(call.target, view) : undefined
  if (looked.state !== 'file' || after === undefined || sha256(after) !== undo.after) {
    throw new IrError('refused', `${safe(file)} changed since the plan was made: it was left as it is.`, {
      hints: ['Run the same command again: it plans anew.'],
    })
  }
  await keep(call.privateFolder, file, looked.bytes)
  await replace(file, after, looked, undo.before, change.id)
  return receiptOf(change)
}

function receiptOf(change: Change): Receipt {
  const { entries, undo } = change.params as unknown as Params
  return { output: { entries } as unknown as Json, undo: undo as unknown as Json }
}

/** The first undo of the run is the original state; the one of the receipt is what was last written. */
function undoOf(change: Change, receipt: Receipt): { first: Undo; last: Undo } {
  const last = (receipt.undo ?? change.undo) as unknown as Undo
  return { first: (change.undo ?? last) as unknown as Undo, last }
}

async function drift(change: Change, receipt: Receipt, call: Call<ClientTarget>): Promise<readonly string[]> {
  const { first, last } = undoOf(change, receipt)
  const looked = await lookAt(first.file)
  if (looked.state === 'absent') return ['the file is gone, and would be made again']
  if (looked.state === 'strange') return [`${looked.why}: nothing would be put back`]
  if (looked.sha256 === first.before) return ['somebody put the original bytes back already']
  if (looked.sha256 === last.after) {
    if (first.before === last.before) return []
    return ['the file was altered by others between two isolations; what they altered would be lost']
  }
  const before = await kept(call.privateFolder, last.before)
  const difference = before === undefined ? [] : compare(first.file, before, looked.bytes, receipt)
  return difference.length > 0 ? difference : ['something else than its servers was altered, and would be lost']
}

/** Which servers came and went, by name. */
function compare(file: string, before: Uint8Array, now: Uint8Array, receipt: Receipt): readonly string[] {
  const names = (bytes: Uint8Array): ReadonlySet<string> | undefined => {
    try {
      return new Set(entriesOf(parseClientFile(file, bytes).tree).map(({ where }) => where.join('.')))
    } catch (error) {
      if (error instanceof Unparsable) return undefined
      throw error
    }
  }
  const ours = ((receipt.output as { entries?: readonly Removed[] } | undefined)?.entries ?? []).map(({ where }) =>
    where.join('.'),
  )
  const [then, today] = [names(before), names(now)]
  if (then === undefined || today === undefined) return ['the file cannot be read any more, and would be replaced']
  const came = [...today].filter((name) => !then.has(name))
  const went = [...then].filter((name) => !today.has(name) && !ours.includes(name))
  const back = ours.filter((name) => today.has(name))
  const list = (all: readonly string[]): string => all.map((name) => safe(name, 80)).join(', ')
  return [
    ...(back.length > 0 ? [`somebody put back ${list(back)}`] : []),
    ...(came.length > 0 ? [`${list(came)} was added, and would be lost`] : []),
    ...(went.length > 0 ? [`${list(went)} was taken out, and would come back`] : []),
  ]
}

async function putBack(change: Change, receipt: Receipt, call: ActionCall<ClientTarget>): Promise<Receipt> {
  notInterrupted(call.signal)
  const { first, last } = undoOf(change, receipt)
  const { file } = first
  const original = await kept(call.privateFolder, first.before)
  if (original === undefined) {
    throw new IrError(
      'refused',
      `The original bytes of ${safe(file)} are not in the case any more: nothing was changed.`,
    )
  }
  const looked = await lookAt(file)
  if (looked.state === 'strange') throw new IrError('refused', `${safe(file)} was left as it is: ${looked.why}.`)
  if (looked.state === 'file') {
    if (looked.sha256 === first.before) return restored(first)
    // What others wrote since is overridden by consent, and still not lost.
    if (looked.sha256 !== last.after) await keep(call.privateFolder, file, looked.bytes)
  }
  const [owned, expected] = looked.state === 'file' ? [looked, looked.sha256] : [first, undefined]
  await replace(file, original, owned, expected, change.id)
  return restored(first)
}

const restored = ({ file, before }: Undo): Receipt => ({ output: { file, sha256: before } })

async function verifyIsolated({ target, receipts, changeId }: Call<ClientTarget>): Promise<Verdict> {
  const { file, server } = target
  const view = await viewOf(target)
  const observed: Observation[] = []
  const residue: string[] = []
  const claim = `${safe(file)} names ${safe(server)} no more`
  if (view.looked.state === 'absent') observed.push({ claim, seen: 'there is no such file', holds: true })
  else if (view.unreadable !== undefined) {
    residue.push(
      `${safe(file)} was left as it is, as ${view.unreadable}: a client may still know ${safe(server)} by it`,
    )
  } else {
    const there = view.certain.map(({ entry }) => safe(entry.where.join('.'), 120))
    observed.push({
      claim,
      seen: there.length > 0 ? `it has ${there.join(', ')}` : `none of its ${view.entries} servers`,
      holds: there.length === 0,
    })
  }
  for (const found of view.unsure) residue.push(unsure(file, found))
  const receipt = receipts.get(changeId(action, file))
  const entries = (receipt?.output as { entries?: readonly Removed[] } | undefined)?.entries ?? []
  for (const { where, starts, secrets } of entries) {
    const name = safe(where.join('.'), 120)
    if (starts === 'process') {
      residue.push(`clients of ${safe(file)} start ${name} themselves (stdio): a process of it may still run under one`)
    }
    if (secrets.length > 0) {
      residue.push(`alive until revoked, as they stood in ${name} of ${safe(file)}: ${secretList(secrets)}`)
    }
  }
  const state = observed.some(({ holds }) => !holds) ? 'failed' : residue.length > 0 ? 'residual' : 'verified'
  const output = {
    file,
    client: clientOf(file) ?? null,
    removed: entries,
    // For the list of credentials: whoever could read the file has them (credentials/client-secrets.ts).
    secrets: [...entries, ...view.certain.map(removed)].flatMap((one) =>
      one.secrets.map((secret) => ({ entry: one.where.join('.'), ...secret })),
    ),
    unsure: view.unsure.map(({ entry, match }) => ({ where: entry.where, why: match.why })),
    unreadable: view.unreadable ?? null,
  }
  return { state, observed, residue, limits, output: output as unknown as Json }
}

async function verifyReleased({ target, changes, receipts }: Call<ClientTarget>): Promise<Verdict> {
  const { file } = target
  const looked = await lookAt(file)
  const seen =
    looked.state === 'file' ? looked.sha256 : looked.state === 'absent' ? 'there is no such file' : looked.why
  const observed = changes.map((change): Observation => {
    const wanted = (receipts.get(change.id)?.output as { sha256?: string } | undefined)?.sha256
    return {
      claim: `${safe(file)} is byte for byte what it was`,
      seen: wanted === undefined ? 'it was not put back' : `sha256 ${seen}`,
      holds: wanted !== undefined && seen === wanted,
    }
  })
  const failed = observed.some(({ holds }) => !holds)
  return { state: failed ? 'failed' : 'verified', observed, residue: [], limits: [], output: { file } }
}

async function viewOf(target: ClientTarget): Promise<View> {
  const looked = await lookAt(target.file)
  const nothing = { document: undefined, certain: [], unsure: [], entries: 0, unreadable: undefined }
  if (looked.state === 'absent') return { looked, ...nothing }
  if (looked.state === 'strange') return { looked, ...nothing, unreadable: looked.why }
  try {
    const document = parseClientFile(target.file, looked.bytes)
    const entries = entriesOf(document.tree)
    const found = entries.flatMap((entry): Found[] => {
      const how = match(entry, target)
      return how === undefined ? [] : [{ entry, match: how }]
    })
    return {
      looked,
      document,
      certain: found.filter((one) => one.match.certain),
      unsure: found.filter((one) => !one.match.certain),
      entries: entries.length,
      unreadable: undefined,
    }
  } catch (error) {
    if (error instanceof Unparsable) return { looked, ...nothing, unreadable: error.message }
    throw error
  }
}

/** The file's bytes without every entry that is certain, one after the other; undefined when its layout forbids it. */
function emptied(target: ClientTarget, view: View): Uint8Array | undefined {
  if (view.looked.state !== 'file' || view.document === undefined) return undefined
  let { bytes } = view.looked
  let { document } = view
  try {
    for (let left = view.certain.length; left > 0; left--) {
      const next = entriesOf(document.tree).find((entry) => match(entry, target)?.certain === true)
      if (next === undefined) break
      bytes = document.without(next.path)
      document = parseClientFile(target.file, bytes)
    }
    return bytes
  } catch (error) {
    if (error instanceof Uneditable) return undefined
    throw error
  }
}

function removed({ entry, match: { why } }: Found): Removed {
  const starts = entry.argv.length > 0 ? 'process' : entry.urls.length > 0 ? 'nothing' : 'unknown'
  return { name: entry.name, where: entry.where, why, starts, secrets: secretsOf(entry) }
}

function told({ where, why, starts, secrets }: Removed): string {
  const how = { process: 'the client starts it (stdio)', nothing: 'the client goes to its URL', unknown: '' }[starts]
  const names = secrets.length === 0 ? '' : `secrets in it: ${secretList(secrets)}`
  return [`${safe(where.join('.'), 120)}: ${safe(why)}`, how, names].filter((part) => part !== '').join('; ')
}

function unsure(file: string, { entry, match: { why } }: Found): string {
  return `${safe(entry.where.join('.'), 120)} in ${safe(file)} may be it, and was left: ${safe(why)}`
}

function secretList(secrets: readonly SecretName[]): string {
  return secrets.map(({ name, where }) => `${safe(name, 80)} (${where})`).join(', ')
}

/** A file is replaced by one beside it, which needs the folder, and only root gives a file to somebody else. */
async function notPermitted(file: string, looked: Looked): Promise<Problem | undefined> {
  const uid = process.geteuid?.()
  const foreign = looked.state === 'file' && uid !== undefined && uid !== 0 && looked.uid !== uid
  const writable = await access(dirname(file), constants.W_OK).then(
    () => true,
    () => false,
  )
  if (writable && !foreign) return undefined
  return {
    kind: 'denied',
    message: `we may not replace ${safe(file)}`,
    hint: 'Run the same with sudo, or as the user whom the file belongs to.',
  }
}

const isInside = (file: string, folder: string): boolean => file.startsWith(`${resolve(folder)}${sep}`)

function notInterrupted(signal: AbortSignal): void {
  if (signal.aborted) throw new IrError('interrupted', 'Interrupted before the file was changed.')
}

function quoted(file: string): string {
  return /^[\w./@+-]+$/.test(file) ? file : `'${safe(file, 4096).replaceAll("'", `'\\''`)}'`
}
