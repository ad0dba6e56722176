import { basename } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Call, Change, Json, Problem, Receipt } from '../change.ts'
import { IrError } from '../errors.ts'
import { run } from '../program/run.ts'
import { scrubbed } from '../program/scrub.ts'
import type { Deployment } from '../registry/port.ts'
import { safe } from '../ui/safe-text.ts'
import { type Answer, type Operation, parseAnswer, type Request } from './exec/answer.ts'
import type { Deployments, DeploymentTarget } from './port.ts'

/**
 * A server that the company's own pipeline puts back (`redeploy.command` of any deployment). The program is asked what runs, told
 * to deploy the verified build, and told to remove it again; what the new server serves is proven as for every other one.
 */

type Target = DeploymentTarget
type Asking = Pick<Call<Target>, 'target' | 'signal' | 'caseId' | 'changeId'>

const action = 'deploy-build'
const limits: Readonly<Record<Operation, { readonly timeoutMs: number; readonly maxOutput: number }>> = {
  status: { timeoutMs: 30_000, maxOutput: 64 * 1024 },
  deploy: { timeoutMs: 900_000, maxOutput: 64 * 1024 },
  remove: { timeoutMs: 300_000, maxOutput: 64 * 1024 },
}
const pollMs = 1000

export const exec: Deployments<Deployment> = {
  startWithin: 600,
  permissions: ['whatever its program needs'],

  async check(call) {
    const { target } = call
    const { compromised = [] } = await ask(call, 'status')
    if (!compromised.includes(target.artifact.verdict.sha256)) return []
    const message = 'the pipeline says that this very build ran when the server was compromised'
    if (target.rootCause !== undefined) {
      return [{ kind: 'warning', message: `${message}; root cause: ${safe(target.rootCause)}` }]
    }
    const hint = 'When the cause lies elsewhere, say so: --root-cause TEXT.'
    return [{ kind: 'refused', message, hint } satisfies Problem]
  },

  async plan(call) {
    if (isThere(await ask(call, 'status'), call.target)) return []
    const { server, artifact, deployment, credentialsFile } = call.target
    const id = idOf(call)
    const name = nameOf(call.target)
    return [
      {
        id,
        action,
        target: targetOf(call.target),
        summary: `Let ${name} deploy ${safe(server.package.identifier)} ${safe(server.package.version)} (${artifact.verdict.state}) to ${safe(deployment.id)}`,
        effect: 'creates',
        priority: 'essential',
        after: [],
        breaks: [],
        facts: {
          command: commandOf(call.target).join(' '),
          build: artifact.file,
          sha256: artifact.verdict.sha256,
          credentials: credentialsFile ?? 'no file',
        },
      } satisfies Change,
    ]
  },

  actions: {
    [action]: {
      async apply(_change, call) {
        if (call.signal.aborted) throw new IrError('interrupted', 'Interrupted before anything was changed.')
        const seconds = call.target.deployment.startWithin ?? exec.startWithin
        const deadline = performance.now() + seconds * 1000
        let answer = await ask(call, 'deploy')
        while (answer.state === 'starting') {
          if (performance.now() > deadline) {
            throw new IrError('partial', `${nameOf(call.target)} did not come to an end within ${seconds} seconds`)
          }
          call.progress(`${nameOf(call.target)} is deploying${said(answer)}`)
          await sleep(pollMs, undefined, { signal: call.signal })
          answer = await ask(call, 'status')
        }
        if (isThere(answer, call.target)) return receiptOf(answer)
        throw new IrError('partial', `${nameOf(call.target)} deployed nothing: it says ${answer.state}${said(answer)}`)
      },
      async settle(_change, call) {
        const answer = await ask(call, 'status')
        return isThere(answer, call.target) ? receiptOf(answer) : undefined
      },
    },
  },

  async presence(call) {
    const answer = await ask(call, 'status')
    const why = `${nameOf(call.target)} says ${answer.state}${said(answer)}`
    if (answer.state === 'starting') return { state: 'coming', why }
    return isThere(answer, call.target) ? { state: 'up' } : { state: 'gone', why }
  },

  async takeOut(call) {
    await ask(call, 'remove')
    const { state } = await ask(call, 'status')
    if (state !== 'absent')
      throw new IrError('partial', `${nameOf(call.target)} says that it is ${state} after it was removed`)
    return `${nameOf(call.target)} took it out again`
  },

  async verify(call) {
    const answer = await ask(call, 'status')
    const holds = isThere(answer, call.target)
    const seen = `${answer.state}${answer.ref === undefined ? '' : ` as ${answer.ref}`}${said(answer)}`
    return {
      state: holds ? 'verified' : 'failed',
      observed: [{ claim: `${nameOf(call.target)} says that the verified build runs`, seen, holds }],
      residue: [],
      limits: ['how it was put in place, and that the isolated one was left alone, is the word of the pipeline'],
      output: { running: answer.ref === undefined ? [] : [answer.ref] } satisfies Json,
    }
  },
}

/** @throws IrError partial when something else runs than what was verified */
function isThere({ state, sha256 }: Answer, target: Target): boolean {
  if (state !== 'running') return false
  if (sha256 === target.artifact.verdict.sha256) return true
  throw new IrError('refused', `${nameOf(target)} says that it deployed another build than the verified one: ${sha256}`)
}

const receiptOf = ({ ref, proof }: Answer): Receipt => ({
  output: { ref: ref ?? null, proof: proof === undefined ? null : scrubbed(proof, []) },
})

const said = ({ proof }: Answer): string => (proof === undefined ? '' : `: ${scrubbed(proof, [])}`)

/** The same whatever is asked of this redeploy. */
const targetOf = ({ deployment, artifact }: Target): string =>
  `deployment ${deployment.id}, build ${artifact.verdict.sha256.slice(0, 12)}`

const idOf = ({ changeId, target }: Asking): string => changeId(action, targetOf(target))

function commandOf({ deployment }: Target): readonly string[] {
  const command = deployment.redeploy?.command
  if (command === undefined) throw new TypeError('no command')
  return command
}

const nameOf = (target: Target): string => safe(basename(commandOf(target)[0] ?? ''), 100)

function requestOf(call: Asking, operation: Operation): Request {
  const { server, deployment, artifact, credentialsFile } = call.target
  const { registryType, identifier, version } = server.package
  const { sha256, sha512 } = artifact.verdict
  return {
    protocol: 'mcp-ir/deploy/1',
    operation,
    server: server.name,
    deployment: deployment.id,
    case: call.caseId,
    changeId: idOf(call),
    url: deployment.url ?? '',
    artifact: { registryType, identifier, version, path: artifact.file, sha256, sha512 },
    ...(credentialsFile === undefined ? {} : { credentialsFile }),
  }
}

/** @throws IrError denied, unreachable or partial, as the program says; ambiguous where it may have done it */
async function ask(call: Asking, operation: Operation): Promise<Answer> {
  const name = nameOf(call.target)
  const ambiguous = operation !== 'status'
  const line = `${JSON.stringify(requestOf(call, operation))}\n`
  const ran = await run(commandOf(call.target), line, limits[operation], call.signal)
  const answer = parseAnswer(ran.stdout)
  const lines = ran.stderr.split('\n').filter((one) => one.trim() !== '')
  const hints = lines.slice(-3).map((one) => `It wrote: ${scrubbed(one, [], 200)}`)
  if (typeof answer === 'object' && 'error' in answer) {
    const { code, message = '' } = answer.error
    const why = `${name} could not ${operation} (${scrubbed(code, [], 40)})${message === '' ? '' : `: ${scrubbed(message, [])}`}`
    if (code === 'denied') throw new IrError('denied', why, { hints })
    if (code === 'refused') throw new IrError('refused', why, { hints })
    if (code === 'unavailable') throw new IrError('unreachable', why, { hints })
    throw new IrError('partial', why, { ambiguous, hints })
  }
  const wrong = ran.failed ?? (typeof answer === 'string' ? answer : undefined)
  if (typeof answer === 'string' || wrong !== undefined) {
    throw new IrError('unreachable', `${name} gave no answer to ${operation}: ${wrong}`, { ambiguous, hints })
  }
  return answer
}
