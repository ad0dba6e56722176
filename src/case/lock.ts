import { randomBytes } from 'node:crypto'
import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { IrError, StorageError, systemCode } from '../errors.ts'

/** Who holds a case. */
export interface Holder {
  readonly host: string
  readonly pid: number
  /** Tells this process from a later one with the same pid; absent where the system does not say. */
  readonly started?: string
  readonly by: string
  readonly at: string
  readonly nonce: string
}

export interface Lock {
  /** The dead holder that this lock was taken over from. */
  readonly takenOver: { readonly holder: Holder; readonly why: string } | undefined
  release(): void
}

/**
 * One writer at a time. A lock is a chain of claims: `lock`, and for each claim whose holder died `lock.<nonce>.next`.
 * The last one of the chain holds. Claims are only ever made with link(2), which fails when the name exists, so of two
 * that take over the same dead holder exactly one wins; a claim that is no longer reached from `lock` does not hold.
 *
 * @throws IrError refused naming the holder while somebody else has it
 */
export function acquireLock(folder: string, by: string, now: Date, takeOver: boolean): Lock {
  const own: Holder = { ...thisProcess(), by, at: now.toISOString(), nonce: randomBytes(8).toString('hex') }
  const draft = join(folder, `.lock-${own.nonce}`)
  try {
    writeFileSync(draft, JSON.stringify(own), { mode: 0o600, flag: 'wx' })
  } catch (error) {
    throw new StorageError(`${folder} cannot be written (${systemCode(error) ?? 'unknown error'}).`, {
      hints: ['Make room on its disk, or make it writable; nothing was changed.'],
      cause: error,
    })
  }
  try {
    // Each round somebody else made progress; a hundred rounds in a row mean that something else is wrong.
    for (let round = 0; round < 100; round++) {
      const chain = readChain(folder)
      const last = chain.at(-1)
      let takenOver: Lock['takenOver']
      if (last !== undefined) {
        const why = whyDead(last.holder, takeOver)
        if (why === undefined) throw busy(last.holder)
        takenOver = { holder: last.holder, why }
      }
      const name = last === undefined ? 'lock' : `lock.${last.holder.nonce}.next`
      if (!claim(draft, join(folder, name))) continue
      const reached = readChain(folder)
      if (reached.at(-1)?.holder.nonce !== own.nonce) {
        rmSync(join(folder, name), { force: true })
        continue
      }
      return {
        takenOver,
        release: () => {
          // The root first: from then on the rest of the chain means nothing.
          for (const link of reached) rmSync(join(folder, link.name), { force: true })
        },
      }
    }
    throw new IrError('refused', 'The case could not be locked.', { hints: [`Look at the lock files in ${folder}.`] })
  } finally {
    rmSync(draft, { force: true })
  }
}

function readChain(folder: string): { name: string; holder: Holder }[] {
  const chain: { name: string; holder: Holder }[] = []
  let name = 'lock'
  for (;;) {
    let text: string
    try {
      text = readFileSync(join(folder, name), 'utf8')
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return chain
      throw error
    }
    const holder = parseHolder(text, name)
    chain.push({ name, holder })
    name = `lock.${holder.nonce}.next`
  }
}

function parseHolder(text: string, name: string): Holder {
  try {
    const holder: Holder = JSON.parse(text)
    if (/^[0-9a-f]{16}$/.test(holder.nonce) && Number.isSafeInteger(holder.pid)) return holder
  } catch {
    // Falls through to the error below.
  }
  throw new IrError('refused', `The case's ${name} file cannot be read.`, {
    hints: [
      'Claims are written whole, so somebody changed it. When no other mcp-ir works on this case, remove the file.',
    ],
  })
}

function claim(draft: string, path: string): boolean {
  try {
    linkSync(draft, path)
    return true
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false
    throw error
  }
}

function whyDead(holder: Holder, takeOver: boolean): string | undefined {
  const own = thisProcess()
  if (holder.host !== own.host) return takeOver ? `--take-over from another host` : undefined
  if (holder.started !== undefined) return startOf(holder.pid) === holder.started ? undefined : 'its process has ended'
  try {
    process.kill(holder.pid, 0)
    return undefined
  } catch (error) {
    return systemCode(error) === 'ESRCH' ? 'its process has ended' : undefined
  }
}

function busy(holder: Holder): IrError {
  const here = holder.host === hostname()
  return new IrError(
    'refused',
    `${holder.by} is working on this case (process ${holder.pid} on ${holder.host}, since ${holder.at}).`,
    {
      hints: [
        here
          ? 'Wait for it, or end that process; its lock is then taken over.'
          : 'When you are sure that nobody works there any more, add --take-over.',
      ],
    },
  )
}

function thisProcess(): Pick<Holder, 'host' | 'pid' | 'started'> {
  const started = startOf(process.pid)
  return { host: hostname(), pid: process.pid, ...(started === undefined ? {} : { started }) }
}

/** Boot id and start time (field 22 of /proc/PID/stat, proc(5)), which together no other process has. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // A zombie has ended, it only was not waited for.
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}/${fields[19]}`
  } catch {
    return undefined
  }
}
