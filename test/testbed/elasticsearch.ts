import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, open, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { cache, madeOnce } from './made-once.ts'
import { freePort } from './server-everything.ts'

const run = promisify(execFile)
const ours = fileURLToPath(new URL('./elasticsearch', import.meta.url))
/** Its jars and our two classes; made on first use and kept. */
const root = join(cache, 'elasticsearch-9.2.0')
const parts = { jars: join(root, 'lib'), classes: join(root, 'classes'), modules: join(root, 'modules') }
const ready = (): boolean => existsSync(root)

/** The newest JDK of 21 or later: ES_JAVA_HOME, or one below /usr/lib/jvm. */
function jdk(): string | undefined {
  const given = process.env.ES_JAVA_HOME
  if (given !== undefined) return given
  const jvm = '/usr/lib/jvm'
  const found = existsSync(jvm)
    ? readdirSync(jvm).map((name) => ({ home: join(jvm, name), version: version(join(jvm, name)) }))
    : []
  return found.filter(({ version }) => version >= 21).sort((a, b) => b.version - a.version)[0]?.home
}

function version(home: string): number {
  const release = join(home, 'release')
  if (!existsSync(release) || !existsSync(join(home, 'bin', 'javac'))) return 0
  return Number(/^JAVA_VERSION="(\d+)/m.exec(readFileSync(release, 'utf8'))?.[1] ?? 0)
}

/** Whether suites that need it are to be skipped, for `describe.skipIf`. Says so on stderr; with CI=true it is a failure. */
export function skipWithoutElasticsearch(suite: string): boolean {
  const missing =
    jdk() === undefined
      ? 'a JDK of 21 or newer is missing (below /usr/lib/jvm, or ES_JAVA_HOME)'
      : !ready() && spawnSync('mvn', ['--version']).status !== 0
        ? 'Maven is missing'
        : undefined
  if (missing === undefined) return false
  if (process.env.CI === 'true') throw new Error(`${suite}: skipped: ${missing}`)
  process.stderr.write(`${suite}: skipped: ${missing}\n`)
  return true
}

// biome-ignore lint/suspicious/noExplicitAny: a test looks into it and fails where it is not as expected
type Body = any

/** A real Elasticsearch 9.2 of one node on loopback. It has no security and no ES|QL: those ship apart. */
export interface Elasticsearch {
  readonly url: string
  readonly pid: () => number
  /** A request of the test's own. @throws when it is refused */
  call(method: string, path: string, body?: object | string): Promise<Body>
  /** Puts records into an index, in bulk, and makes them visible. `ids`: their `_id`; without it each is a document of its own. */
  index(
    name: string,
    records: Iterable<object | string>,
    ids?: (record: object | string, at: number) => string,
  ): Promise<void>
  /** Ends it as a crash would; `start` brings it back with its data. */
  halt(): Promise<void>
  start(): Promise<void>
  stop(): Promise<void>
}

export async function startElasticsearch(heap = '1g'): Promise<Elasticsearch> {
  await madeOnce('elasticsearch', ready, build)
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-elasticsearch-'))
  const port = await freePort()
  await prepareHome(folder, port)
  const url = `http://127.0.0.1:${port}`
  let child = await started(folder, url, heap)
  const end = (): void => void child.kill('SIGKILL')
  // However the tests end, it ends with them.
  process.once('exit', end)
  const halt = async (): Promise<void> => {
    if (!running(child)) return
    const ended = once(child, 'exit')
    end()
    await ended
  }
  const call: Elasticsearch['call'] = async (method, path, body) => {
    const response = await fetch(`${url}${path}`, {
      method,
      ...(body === undefined
        ? {}
        : {
            headers: { 'content-type': typeof body === 'string' ? 'application/x-ndjson' : 'application/json' },
            body: typeof body === 'string' ? body : JSON.stringify(body),
          }),
    })
    const answer: Body = await response.json()
    if (response.status >= 400)
      throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer).slice(0, 500)}`)
    return answer
  }
  return {
    url,
    pid: () => child.pid as number,
    call,
    async index(name, records, ids) {
      let lines: string[] = []
      const flush = async () => {
        const answer = await call('POST', `/${name}/_bulk`, `${lines.join('\n')}\n`)
        const failed = answer.items.find((item: Body) => Object.values<Body>(item)[0].error !== undefined)
        if (failed !== undefined) throw new Error(`not indexed: ${JSON.stringify(failed).slice(0, 500)}`)
        lines = []
      }
      let at = 0
      for (const record of records) {
        const id = ids?.(record, at)
        lines.push(JSON.stringify({ create: id === undefined ? {} : { _id: id } }))
        lines.push(typeof record === 'string' ? record : JSON.stringify(record))
        at += 1
        if (lines.length >= 10_000) await flush()
      }
      if (lines.length > 0) await flush()
      await call('POST', `/${name}/_refresh`)
    },
    halt,
    async start() {
      child = await started(folder, url, heap)
    },
    async stop() {
      process.removeListener('exit', end)
      await halt()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function prepareHome(home: string, port: number): Promise<void> {
  for (const name of ['config', 'plugins', 'logs', 'lib', 'data', 'tmp']) await mkdir(join(home, name))
  await symlink(parts.modules, join(home, 'modules'))
  const settings = {
    'cluster.name': 'testbed',
    'node.name': 'test',
    'discovery.type': 'single-node',
    'network.host': '127.0.0.1',
    'http.port': port,
    'transport.port': 0,
    'path.data': join(home, 'data'),
    'cluster.routing.allocation.disk.threshold_enabled': false,
  }
  await writeFile(
    join(home, 'config', 'elasticsearch.yml'),
    Object.entries(settings)
      .map(([key, value]) => `${key}: ${value}\n`)
      .join(''),
  )
}

async function started(home: string, url: string, heap: string): Promise<ChildProcess> {
  const log = await open(join(home, 'log'), 'a')
  const child = spawn(
    join(jdk() as string, 'bin', 'java'),
    [
      '-Xms512m',
      `-Xmx${heap}`,
      `-Djava.io.tmpdir=${join(home, 'tmp')}`,
      '--add-modules=jdk.unsupported,jdk.management,jdk.incubator.vector',
      '--enable-native-access=ALL-UNNAMED',
      ...['-cp', `${parts.classes}:${parts.jars}/*`, 'TestNode', home],
    ],
    { cwd: home, stdio: ['ignore', log.fd, log.fd], env: { PATH: process.env.PATH, HOME: home } },
  )
  await once(child, 'spawn')
  await log.close()
  for (let tried = 0; ; tried++) {
    const answer = await fetch(`${url}/_cluster/health?wait_for_status=yellow&timeout=1s`).catch(() => undefined)
    await answer?.body?.cancel()
    if (answer?.status === 200) return child
    if (!running(child) || tried === 1200) {
      child.kill('SIGKILL')
      throw new Error(`Elasticsearch does not answer: ${(await readFile(join(home, 'log'), 'utf8')).slice(-2000)}`)
    }
    await sleep(100)
  }
}

const running = (child: ChildProcess): boolean => child.exitCode === null && child.signalCode === null

/** From Maven Central: there is no package of it for npm, PyPI or Debian. Two modules are laid out as the distribution does. */
async function build(): Promise<void> {
  const bin = (name: string) => join(jdk() as string, 'bin', name)
  const made = `${root}.new`
  await rm(made, { recursive: true, force: true })
  const [jars, classes, http, netty, entry] = [
    'lib',
    'classes',
    'http',
    'modules/transport-netty4',
    'modules/rest-root',
  ].map((name) => join(made, name)) as [string, string, string, string, string]
  for (const folder of [jars, classes, http, netty, entry]) await mkdir(folder, { recursive: true })
  const copy = ['-q', '-B', '-f', join(ours, 'pom.xml'), 'dependency:copy-dependencies']
  await run('mvn', [...copy, `-DoutputDirectory=${jars}`])
  await run('mvn', [...copy, '-Phttp', `-DoutputDirectory=${http}`])
  const shared = new Set(readdirSync(jars))
  for (const jar of readdirSync(http)) if (!shared.has(jar)) copyFileSync(join(http, jar), join(netty, jar))
  const own = readdirSync(netty).find((name) => name.startsWith('transport-netty4-')) as string
  const inside = 'META-INF/es-plugins/transport-netty4/plugin-descriptor.properties'
  await run(bin('jar'), ['--extract', '--file', join(netty, own), inside], { cwd: http })
  // Without a module name a plugin is loaded from a plain class loader, so that the server may stay on the class path.
  const descriptor = (await readFile(join(http, inside), 'utf8')).replace(/^modulename=.*/m, 'modulename=')
  await writeFile(join(netty, 'plugin-descriptor.properties'), descriptor)
  const rootPlugin = { name: 'rest-root', classname: 'RootPlugin', description: 'GET /' }
  await writeFile(
    join(entry, 'plugin-descriptor.properties'),
    Object.entries(rootPlugin).reduce(
      (text, [key, value]) => text.replace(new RegExp(`^${key}=.*`, 'm'), `${key}=${value}`),
      descriptor,
    ),
  )
  await run(bin('javac'), ['-nowarn', '-cp', `${jars}/*`, '-d', classes, join(ours, 'TestNode.java')])
  const plugin = join(http, 'plugin')
  await run(bin('javac'), ['-nowarn', '-cp', `${jars}/*`, '-d', plugin, join(ours, 'RootPlugin.java')])
  await run(bin('jar'), ['--create', '--file', join(entry, 'rest-root.jar'), '-C', plugin, '.'])
  await rm(http, { recursive: true })
  // Moved into place at the end: one that was cut short is made again.
  await rename(made, root)
}
