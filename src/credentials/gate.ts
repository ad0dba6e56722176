import { IrError } from '../errors.ts'

/** Bounds what is asked of one Vault at a time, over all adapters: less when it throttles, more again when it does not. */
interface Gate {
  run<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T>
  throttled(): void
}

const most = 32
const least = 4
const gates = new Map<string, Gate>()

export function gateOf(address: string): Gate {
  const known = gates.get(address)
  if (known !== undefined) return known
  const made = gate()
  gates.set(address, made)
  return made
}

function gate(): Gate {
  let limit = most
  let running = 0
  let lowered = 0
  const waiting: (() => void)[] = []
  const next = (): void => {
    while (running < Math.floor(limit) && waiting.length > 0) {
      running++
      waiting.shift()?.()
    }
  }
  return {
    async run(work, signal) {
      if (running < Math.floor(limit)) running++
      else await new Promise<void>((resolve) => waiting.push(resolve))
      try {
        // Whoever was queued when it was interrupted must not start any more.
        if (signal.aborted) throw new IrError('interrupted', 'Interrupted.')
        return await work()
      } finally {
        running--
        limit = Math.min(most, limit + 1 / limit)
        next()
      }
    },
    throttled() {
      // Many at once are one sign, not many.
      const now = performance.now()
      if (now - lowered < 100) return
      lowered = now
      limit = Math.max(least, limit / 2)
    },
  }
}
