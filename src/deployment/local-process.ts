import { access, constants, lstat, readFile, realpath } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Action, Call, Change, Json, Observation, Problem } from '../change.ts'
import { IrError, systemCode } from '../errors.ts'
import { find, holdersOf, type LocalAddress, localAddress, looker } from '../processes/find.ts'
import * as proc from '../processes/proc.ts'
import { treeOf, untouchable } from '../processes/tree.ts'
import type { DeploymentOf } from '../registry/port.ts'
import { safe } from '../ui/safe-text.ts'
import { compareFolder, type Difference, type Manifest, manifestOf } from './compare.ts'
import type { Deployments, DeploymentTarget, Presence } from './port.ts'
import { endProcesses, findProgram, processesOf, startServer, within, writePidFile } from './running.ts'
import { unpackTarball } from './unpack.ts'

/**
 * A server on this machine, put back from its verified npm tarball: unpacked into a new folder beside the old one (which
 * stays as it is, for evidence), and started there with the new credential.
 */

type Target = DeploymentTarget<DeploymentOf<'local-process'>>

/** Where things are, all derived from the registry entry and the artifact, so that a resumed run finds the same. */
interface Place {
  /** New folder: `package/` in it is the build, `server.log` what the server prints. */
  readonly folder: string
  readonly root: string
  readonly log: string
  /** Folder of the compromised deployment. */
  readonly suspect: string
  readonly command: readonly string[]
  readonly url: string
  readonly address: LocalAddress
}

export const localProcess: Deployments<DeploymentOf<'local-process'>> = {
  startWithin: 20,
  permissions: ['read /proc', 'kill', 'write beside the deployment folder', 'write the pid file'],

  async check(call) {
    proc.requireLinux()
    const { target } = call
    const { registryType } = target.server.package
    if (registryType !== 'npm') {
      const message = `a build from ${registryType} cannot be started here: only npm tarballs can`
      return [{ kind: 'input', message, hint: 'Let a program of your own do it: redeploy.command.' }]
    }
    const place = await placeOf(call)
    const manifest = await manifestOf(target.artifact.file, target.artifact.verdict.sha256, call.signal)
    const problems = [
      ...(await placeProblems(target, place, manifest)),
      ...(await suspectProblems(target, place)),
      ...(await sameBuildProblems(target, place, manifest, call.signal)),
    ]
    if (target.credentialsFile === undefined && target.server.credentials.length > 0) {
      problems.push({
        kind: 'warning',
        message: 'no rotated credential was delivered to a file: the new server starts without one',
        hint: 'mcp-ir rotate, then redeploy',
      })
    }
    return problems
  },

  async plan(call) {
    const { target } = call
    const place = await placeOf(call)
    const manifest = await manifestOf(target.artifact.file, target.artifact.verdict.sha256, call.signal)
    const changes: Change[] = []
    const ours = processesOf(place.folder)

    const frozen = ours.length > 0 ? [] : await inTheWay(target, place)
    if (frozen.length > 0) changes.push(endChange(call, frozen))

    if (await exists(place.folder)) await requireIntact(manifest, place, call.signal)
    else changes.push(unpackChange(call, place, manifest))

    if (presenceOf(place, ours).state !== 'up') {
      changes.push(
        startChange(
          call,
          place,
          changes.map(({ id }) => id),
          await suspectFolder(target, place),
        ),
      )
    }
    return changes
  },

  actions: {
    'end-frozen-process': {
      async apply(change) {
        const processes = processesIn(change.params)
        const running = processes.filter((one) => proc.condition(one) === 'running')
        if (running.length > 0) {
          throw new IrError('refused', `Not stopped any more: process ${running.map(({ pid }) => pid).join(', ')}`, {
            hints: ['Isolate the server again, then redeploy.'],
          })
        }
        await endProcesses(processes)
        return { output: { ended: processes.map(({ pid }) => pid) } }
      },
      async settle(change) {
        const processes = processesIn(change.params)
        const gone = processes.every((one) => proc.condition(one) === 'gone')
        return gone ? { output: { ended: processes.map(({ pid }) => pid) } } : undefined
      },
    },

    'unpack-build': {
      async apply(_change, call) {
        const place = await placeOf(call)
        const { file, verdict } = call.target.artifact
        const { files, bytes } = await unpackTarball(file, place.folder, {
          sha256: verdict.sha256,
          signal: call.signal,
        })
        return { output: { folder: place.folder, files, bytes } }
      },
      async settle(_change, call) {
        const place = await placeOf(call)
        if (!(await exists(place.folder))) return undefined
        // It was renamed into place as a whole: it is there in full, or somebody else made it.
        const manifest = await manifestOf(call.target.artifact.file, call.target.artifact.verdict.sha256, call.signal)
        await requireIntact(manifest, place, call.signal)
        const bytes = [...manifest.values()].reduce((sum, { size }) => sum + size, 0)
        return { output: { folder: place.folder, files: manifest.size, bytes } }
      },
    },

    'start-server': startAction(),
  },

  async verify(call) {
    const { target, signal } = call
    const place = await placeOf(call)
    const { file, verdict } = target.artifact
    const manifest = await manifestOf(file, verdict.sha256, signal)
    const observed: Observation[] = []
    const observe = (claim: string, seen: string, holds: boolean): void => {
      observed.push({ claim, seen, holds })
    }
    const residue: string[] = []

    const ours = processesOf(place.folder)
    const difference = await compareFolder(manifest, place.root, signal)
    const { changed, removed } = difference
    observe(
      'the new server runs from the verified folder',
      ours.length > 0 ? pids(ours) : 'no process',
      ours.length > 0,
    )
    observe(
      'the files of the build are as they were verified',
      changed.length + removed.length === 0 ? `${difference.same} files` : names([...changed, ...removed]),
      changed.length + removed.length === 0,
    )
    const holders = holdersOf(place.address, proc.scan())
    const held = holders.length > 0 && holders.every((holder) => ours.some((one) => proc.same(one, holder)))
    observe(
      `it is the one that listens at ${place.url}`,
      holders.length > 0 ? pids(holders) : 'no process listens',
      held,
    )

    const fresh =
      ours.length > 0 &&
      ours.some((one) => proc.environment(one.pid)?.includes(`CREDENTIALS_FILE=${target.credentialsFile}`))
    if (target.credentialsFile !== undefined) {
      observe('it was started with the rotated credential', fresh ? target.credentialsFile : 'it was not', fresh)
    } else if (target.server.credentials.length > 0) residue.push('it was started without a rotated credential')

    const old = suspectsRunning(target, place)
    observe(
      'nothing of the compromised deployment runs',
      old.length === 0 ? 'stopped or ended' : pids(old),
      old.length === 0,
    )

    const suspect = suspectIn(call.changes) ?? place.suspect
    return {
      state: observed.some(({ holds }) => !holds) ? 'failed' : residue.length > 0 ? 'residual' : 'verified',
      observed,
      residue,
      limits: ['the runtime that starts it is the one of this machine and was not verified'],
      output: { tampered: { folder: suspect, ...(await compareFolder(manifest, suspect, signal)) } } as unknown as Json,
    }
  },

  async presence(call) {
    const place = await placeOf(call)
    return presenceOf(place, processesOf(place.folder, startedBy(call)))
  },

  async takeOut(call) {
    const { folder } = await placeOf(call)
    const ours = () => processesOf(folder, startedBy(call))
    const ended = ours()
    await endProcesses(ended, ours)
    return ended.length === 0 ? 'It had ended' : `It was ended (${pids(ended)}); its files stay in ${folder}`
  },
}

async function placeOf({ target, caseId }: Pick<Call<Target>, 'target' | 'caseId'>): Promise<Place> {
  const { id, command, cwd, url } = target.deployment
  if (command === undefined || cwd === undefined || url === undefined) {
    throw new IrError('input', `Deployment ${id} cannot be put back: it needs command, cwd and url in the registry`)
  }
  const address = await localAddress(url)
  if (address === undefined) throw new IrError('input', `${url} is not an address of this machine`)
  const version = target.server.package.version.replace(/[^A-Za-z0-9._+-]/g, '_').slice(0, 40)
  const suspect = resolve(cwd)
  const folder = `${suspect}-${version}-${target.artifact.verdict.sha256.slice(0, 12)}-${caseId}`
  return { folder, root: join(folder, 'package'), log: join(folder, 'server.log'), suspect, command, url, address }
}

async function placeProblems(target: Target, place: Place, manifest: Manifest): Promise<Problem[]> {
  const problems: Problem[] = []
  for (const folder of [
    dirname(place.folder),
    ...(target.deployment.pidFile === undefined ? [] : [dirname(target.deployment.pidFile)]),
  ]) {
    const error = await access(folder, constants.W_OK).then(
      () => undefined,
      (cause: unknown) => systemCode(cause) ?? 'unknown error',
    )
    if (error !== undefined) problems.push({ kind: 'denied', message: `${folder} may not be written (${error})` })
  }
  const [program = ''] = place.command
  const inBuild = program.includes('/') && !isAbsolute(program)
  const found = inBuild ? manifest.has(join(program)) : (await findProgram(program, place.root)) !== undefined
  if (!found) {
    const where = inBuild ? 'in the build' : 'on this machine'
    problems.push({ kind: 'input', message: `the command "${safe(program, 80)}" is not found ${where}` })
  }
  const suspect = await realpath(place.suspect).catch(() => place.suspect)
  for (const word of place.command.filter(isAbsolute)) {
    const real = await realpath(word).catch(() => word)
    if (within(real, suspect) || within(word, place.suspect)) {
      problems.push({
        kind: 'refused',
        message: `the command names ${safe(word, 120)}, a file of the compromised deployment`,
        hint: 'Write it relative to the folder of the package.',
      })
    }
  }
  if (target.credentialsFile !== undefined && !(await exists(target.credentialsFile))) {
    problems.push({ kind: 'input', message: `the rotated credentials are not at ${target.credentialsFile} any more` })
  }
  return problems
}

/** The compromised processes must be stopped, and whoever holds the port must be one of them. */
async function suspectProblems(target: Target, place: Place): Promise<Problem[]> {
  const ours = processesOf(place.folder)
  if (ours.some((one) => proc.condition(one) === 'held')) {
    const message = 'the server that was put in its place is stopped itself: it was isolated again'
    return [{ kind: 'refused', message, hint: 'Release it, or find out why it was isolated and pin another build.' }]
  }
  if (ours.length > 0) return []
  const { roots, table, protectedPids, look, problems } = await find(target.deployment)
  const running = treeOf(table, roots, protectedPids, look).filter((one) => proc.condition(one) === 'running')
  if (running.length === 0) return problems.filter(({ kind }) => kind !== 'warning')
  const message = `the compromised server still runs: process ${running.map(({ pid }) => pid).join(', ')}`
  if (target.assumeStopped === true) return [{ kind: 'warning', message: `${message}; it is taken for stopped here` }]
  return [{ kind: 'refused', message, hint: 'Isolate it first.' }]
}

/** A build whose every file was found in the compromised deployment is the build that was compromised. */
async function sameBuildProblems(
  target: Target,
  place: Place,
  manifest: Manifest,
  signal: AbortSignal,
): Promise<Problem[]> {
  const folder = await suspectFolder(target, place)
  const { changed, removed, same } = await compareFolder(manifest, folder, signal)
  if (changed.length + removed.length > 0 || same === 0) return []
  const message = `every file of this build was found unchanged in the compromised deployment (${folder}): it is the build that was compromised`
  if (target.rootCause !== undefined)
    return [{ kind: 'warning', message: `${message}; root cause: ${safe(target.rootCause)}` }]
  return [{ kind: 'refused', message, hint: 'When the cause lies elsewhere, say so: --root-cause TEXT.' }]
}

/** Where the compromised server really runs; the registry's folder when no process of it is left. */
async function suspectFolder(target: Target, place: Place): Promise<string> {
  if (processesOf(place.folder).length > 0) return place.suspect
  const { roots } = await find(target.deployment)
  const [cwd] = roots.flatMap(({ pid }) => proc.link(pid, 'cwd') ?? [])
  // Only where the registry or an earlier redeploy put it; anywhere else it says nothing about this build.
  const known =
    cwd !== undefined && isAbsolute(cwd) && (within(cwd, place.suspect) || cwd.startsWith(`${place.suspect}-`))
  return known ? cwd : place.suspect
}

/** Stopped processes of the deployment that keep its port, with all that belongs to them. A stopped process still listens. */
async function inTheWay(target: Target, place: Place): Promise<readonly proc.Process[]> {
  const { roots, table, protectedPids, look } = await find(target.deployment)
  const holders = holdersOf(place.address, table)
  const trees = roots.map((root) => treeOf(table, [root], protectedPids, look))
  const blocking = trees.filter((tree) => tree.some((one) => holders.some((holder) => proc.same(one, holder))))
  const all = new Map(blocking.flat().map((one) => [one.pid, one]))
  return [...all.values()].filter((one) => !'ZXx'.includes(one.state))
}

/** Processes of the compromised deployment that are not stopped, whoever started them. */
function suspectsRunning(target: Target, place: Place): proc.Process[] {
  const table = proc.scan()
  const spared = untouchable(table, process.pid)
  const look = looker()
  const command = target.deployment.command ?? []
  return table.filter((one) => {
    if (spared.has(one.pid) || 'ZXx'.includes(one.state)) return false
    const cwd = look.cwd(one.pid)
    if (cwd === undefined || !within(cwd, place.suspect)) return false
    const line = look.commandLine(one.pid).map((word) => basename(word))
    // Somebody's shell may be in that folder too.
    return command.every((word) => line.includes(basename(word))) && proc.condition(one) === 'running'
  })
}

function endChange(call: Call<Target>, frozen: readonly proc.Process[]): Change {
  const list = frozen.map(({ pid }) => pid).join(' ')
  const target = `process ${list}`
  return {
    id: call.changeId('end-frozen-process', target),
    action: 'end-frozen-process',
    target,
    summary: `End the stopped processes of the compromised server, which keep its port (${frozen.length})`,
    effect: 'irreversible',
    priority: 'essential',
    after: [],
    params: frozen.map(({ pid, startTicks }) => ({ pid, startTicks })),
    breaks: [],
    command: `kill -KILL ${list}`,
    facts: { names: frozen.map(({ comm }) => comm).join(', ') },
  }
}

function unpackChange(call: Call<Target>, place: Place, manifest: Manifest): Change {
  const { package: pack } = call.target.server
  const { file, verdict } = call.target.artifact
  return {
    id: call.changeId('unpack-build', place.folder),
    action: 'unpack-build',
    target: place.folder,
    summary: `Unpack ${pack.identifier} ${pack.version} (${verdict.state}) into a new folder`,
    effect: 'creates',
    priority: 'essential',
    after: [],
    params: { sha256: verdict.sha256 },
    breaks: [],
    facts: { build: file, sha256: verdict.sha256, files: `${manifest.size}` },
  }
}

function startChange(call: Call<Target>, place: Place, after: readonly string[], suspect: string): Change {
  const { deployment, credentialsFile } = call.target
  return {
    id: call.changeId('start-server', place.root),
    action: 'start-server',
    target: place.root,
    summary: `Start the verified server at ${place.url}`,
    effect: 'creates',
    priority: 'essential',
    after,
    params: { suspect },
    breaks: [],
    facts: {
      command: place.command.join(' '),
      credentials: credentialsFile ?? 'none',
      ...(deployment.pidFile === undefined ? {} : { 'pid file': deployment.pidFile }),
    },
  }
}

function startAction(): Action<Target> {
  return {
    async apply(_change, call) {
      const { target, signal } = call
      const place = await placeOf(call)
      const manifest = await manifestOf(target.artifact.file, target.artifact.verdict.sha256, signal)
      await requireIntact(manifest, place, signal)
      // An attempt that was killed may have left it running: there must never be two.
      const started = startedIn(call)
      const ours = (): readonly proc.Process[] => processesOf(place.folder, started)
      try {
        if (ours().length === 0) {
          const [program = '', ...args] = place.command
          const command = [(await findProgram(program, place.root)) ?? program, ...args]
          const env = environmentOf(target, place)
          const { pid, startTicks } = await startServer({ command, cwd: place.root, env, log: place.log })
          started.push({ pid, startTicks })
          await call.record({ pid, startTicks })
        }
        const server = await untilListening(call, place, ours)
        if (target.deployment.pidFile !== undefined) await writePidFile(target.deployment.pidFile, server.pid)
        return receiptOf(server, place)
      } catch (error) {
        // What did not come up as it should must not live. The old one stays as it is.
        await endProcesses(ours(), ours)
        throw error
      }
    },

    async settle(_change, call) {
      const place = await placeOf(call)
      const ours = processesOf(place.folder, startedIn(call))
      const server = leader(place, ours)
      if (server === undefined) return undefined
      const { pidFile } = call.target.deployment
      if (pidFile !== undefined && (await readText(pidFile)) !== `${server.pid}\n`) return undefined
      return receiptOf(server, place)
    },
  }
}

function receiptOf({ pid, startTicks }: proc.ProcessId, place: Place): { output: Json } {
  return { output: { pid, startTicks, folder: place.folder, url: place.url } }
}

/** @throws IrError `refused` when it ends, or does not listen in time */
async function untilListening(
  call: Call<Target>,
  place: Place,
  ours: () => readonly proc.Process[],
): Promise<proc.Process> {
  const seconds = call.target.deployment.startWithin ?? localProcess.startWithin
  const deadline = performance.now() + seconds * 1000
  const hints = [`What it printed is in ${place.log}`]
  for (;;) {
    const processes = ours()
    const server = leader(place, processes)
    if (server !== undefined) return server
    const seen = presenceOf(place, processes)
    if (seen.state === 'gone') throw new IrError('refused', seen.why, { hints })
    if (performance.now() > deadline) {
      throw new IrError('refused', `The new server did not listen within ${seconds} seconds`, { hints })
    }
    call.progress('waiting for the new server to listen')
    await sleep(100, undefined, { signal: call.signal })
  }
}

/** Whether our process is the one that listens. */
function presenceOf(place: Place, ours: readonly proc.Process[]): Presence {
  if (ours.length === 0) return { state: 'gone', why: 'The new server ended by itself' }
  const holders = holdersOf(place.address, proc.scan())
  const foreign = holders.filter((holder) => !ours.some((one) => proc.same(one, holder)))
  if (foreign.length > 0) return { state: 'gone', why: `Somebody else listens at ${place.url}: ${pids(foreign)}` }
  return holders.length > 0 ? { state: 'up' } : { state: 'coming', why: 'it does not listen' }
}

/** The process that we started, once it or a child of it listens. */
function leader(place: Place, ours: readonly proc.Process[]): proc.Process | undefined {
  if (presenceOf(place, ours).state !== 'up') return undefined
  const [holder] = holdersOf(place.address, proc.scan())
  return ours.find((one) => one.pid === holder?.session) ?? holder
}

function environmentOf(target: Target, place: Place): Record<string, string> {
  return {
    HOST: new URL(place.url).hostname.replace(/^\[|\]$/g, ''),
    PORT: `${place.address.port}`,
    ...(target.credentialsFile === undefined ? {} : { CREDENTIALS_FILE: target.credentialsFile }),
  }
}

/** @throws IrError `refused` when a file of the build is not in the new folder as it was verified */
async function requireIntact(manifest: Manifest, place: Place, signal: AbortSignal): Promise<void> {
  const { changed, removed }: Difference = await compareFolder(manifest, place.root, signal)
  if (changed.length + removed.length === 0) return
  throw new IrError('refused', `${place.folder} is not the verified build: ${names([...changed, ...removed])}`, {
    hints: ['Move that folder away and keep it: somebody changed it after it was unpacked.'],
  })
}

/** What earlier attempts at this change started. */
function startedIn(call: { readonly recorded: readonly Json[] }): proc.ProcessId[] {
  return processesIn(call.recorded)
}

/** What the journal says was started. */
function startedBy({ changes, receipts }: Call<Target>): proc.ProcessId[] {
  return changes.flatMap(({ id, action }) =>
    action === 'start-server' ? processesIn([receipts.get(id)?.output ?? null]) : [],
  )
}

/** Process ids out of what was journalled. */
function processesIn(data: Json | undefined): proc.ProcessId[] {
  return (Array.isArray(data) ? (data as Json[]) : []).flatMap((one) => {
    const { pid, startTicks } = (typeof one === 'object' && one !== null ? one : {}) as Record<string, unknown>
    return typeof pid === 'number' && pid > 1 && typeof startTicks === 'number' ? [{ pid, startTicks }] : []
  })
}

function suspectIn(changes: readonly Change[]): string | undefined {
  const params = changes.find(({ action }) => action === 'start-server')?.params
  const { suspect } = (typeof params === 'object' && params !== null ? params : {}) as Record<string, unknown>
  return typeof suspect === 'string' ? suspect : undefined
}

function pids(processes: readonly proc.ProcessId[]): string {
  return `process ${processes.map(({ pid }) => pid).join(', ')}`
}

function names(paths: readonly string[]): string {
  return safe(paths.slice(0, 5).join(', '), 200) + (paths.length > 5 ? ` and ${paths.length - 5} more` : '')
}

async function exists(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    (error: unknown) => {
      if (systemCode(error) === 'ENOENT') return false
      throw error
    },
  )
}

async function readText(file: string): Promise<string | undefined> {
  return await readFile(file, 'utf8').catch(() => undefined)
}
