/**
 * The inside of a process of the drill's company: gets its settings over the IPC channel (so that no secret is in its
 * arguments or environment), answers with what it came up as, and ends with its parent unless told to stay.
 * @param orphaned what is still to be done when the parent is gone
 */
export function worker<Settings, Ready>(
  start: (settings: Settings) => Promise<Ready>,
  orphaned: () => Promise<void> = async () => {},
): void {
  // As if told to from outside: there is nothing to save in any of them.
  const end = () => void orphaned().finally(() => process.kill(process.pid, 'SIGKILL'))
  process.on('disconnect', end)
  process.on('message', async (message: ToWorker<Settings>) => {
    if ('keep' in message) {
      process.off('disconnect', end)
      process.send?.({ kept: true } satisfies FromWorker<Ready>)
      return
    }
    try {
      process.send?.({ ready: await start(message.settings) } satisfies FromWorker<Ready>)
    } catch (error) {
      process.send?.({ failed: error instanceof Error ? error.message : 'unknown' } satisfies FromWorker<Ready>)
    }
  })
}

export type ToWorker<Settings> = { readonly settings: Settings } | { readonly keep: true }
export type FromWorker<Ready> = { readonly ready: Ready } | { readonly failed: string } | { readonly kept: true }
