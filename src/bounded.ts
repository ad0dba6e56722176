/** So many at once where nothing else is said: more only gets us throttled. */
export const width = 8

/** Does the work for each item, a bounded number at a time; the results in the order of the items. The first error ends it. */
export async function bounded<T, R>(
  items: readonly T[],
  work: (item: T, index: number) => Promise<R>,
  most = width,
): Promise<R[]> {
  const results = new Array<R>(items.length)
  let next = 0
  const worker = async (): Promise<void> => {
    for (let index = next++; index < items.length; index = next++) results[index] = await work(items[index] as T, index)
  }
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, worker))
  return results
}
