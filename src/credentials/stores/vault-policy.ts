/**
 * Whether a policy lets its holder read a path. Where that is not clear, it counts as able to: this only decides whether a new
 * secret may be put where a suspect's old identity could read it.
 * @param policy text of a policy of Vault, in HCL or JSON
 */
export function mayRead(policy: string, path: string): boolean {
  const rules = rulesOf(policy)
  // The rule of the very path goes before those with a wildcard, and deny before all else.
  if (rules.some((rule) => rule.path === path && rule.words.includes('deny'))) return false
  return rules.some((rule) => matches(rule.path, path) && rule.words.some((word) => reading.has(word)))
}

/** Of `capabilities`, and of the old `policy` key. Who may change it, may roll it back; who has sudo, anything. */
const reading = new Set(['read', 'sudo', 'write', 'root'])

interface Rule {
  readonly path: string
  readonly words: readonly string[]
}

/** Each quoted text that a block follows is taken for a path. */
function rulesOf(policy: string): readonly Rule[] {
  const text = policy.replace(/("(?:[^"\\]|\\.)*")|\/\*[\s\S]*?\*\/|(?:#|\/\/)[^\n]*/g, '$1')
  const rules: Rule[] = []
  for (const found of text.matchAll(/"((?:[^"\\]|\\.)*)"\s*:?\s*\{/g)) {
    const start = found.index + found[0].length
    rules.push({ path: found[1] ?? '', words: wordsOf(text.slice(start, endOf(text, start))) })
  }
  return rules
}

/** Every quoted word of the block, its key or its value. */
function wordsOf(block: string): readonly string[] {
  return [...block.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, word = '']) => word)
}

/** Where the block ends that begins at `start`. */
function endOf(text: string, start: number): number {
  let depth = 1
  let quoted = false
  for (let index = start; index < text.length; index++) {
    const character = text[index]
    if (quoted && character === '\\') index++
    else if (character === '"') quoted = !quoted
    else if (!quoted && character === '{') depth++
    else if (!quoted && character === '}' && --depth === 0) return index
  }
  return text.length
}

function matches(rule: string, path: string): boolean {
  // A template could become anything.
  const pattern = rule.replace(/\{\{.*?\}\}/g, '+').replace(/^\//, '')
  const open = pattern.endsWith('*')
  const parts = (open ? pattern.slice(0, -1) : pattern).split('/')
  const given = path.split('/')
  if (open ? given.length < parts.length : given.length !== parts.length) return false
  return parts.every((part, index) => {
    const other = given[index] ?? ''
    if (part === '+' || part.includes('+')) return true
    return open && index === parts.length - 1 ? other.startsWith(part) : other === part
  })
}
