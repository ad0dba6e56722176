/**
 * Many credentials ask the same large question at once, such as which tokens there are. Whoever asks while it is being answered gets
 * the next answer together with everybody else who waits, as the one under way may have looked already where something changed since.
 */
export function coalesced<T>(): (key: string, work: () => Promise<T>) => Promise<T> {
  const running = new Map<string, Promise<unknown>>()
  const next = new Map<string, Promise<T>>()
  return (key, work) => {
    const waiting = next.get(key)
    if (waiting !== undefined) return waiting
    const before = running.get(key)
    const start = async (): Promise<T> => {
      if (before !== undefined) await before.catch(() => undefined)
      next.delete(key)
      const mine = work()
      running.set(key, mine)
      try {
        return await mine
      } finally {
        if (running.get(key) === mine) running.delete(key)
      }
    }
    const started = start()
    if (before !== undefined) next.set(key, started)
    return started
  }
}
