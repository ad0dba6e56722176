/** Of something large that very many credentials share, such as a list of all tokens: made once for it. */
export function madeOnce<T extends object, R>(make: (all: T) => R): (all: T) => R {
  const made = new WeakMap<T, R>()
  return (all) => {
    const known = made.get(all) ?? make(all)
    made.set(all, known)
    return known
  }
}
