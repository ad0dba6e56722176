/**
 * A command line as it may be shown, journalled and kept: what looks like a secret is replaced by its length. Wrong in
 * doubt on the side of hiding: a responder needs to recognise the process, not to read its arguments.
 */
export function redactCommand(args: readonly string[]): string[] {
  let next = false
  return bounded(args).map((arg) => {
    if (next && !arg.startsWith('-')) {
      next = false
      return hidden(arg)
    }
    next = secretFlag.test(arg) && !arg.includes('=')
    return redactWords(arg)
  })
}

/** Characters of a command line that are looked at and kept. */
const longest = 4000
const secretName = /pass|pwd|secret|token|key|auth|cred|bearer|session|cookie|private|signature|jwt|\bpin\b|dsn|canary/i
const secretFlag = new RegExp(`^--?[\\w.-]*(?:${secretName.source})[\\w.-]*$`, 'i')
/** Variables whose value says nothing but how the process runs. */
const plainVariables = new Set([
  'NODE_ENV',
  'HOST',
  'PORT',
  'LANG',
  'TZ',
  'PATH',
  'HOME',
  'PWD',
  'USER',
  'SHELL',
  'TERM',
])
/** Prefixes of tokens that their issuers made recognisable. */
const knownToken =
  /\b(?:gh[opusr]_|github_pat_|glpat-|sk-|rk_|pk_|xox[abeprs]-|hv[sbr]\.|AKIA|ASIA|eyJ|npm_|pypi-|AIza|ya29\.)[\w.~+/=-]{6,}/g
/** Long, with digits and letters mixed and no word break: made by a machine. */
const random = /[A-Za-z0-9+=]{20,}/g

/** The suspect chooses how long its arguments are, and the patterns below take up to the square of that. */
function bounded(args: readonly string[]): string[] {
  const kept: string[] = []
  let left = longest
  for (const arg of args) {
    if (left <= 0) return [...kept, `… (${args.length} arguments)`]
    kept.push(arg.length > left ? `${arg.slice(0, left)}… (${arg.length} characters)` : arg)
    left -= arg.length + 1
  }
  return kept
}

/** One argument may be a whole script (`sh -c …`), so each of its words is looked at. */
function redactWords(arg: string): string {
  return arg
    .replace(
      /\b(bearer|basic|token)(\s+)([\w.~+/=-]{4,})/gi,
      (_, scheme, blank, value) => scheme + blank + hidden(value),
    )
    .replace(
      /(^|[\s"'`;,{(&?])(-{0,2}[\w.-]+)(["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s"'`;&]+)/g,
      (all, before, name, sign, value) => (isSecret(name, sign.trim()) ? before + name + sign + hidden(value) : all),
    )
    .replace(/(\s-{1,2}[\w.-]+\s+)([^\s-]\S*)/g, (all, flag: string, value) =>
      secretFlag.test(flag.trim()) ? flag + hidden(value) : all,
    )
    .replace(
      /([a-z][a-z0-9+.-]*:\/\/)[^\s/@]+@/gi,
      (all, scheme: string) => `${scheme}${hidden(all.slice(scheme.length, -1))}@`,
    )
    .replace(/([a-z][a-z0-9+.-]*:\/\/[^\s?#]*\?)([^\s#]+)/gi, (_, url, query) => url + hidden(query))
    .replace(knownToken, hidden)
    .replace(random, (run) => (/\d/.test(run) && /[A-Za-z]/.test(run) ? hidden(run) : run))
}

function isSecret(name: string, sign: string): boolean {
  if (secretName.test(name)) return true
  // An assignment as in `env NAME=value`: nobody knows what it holds.
  return sign === '=' && /^[A-Z][A-Z0-9_]*$/.test(name) && !plainVariables.has(name)
}

function hidden(value: string): string {
  return value.startsWith('[redacted ') ? value : `[redacted ${value.length} characters]`
}
