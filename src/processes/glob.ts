/**
 * Whether the whole text fits a pattern in which `*` stands for any characters (also `/` and newlines), `?` for one, and
 * everything else for itself. No regular expression is built and the time is at most pattern times text, so that a
 * command line that a suspect chose can do no harm.
 */
export function matches(pattern: string, text: string): boolean {
  const wanted = [...pattern]
  const given = [...text]
  let p = 0
  let t = 0
  let star = -1
  let resume = 0
  while (t < given.length) {
    if (wanted[p] === '*') {
      star = p++
      resume = t
    } else if (p < wanted.length && (wanted[p] === '?' || wanted[p] === given[t])) {
      p++
      t++
    } else if (star >= 0) {
      // The last star takes one more character.
      p = star + 1
      t = ++resume
    } else {
      return false
    }
  }
  while (wanted[p] === '*') p++
  return p === wanted.length
}
