import { isAbsolute, resolve } from 'node:path'
import { matches as fits } from '../processes/glob.ts'
import type { Deployment, Server } from '../registry/port.ts'
import type { Entry } from './entries.ts'

/** How a server may be known to a client. */
export interface Wanted {
  readonly server: string
  readonly aliases: readonly string[]
  readonly package: Pick<Server['package'], 'registryType' | 'identifier'>
  readonly deployments: readonly Deployment[]
  /** Names of other servers in the registry that a client could call the same. */
  readonly others: readonly string[]
}

export interface Match {
  /** Only what is certain is taken out; the rest is listed for a person. */
  readonly certain: boolean
  /** In our words: nothing of the entry but its name is in it. */
  readonly why: string
}

/** Whether an entry is the server. Compared as text only: an entry is hostile. */
export function match(entry: Entry, wanted: Wanted): Match | undefined {
  const url = byUrl(entry, wanted)
  const command = byCommand(entry, wanted)
  const name = byName(entry, wanted)
  const certain = [url, command, name].find((one) => one?.certain === true)
  if (certain === undefined) return url ?? command ?? name
  return certain
}

/** What may be told apart by name: the registry name, an alias, or the registry name's last part. */
export function namesOf({ name, aliases }: { name: string; aliases: readonly string[] }): readonly string[] {
  return [name, ...aliases, lastPart(name)]
}

const lastPart = (name: string): string => name.slice(name.lastIndexOf('/') + 1)

function byName({ name, urls, argv }: Entry, wanted: Wanted): Match | undefined {
  const { server, aliases, deployments, package: build, others } = wanted
  const how = name === server ? 'registry name' : aliases.includes(name) ? 'alias' : undefined
  if (how === undefined && name !== lastPart(server)) return undefined
  if (how !== 'registry name' && others.includes(name)) {
    return { certain: false, why: 'its name is also that of another server in the registry' }
  }
  if (how !== undefined) return { certain: true, why: `its name is the server's ${how}` }
  // The last part alone is a word that others use too: nothing else may speak against it.
  const known = deployments.some((one) => one.url !== undefined)
  if (known && urls.some((url) => URL.canParse(url))) {
    return { certain: false, why: `its name is the last part of ${server}, but its URL is another` }
  }
  const runs = packageRun(argv)
  if (isNamed(build) && build.registryType !== 'file' && runs !== undefined && runs !== lastPart(build.identifier)) {
    return { certain: false, why: `its name is the last part of ${server}, but it runs another package` }
  }
  return { certain: true, why: `its name is the last part of ${server}` }
}

function byUrl({ urls, argv }: Entry, { deployments }: Wanted): Match | undefined {
  // Bridges such as mcp-remote take the URL as an argument.
  const given = [...urls, ...words(argv)].flatMap((text) => parsed(text) ?? [])
  let near: Match | undefined
  for (const { id, url } of deployments) {
    const own = url === undefined ? undefined : parsed(url)
    if (own === undefined) continue
    if (given.some((one) => one.origin === own.origin && one.path === own.path)) {
      return { certain: true, why: `its URL is that of deployment ${id}, ${url}` }
    }
    if (given.some((one) => one.origin === own.origin)) {
      near = { certain: false, why: `its URL is at the same address as deployment ${id}, with another path` }
    }
  }
  return near
}

/** Scheme, host, port and path; the query and a slash at the end make no difference. */
function parsed(text: string): { origin: string; path: string } | undefined {
  // A WebSocket is opened by HTTP, at the same address.
  const asHttp = text.replace(/^ws(s?):\/\//i, 'http$1://')
  if (!/^https?:\/\//i.test(asHttp) || !URL.canParse(asHttp)) return undefined
  const { protocol, hostname, port, pathname } = new URL(asHttp)
  const host = ['127.0.0.1', '[::1]'].includes(hostname) ? 'localhost' : hostname.replace(/\.$/, '')
  return { origin: `${protocol}//${host}:${port}`, path: pathname.replace(/\/+$/, '') }
}

function byCommand({ argv, cwd }: Entry, { deployments, package: build }: Wanted): Match | undefined {
  if (argv.length === 0) return undefined
  const all = words(argv)
  if (isNamed(build) && all.some((word) => isPackage(word, build.identifier))) {
    return { certain: true, why: `it runs the package ${build.identifier}` }
  }
  let near: Match | undefined
  for (const one of deployments) {
    if (one.kind !== 'local-process') continue
    if (one.match !== undefined && fits(one.match.command, argv.join(' '))) {
      return { certain: true, why: `its command fits match.command of deployment ${one.id}` }
    }
    if (one.command === undefined) continue
    const [own, given] = [placed(one.command, one.cwd), placed(argv, cwd)]
    if (own.length !== given.length) continue
    if (own.every((part, at) => part === given[at])) {
      // `node server.js` without a folder may be anybody's.
      if (own.some((part) => isAbsolute(part)))
        return { certain: true, why: `its command is that of deployment ${one.id}` }
      near = { certain: false, why: `its command is that of deployment ${one.id}, but not from a known folder` }
    } else if (one.command.every((part, at) => part === argv[at])) {
      near = { certain: false, why: `its command is that of deployment ${one.id}, from another or no folder` }
    }
  }
  const [program = ''] = argv
  const short = lastPart(build.identifier)
  if (isNamed(build) && build.registryType !== 'file' && lastPart(program) === short) {
    near ??= { certain: false, why: `its program is called ${short}, as the package ${build.identifier}` }
  }
  return near
}

/** Relative files made absolute, where the folder is known. */
function placed(argv: readonly string[], cwd: string | undefined): readonly string[] {
  if (cwd === undefined) return argv
  return argv.map((part, at) =>
    at > 0 && /^[^-].*[./]/.test(part) && !part.includes('://') ? resolve(cwd, part) : part,
  )
}

const isNamed = ({ identifier }: Wanted['package']): boolean => identifier !== 'unknown'

/** `@acme/crm`, `@acme/crm@1.2.3`, `crm==1.2.3`, `registry/crm:1.2.3`, `registry/crm@sha256:…`, `…/node_modules/@acme/crm/…`. */
function isPackage(word: string, identifier: string): boolean {
  if (word === identifier) return true
  if (word.startsWith(identifier) && /^(?:@|==|:)[^/]*$/.test(word.slice(identifier.length))) return true
  return word.includes(`/node_modules/${identifier}/`)
}

const runners = new Set(['npx', 'bunx', 'pnpx', 'uvx', 'pipx', 'npx.cmd', 'bunx.exe', 'uvx.exe'])

/** What a runner of packages is told to run, without scope and version: `crm-mcp` of `npx -y @acme/crm-mcp@2`. */
function packageRun(argv: readonly string[]): string | undefined {
  const all = words(argv)
  const runner = all.findIndex((word) =>
    runners.has(word.slice(Math.max(word.lastIndexOf('/'), word.lastIndexOf('\\')) + 1)),
  )
  if (runner < 0) return undefined
  const named = all.slice(runner + 1).find((word) => /^[@A-Za-z]/.test(word) && word !== 'run' && !/\s/.test(word))
  return named === undefined ? undefined : lastPart(named).replace(/[@=].*$/s, '')
}

/** Also the words within arguments, as `sh -c` and clients that take one line have them. */
function words(argv: readonly string[]): readonly string[] {
  return argv.flatMap((part) => (/\s/.test(part) ? [part, ...part.split(/\s+/)] : part))
}
