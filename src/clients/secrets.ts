import { type Entry, urlKeys } from './entries.ts'
import type { Tree } from './tree.ts'

/** A secret that an entry names. Never its value. */
export interface SecretName {
  readonly name: string
  readonly where: 'environment' | 'header' | 'argument' | 'URL' | 'entry'
}

const environments = new Set(['env', 'envs', 'environment'])
const environmentNames = new Set(['env_keys', 'env_vars', 'envVars'])
const headers = new Set(['headers', 'http_headers', 'env_http_headers'])
const secretive = /secret|token|passw|api[-_]?key|access[-_]?key|credential|authorization|private[-_]?key|^auth$|^key$/i
// What every program gets and says nothing; all else counts as a secret, as the name alone cannot tell.
const plain =
  /^(?:PATH|HOME|LANG|LC_[A-Z]+|TZ|TERM|TMPDIR|PWD|SHELL|USER|LOGNAME|HOST|PORT|DEBUG|NODE_ENV|NODE_OPTIONS|NODE_NO_WARNINGS|NO_COLOR|LOG_LEVEL|FASTMCP_LOG_LEVEL|PYTHONUNBUFFERED|PYTHONPATH|PYTHONIOENCODING|AWS_REGION|AWS_DEFAULT_REGION|(?:HTTPS?|NO)_PROXY)$/i
const plainHeader = /^(?:accept(?:-.*)?|content-type|user-agent|mcp-protocol-version)$/i

/** Names of the secrets that stand in an entry: variables, headers, and what is called like one. */
export function secretsOf({ node, argv, urls }: Entry): readonly SecretName[] {
  const found: SecretName[] = []
  const walk = (tree: Tree): void => {
    if (tree.kind === 'list') for (const item of tree.items) walk(item)
    if (tree.kind !== 'map') return
    for (const { key, value } of tree.members) {
      if (environments.has(key) && value.kind !== 'scalar') {
        for (const name of namesIn(value)) if (!plain.test(name)) found.push({ name, where: 'environment' })
      } else if (environmentNames.has(key) && value.kind === 'list') {
        for (const name of namesIn(value)) if (!plain.test(name)) found.push({ name, where: 'environment' })
      } else if (headers.has(key) && value.kind === 'map') {
        for (const { key: name } of value.members) if (!plainHeader.test(name)) found.push({ name, where: 'header' })
      } else if (value.kind === 'scalar') {
        const name = value.type === 'string' && value.text !== '' ? named(key, value.text) : undefined
        if (name !== undefined) found.push(name)
      } else walk(value)
    }
  }
  walk(node)
  for (const [at, part] of argv.entries()) {
    const flag = /^(--?[A-Za-z][\w-]*)(=?)/.exec(part)
    if (flag?.[1] !== undefined && secretive.test(flag[1].replace(/^-+/, ''))) {
      if (flag[2] === '=' || argv[at + 1] !== undefined) found.push({ name: flag[1], where: 'argument' })
    }
    // `-e NAME=value` of a container, `NAME=value` of env, `Header: value` of a bridge
    const given = /^([A-Za-z_][\w-]*)(?:=|:\s*)\S/.exec(part)?.[1]
    if (given !== undefined && !/^https?$/i.test(given) && secretive.test(given)) {
      found.push({ name: given, where: 'argument' })
    }
  }
  for (const text of [...urls, ...argv]) {
    const url = urlOf(text)
    if (url === undefined) continue
    if (url.password !== '' || url.username !== '') found.push({ name: 'user and password', where: 'URL' })
    for (const name of url.searchParams.keys()) if (secretive.test(name)) found.push({ name, where: 'URL' })
  }
  return found.filter(
    (one, at) => found.findIndex(({ name, where }) => name === one.name && where === one.where) === at,
  )
}

/** The secret that a single value is, or names. */
function named(key: string, text: string): SecretName | undefined {
  if (key === 'envFile' || secretive.test(key)) return { name: key, where: 'entry' }
  // database_url: postgresql://user:password@… (what is the server's own URL is looked at as one)
  const password = urlKeys.includes(key) ? '' : urlOf(text)?.password
  return password === undefined || password === '' ? undefined : { name: key, where: 'entry' }
}

function urlOf(text: string): URL | undefined {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text) && URL.canParse(text) ? new URL(text) : undefined
}

/** Keys of a map; of a list, the names before `=` or the whole text. */
function namesIn(tree: Tree): readonly string[] {
  if (tree.kind === 'map') return tree.members.map(({ key }) => key)
  if (tree.kind !== 'list') return []
  return tree.items.flatMap((item) => {
    if (item.kind === 'scalar') {
      const [text = ''] = item.text.split('=', 1)
      // What does not look like a name may be the secret itself.
      return [/^[A-Za-z_][A-Za-z0-9_]*$/.test(text) ? text : '(without a name)']
    }
    const name = item.kind === 'map' ? item.members.find(({ key }) => key === 'name')?.value : undefined
    return name?.kind === 'scalar' ? [name.text] : []
  })
}
