/**
 * What policies let their holder do, by their text: for tokens that are gone, whom nobody can ask Vault about any more, and to
 * see which questions about a living one are worth asking.
 */
export interface Rule {
  readonly path: string
  readonly words: readonly string[]
}

/** Of `capabilities`, and of the old `policy` key. Who may change it, may roll it back; who has sudo, anything. */
const reading = ['read', 'sudo', 'write', 'root']
const writing = ['create', 'update', 'patch', 'sudo', 'write', 'root']

/** Where that is not clear, it counts as able to. @param policies texts in HCL or JSON, of one holder */
export function mayRead(policies: readonly string[], path: string): boolean {
  const words = grants(policies, path)
  return reading.some((word) => words.has(word))
}

/** Whether something new can be made there, or what is there changed. */
export function mayWrite(policies: readonly string[], path: string): boolean {
  const words = grants(policies, path)
  return writing.some((word) => words.has(word))
}

/** Those of the paths that any rule could be about, whatever it then says. Made for very many paths. */
export function spokenOf(policies: readonly string[], paths: readonly string[]): readonly string[] {
  const found = new Set<string>()
  const all = new Set(paths)
  for (const rule of new Set(policies.flatMap(rulesOf).map(({ path }) => path.replace(/^\//, '')))) {
    if (isUnclear(rule) || rule.includes('+')) {
      const begins = beginningOf(rule)
      for (const path of paths) if (path.startsWith(begins) && matches(rule, path)) found.add(path)
    } else if (rule.endsWith('*')) {
      for (const path of paths) if (path.startsWith(rule.slice(0, -1))) found.add(path)
    } else if (all.has(rule)) found.add(rule)
  }
  return [...found]
}

/**
 * Capabilities at a path. Rules of all policies with the same path are one, in which deny wins; of those that match, Vault takes the
 * closest.
 */
export function grants(policies: readonly string[], path: string): ReadonlySet<string> {
  const rules = new Map<string, Set<string>>()
  for (const rule of policies.flatMap(rulesOf)) {
    if (!matches(rule.path, path)) continue
    const words = rules.get(rule.path) ?? new Set()
    for (const word of rule.words) words.add(word)
    rules.set(rule.path, words)
  }
  const [closest] = [...rules.keys()].filter((rule) => !isUnclear(rule)).sort(closestFirst)
  // What a template becomes is not known here: such a rule may be the closest, or match nothing.
  const counting = [...rules].filter(([rule]) => rule === closest || isUnclear(rule)).map(([, words]) => words)
  return new Set(counting.flatMap((words) => (words.has('deny') ? [] : [...words])))
}

function isUnclear(rule: string): boolean {
  return /\{\{|\\/.test(rule)
}

/** Vault's own order (Policies, "Priority matching"): the later the first wildcard, the closer; then the fewer of them; then the longer. */
function closestFirst(a: string, b: string): number {
  const first = (rule: string): number => (/\+|\*$/.test(rule) ? rule.search(/\+|\*$/) : rule.length + 1e6)
  const parts = (rule: string): number => rule.split('/').filter((part) => part === '+').length
  return (
    first(b) - first(a) ||
    Number(a.endsWith('*')) - Number(b.endsWith('*')) ||
    parts(a) - parts(b) ||
    b.length - a.length ||
    (a < b ? 1 : -1)
  )
}

/** By text: very many tokens have the same policies. */
const known = new Map<string, readonly Rule[]>()

export function rulesOf(policy: string): readonly Rule[] {
  const rules = known.get(policy) ?? parse(policy)
  known.set(policy, rules)
  return rules
}

/** Each quoted text that a block follows is taken for a path. */
function parse(policy: string): readonly Rule[] {
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

/** The parts before the first that may be anything: whatever a rule matches begins so. */
function beginningOf(rule: string): string {
  if (rule.includes('\\')) return ''
  const plain = rule.slice(0, rule.search(/[+*]|\{\{|$/))
  return plain.slice(0, plain.lastIndexOf('/') + 1)
}

function matches(rule: string, path: string): boolean {
  // Spelled in a way that we do not read: it could be any path.
  if (rule.includes('\\')) return true
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
