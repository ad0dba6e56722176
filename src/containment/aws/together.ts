import { setImmediate as nextMoment } from 'node:timers/promises'
import { awsError } from '../../aws/clients.ts'
import { within } from './deadline.ts'
import type { Reading } from './reading.ts'

/**
 * What comes at the same moment goes in one call: AWS counts calls, not what they are about. Nothing is kept: what is asked
 * later is asked again.
 */

/** How long an answer may take, with all that is sent again because it was throttled. */
const answerMs = 30_000

/** One for each command (it has one signal), region and role. */
class Scoped<T> {
  readonly #all = new WeakMap<AbortSignal, Map<string, T>>()

  of(call: Reading, key: string, make: () => T): T {
    const scopes = this.#all.get(call.signal) ?? new Map<string, T>()
    this.#all.set(call.signal, scopes)
    const { region, role } = call.target.deployment
    const name = JSON.stringify([region ?? null, role ?? null, key])
    const found = scopes.get(name) ?? make()
    scopes.set(name, found)
    return found
  }
}

interface Batch<T> {
  readonly keys: string[]
  readonly answers: Promise<ReadonlyMap<string, T>>
}

interface Asked<T> {
  /** Of this moment. */
  readonly answers: Map<string, Promise<T | undefined>>
  batch: Batch<T> | undefined
}

/**
 * A question about one thing, asked together with all others of its kind.
 *
 * @param what for the sentence when there is no answer
 * @param most of them in one call
 * @param ask the answers by key; without one: there is no such thing
 */
export function gathered<T>(
  what: string,
  most: number,
  ask: (call: Reading, keys: readonly string[]) => Promise<ReadonlyMap<string, T>>,
): (call: Reading, key: string) => Promise<T | undefined> {
  const all = new Scoped<Asked<T>>()
  const open = (call: Reading, asked: Asked<T>): Batch<T> => {
    const keys: string[] = []
    const answers = nextMoment().then(() => {
      asked.answers.clear()
      asked.batch = undefined
      return within(answerMs, what, call.signal, (until) => ask({ ...call, until }, keys))
    })
    return { keys, answers }
  }
  return (call, key) => {
    const asked = all.of(call, '', () => ({ answers: new Map(), batch: undefined }))
    const known = asked.answers.get(key)
    if (known !== undefined) return known
    if (asked.batch === undefined || asked.batch.keys.length === most) asked.batch = open(call, asked)
    asked.batch.keys.push(key)
    const answer = asked.batch.answers.then((found) => found.get(key))
    asked.answers.set(key, answer)
    return answer
  }
}

interface Waiting<T> {
  readonly item: T
  readonly done: () => void
  readonly failed: (error: unknown) => void
}

interface Queue {
  readonly waiting: Waiting<unknown>[]
  busy: boolean
}

const queues = new Scoped<Queue>()

/**
 * An order for one item of a thing: one call at a time, as AWS refuses a second one for some things; those that came
 * meanwhile go together.
 *
 * @param key which thing and which order; the same `send` must go with it
 * @param most of them in one call
 */
export function together<T>(
  call: Reading,
  key: string,
  item: T,
  most: number,
  send: (items: readonly T[]) => Promise<unknown>,
): Promise<void> {
  const queue = queues.of(call, key, () => ({ waiting: [], busy: false })) as { waiting: Waiting<T>[]; busy: boolean }
  const work = async (): Promise<void> => {
    for (;;) {
      // Those who go on because the last call ended come along with those who waited for it.
      await nextMoment()
      if (queue.waiting.length === 0) break
      const some = queue.waiting.splice(0, most)
      try {
        await send(some.map((one) => one.item))
        for (const { done } of some) done()
      } catch (error) {
        // One that is refused does not keep the others: `partial` is a clear refusal of the whole call.
        const refused = some.length > 1 && awsError(error, 'All at once').code === 'partial'
        for (const { item: one, done, failed } of some) {
          if (refused) await send([one]).then(done, failed)
          else failed(error)
        }
      }
    }
    queue.busy = false
  }
  return new Promise((done, failed) => {
    queue.waiting.push({ item, done, failed })
    if (queue.busy) return
    queue.busy = true
    void work()
  })
}
