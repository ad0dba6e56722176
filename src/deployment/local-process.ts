import { access, constants, lstat, readFile, realpath } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Action, Call, Change, Json, Observation, Problem } from '../change.ts'
import { IrError, systemCode } from '../errors.ts'
import { describeServer, type ServerDescription } from '../mcp/client.ts'
import { toolsDigest } from '../mcp/tools-digest.ts'
import { find, holdersOf, type LocalAddress, localAddress, looker } from '../processes/find.ts'
import * as proc from '../processes/proc.ts'
import { treeOf, untouchable } from '../processes/tree.ts'
import type { DeploymentOf } from '../registry/port.ts'
import { safe } from '../ui/safe-text.ts'
import { compareFolder, type Difference, type Manifest, manifestOf } from './compare.ts'
import type { Deployments, DeploymentTarget, Redeployed } from './port.ts'
import { endProcesses, findProgram, processesOf, startServer, within, writePidFile } from './running.ts'
import { unpackTarball } from './unpack.ts'

/**
 * A server on this machine, put back from its verified npm tarball: unpacked into a new folder beside the old one (which
 * stays as it is, for evidence), started there with the new credential, and kept only if it serves the approved tools.
 */

type Target = DeploymentTarget<DeploymentOf<'local-process'>>

/** How long a new server may take until it answers. */
const startMs = 20_000
const describeMs = 5_000

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
  permissions: ['read /proc', 'kill', 'write beside the deployment folder', 'write the pid file'],

  async check(call) {
    proc.requireLinux()
    const { target } = call
    const refused = refusals(target)
    if (refused.length > 0) return refused
    const place = await placeOf(call)
    const manifest = await manifestOf(target.artifact.file, target.artifact.verdict.sha256, call.signal)
    const problems = [
      ...(await placeProblems(target, place, manifest)),
      ...(await suspectProblems(target, place)),
      ...(await sameBuildProblems(target, place, manifest, call.signal)),
    ]
    if (target.server.tools === undefined) {
      problems.push({
        kind: 'warning',
        message: 'the registry entry has no approved tools digest: what the new server serves cannot be compared',
      })
    }
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

    if (ours.length === 0 || (await lookAt(call, place, ours)).state !== 'serving') {
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

    const approved = target.server.tools?.digest
    let served: ServerDescription | undefined
    for (const time of ['once', 'again'] as const) {
      try {
        served = await describeServer(place.url, { signal, timeoutMs: describeMs })
        const digest = toolsDigest(served)
        if (approved === undefined) observe(`it answers an MCP handshake (${time})`, digest, true)
        else observe(`it serves the approved tools (${time})`, digest, digest === approved)
      } catch (error) {
        if (!(error instanceof IrError) || error.code === 'interrupted') throw error
        observe(`it answers an MCP handshake (${time})`, error.message, false)
      }
    }
    if (approved === undefined) residue.push('what it serves was not compared: no tools digest is approved')

    const old = suspectsRunning(target, place)
    observe(
      'nothing of the compromised deployment runs',
      old.length === 0 ? 'stopped or ended' : pids(old),
      old.length === 0,
    )

    const suspect = suspectIn(call.changes) ?? place.suspect
    const output: Redeployed = {
      deployment: target.deployment.id,
      version: target.server.package.version,
      toolsDigest: served === undefined ? '' : toolsDigest(served),
      tools: served?.tools.map(({ name }) => name) ?? [],
      url: place.url,
      tampered: { folder: suspect, ...(await compareFolder(manifest, suspect, signal)) },
    }
    const reports = served?.serverInfo.version
    return {
      state: observed.some(({ holds }) => !holds) ? 'failed' : residue.length > 0 ? 'residual' : 'verified',
      observed,
      residue,
      limits: [
        'provenance proves where the build comes from, not that its code is harmless',
        'the runtime that starts it is the one of this machine and was not verified',
        ...(reports === undefined || reports === target.server.package.version
          ? []
          : [`it calls itself version "${safe(reports, 40)}", which is its own word`]),
      ],
      output: output as unknown as Json,
    }
  },
}

/** What the registry entry and the verdict alone forbid. */
function refusals(target: Target): Problem[] {
  const { verdict } = target.artifact
  if (verdict.state === 'invalid') {
    return [{ kind: 'refused', message: `the build is not what it should be: ${verdict.reasons[0] ?? 'invalid'}` }]
  }
  if (target.compromised.includes(verdict.sha256)) {
    return [{ kind: 'refused', message: 'this very build ran when the server was compromised' }]
  }
  return []
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
        call.progress('waiting for the new server to answer')
        const server = await untilServing(call, place, ours)
        if (target.deployment.pidFile !== undefined) await writePidFile(target.deployment.pidFile, server.pid)
        return receiptOf(server, place)
      } catch (error) {
        // What is not proven to be the approved server must not live. The old one stays as it is.
        await endProcesses(ours(), ours)
        throw error
      }
    },

    async settle(_change, call) {
      const place = await placeOf(call)
      const ours = processesOf(place.folder, startedIn(call))
      const seen = await lookAt(call, place, ours)
      if (seen.state !== 'serving') return undefined
      const { pidFile } = call.target.deployment
      if (pidFile !== undefined && (await readText(pidFile)) !== `${seen.process.pid}\n`) return undefined
      return receiptOf(seen.process, place)
    },
  }
}

function receiptOf({ pid, startTicks }: proc.ProcessId, place: Place): { output: Json } {
  return { output: { pid, startTicks, folder: place.folder, url: place.url } }
}

/** @throws IrError `refused` when it ends, does not answer in time, or serves what is not approved */
async function untilServing(
  call: Call<Target>,
  place: Place,
  ours: () => readonly proc.Process[],
): Promise<proc.Process> {
  const deadline = Date.now() + startMs
  const hints = [`What it printed is in ${place.log}`]
  for (;;) {
    const processes = ours()
    if (processes.length === 0) throw new IrError('refused', 'The new server ended by itself', { hints })
    const seen = await lookAt(call, place, processes)
    if (seen.state === 'serving') return seen.process
    if (seen.state === 'wrong') throw new IrError('refused', seen.reason, { hints })
    if (Date.now() > deadline) {
      throw new IrError('refused', `The new server did not answer within ${startMs / 1000} seconds: ${seen.reason}`, {
        hints,
      })
    }
    await sleep(100, undefined, { signal: call.signal })
  }
}

type Seen =
  | { readonly state: 'serving'; readonly process: proc.Process }
  | { readonly state: 'silent' | 'wrong'; readonly reason: string }

/** Whether our process is the one that listens, speaks MCP and serves the approved tools, twice the same. */
async function lookAt(call: Call<Target>, place: Place, ours: readonly proc.Process[]): Promise<Seen> {
  const holders = holdersOf(place.address, proc.scan())
  const foreign = holders.filter((holder) => !ours.some((one) => proc.same(one, holder)))
  if (foreign.length > 0) return { state: 'wrong', reason: `Somebody else listens at ${place.url}: ${pids(foreign)}` }
  const [holder] = holders
  if (holder === undefined) return { state: 'silent', reason: 'it does not listen' }
  const approved = call.target.server.tools?.digest
  try {
    let first: string | undefined
    for (const _ of ['once', 'again']) {
      const served = await describeServer(place.url, { signal: call.signal, timeoutMs: describeMs })
      const digest = toolsDigest(served)
      const expected = approved ?? first ?? digest
      if (digest !== expected) {
        const tools = served.tools.map(({ name }) => safe(name, 60)).join(', ')
        const reason = `The new server does not serve the approved tools: ${digest} instead of ${expected} (${safe(tools, 400)})`
        return { state: 'wrong', reason }
      }
      first = digest
    }
  } catch (error) {
    if (!(error instanceof IrError) || error.code === 'interrupted') throw error
    return { state: error.code === 'refused' ? 'wrong' : 'silent', reason: error.message }
  }
  // The one that we started leads the session; what listens may be a child of it.
  return { state: 'serving', process: ours.find((one) => one.pid === holder.session) ?? holder }
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
