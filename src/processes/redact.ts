/**
 * A command line as it may be shown, journalled and kept: what looks like a secret is replaced by its length. Wrong in
 * doubt on the side of hiding: a responder needs to recognise the process, not to read its arguments.
 */
export function redactCommand(args: readonly string[]): string[] {
  let before = ''
  return bounded(args).map((arg) => {
    const flag = before
    before = arg
    // A secret may begin with a dash; what is plainly an option is none.
    if (secretFlag.test(flag) && !/^--[a-z][a-z-]*(?:=|$)/.test(arg)) return hidden(arg)
    if (/^(?:-H|--header)$/.test(flag) || /^[A-Za-z][\w-]*:\s/.test(arg)) return hiddenAfterColon(arg)
    if (flag === '-u' && arg.includes(':')) return hiddenAfterColon(arg)
    return redactWords(arg)
  })
}

/** Characters of a command line that are looked at and kept. */
const longest = 4000
const secretName =
  /pass|pwd|secret|token|key|auth|cred|bearer|session|cookie|private|signature|jwt|otp|dsn|canary|(?<![a-z])(?:pin|pat|api|mfa)(?![a-z])/i
/** `-p` is a password to some programs and a port to others. */
const secretFlag = new RegExp(`^(?:-p|--?[\\w.-]*(?:${secretName.source})[\\w.-]*)$`, 'i')
/** `"apiKey": "…"`, `--token=…`, `Authorization: …` */
const secretPair = new RegExp(
  `(^|[\\s"'\`;,{(&?=])(-{0,2}[\\w.-]*(?:${secretName.source})[\\w.-]*)(["']?\\s*[=:]\\s*)("[^"]*"|'[^']*'|[^\\s"'\`;&]+)`,
  'gi',
)
/** Options of one dash that begin as `-pPASSWORD` does. */
const plainShort = /^-p(?:ath|idfile|ort|rint|rofile|roject|refix|asswd|assword|assphrase|wd)?$/
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
    .replace(/\b(bearer|basic|token)(\s+)([^\s"'`]+)/gi, (_, scheme, blank, value) => scheme + blank + hidden(value))
    .replace(/((?<![a-z0-9+.-])[a-z0-9+.-]+:\/\/)(\S*[^\s/])@/gi, (_, scheme, user) => `${scheme}${hidden(user)}@`)
    .replace(/((?<![a-z0-9+.-])[a-z0-9+.-]+:\/\/[^\s?#]*\?)([^\s#]+)/gi, (_, url, query) => url + hidden(query))
    .replace(secretPair, (_, before, name, sign, value) => before + name + sign + hidden(value))
    .replace(
      // An assignment as in `env NAME=value`: nobody knows what it holds.
      /(^|[\s"'`;,{(&?])([A-Za-z_]\w*=)("[^"]*"|'[^']*'|[^\s"'`;&]+)/g,
      (all, before, name, value) => (plainVariables.has(name.slice(0, -1)) ? all : before + name + hidden(value)),
    )
    .replace(/(["'])([A-Za-z][\w-]*:\s+)([^"'\n]+)(?=\1)/g, (_, quote, name, value) => quote + name + hidden(value))
    .replace(/(^|\s)(-p\S+)/g, (all, blank, flag) =>
      plainShort.test(flag) ? all : `${blank}-p${hidden(flag.slice(2))}`,
    )
    .replace(/(\s-{1,2}[\w.-]+\s+)(?!--[a-z]|\[redacted )(\S+)/g, (all, flag: string, value) =>
      secretFlag.test(flag.trim()) ? flag + hidden(value) : all,
    )
    .replace(knownToken, hidden)
    .replace(random, (run) => (/\d/.test(run) && /[A-Za-z]/.test(run) ? hidden(run) : run))
}

/** `Name: value`, or nothing of it when there is no colon. */
function hiddenAfterColon(arg: string): string {
  const value = /:\s*/.exec(arg)
  if (value === null) return hidden(arg)
  const from = value.index + value[0].length
  return arg.slice(0, from) + hidden(arg.slice(from))
}

function hidden(value: string): string {
  return value.startsWith('[redacted ') ? value : `[redacted ${value.length} characters]`
}
