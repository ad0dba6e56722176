import { IrError } from '../../errors.ts'

/**
 * Gives work an end of its own: neither a service that does not answer nor the SDK's patience with it holds up the cut.
 *
 * @param what what was attempted, as the start of a sentence
 * @param signal ends it earlier; undefined for what must be ended well although the responder interrupts
 * @throws IrError unreachable, ambiguous, when the time is over; whatever `work` throws
 */
export async function within<T>(
  ms: number,
  what: string,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const timeout = AbortSignal.timeout(ms)
  const until = signal === undefined ? timeout : AbortSignal.any([signal, timeout])
  const over = (): IrError =>
    signal?.aborted === true
      ? new IrError('interrupted', `${what} was interrupted.`)
      : new IrError('unreachable', `${what}: no answer within ${ms / 1000} s.`, { ambiguous: true })
  if (until.aborted) throw over()
  return new Promise<T>((resolve, reject) => {
    const end = (): void => reject(over())
    until.addEventListener('abort', end, { once: true })
    work(until)
      .then(resolve, (error: unknown) => reject(until.aborted ? over() : error))
      .finally(() => until.removeEventListener('abort', end))
  })
}
