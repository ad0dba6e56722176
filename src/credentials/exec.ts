import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { isAbsolute } from 'node:path'
import type { Action, Call, Change, Json, Observation, Problem, Receipt, Verdict } from '../change.ts'
import { IrError, systemCode } from '../errors.ts'
import { writableByOthers } from '../owned-file.ts'
import { scrubbed } from '../program/scrub.ts'
import type { CredentialOf } from '../registry/port.ts'
import { safe } from '../ui/safe-text.ts'
import { isInside } from './deliver.ts'
import type { Known } from './exec/answer.ts'
import { type ExecSettings, type ExecTarget, execProgram, type Program, requestOf } from './exec/program.ts'
import { type Destination, type Issued, type Issuing, issueAndDeliver, issuedBy } from './issue.ts'
import { type CredentialState, type Credentials, stage } from './port.ts'
import { fingerprint } from './secret-source.ts'
import { destinationOf } from './stores/index.ts'
import { asJson, field, orError, quoted, words } from './words.ts'

/**
 * What only a company's own program can revoke and make anew (docs/credentials.md has its protocol). The program is the
 * issuer: what it says of a secret is the issuer's word, and a secret that the suspect holds is tried through it.
 */
type ExecCredential = CredentialOf<'exec'>
type ExecCall = Call<ExecTarget>

const defaults: ExecSettings = { timeoutMs: 60_000, maxOutput: 1024 * 1024, attempts: 4, pauseMs: 500 }

export const adapter = execCredentials()

type OpenPlace = (call: Pick<ExecCall, 'target'>) => Promise<Destination>

/** @param openPlace how the place of a new secret is opened; a test brings its own login to it */
export function execCredentials(
  overrides: Partial<ExecSettings> = {},
  openPlace: OpenPlace = destinationOf,
): Credentials<ExecCredential> {
  const settings: ExecSettings = { ...defaults, ...overrides }
  const programOf = (call: ExecCall): Program => execProgram(call, settings)
  return {
    permissions: ['start the program that the registry names', 'write to the place of deliverTo'],
    check: (call) => check(call, openPlace),
    async plan(call) {
      if (call.intent === 'revoke') return await planRevoke(call, programOf(call))
      return call.intent === 'rotate' ? await planRotate(call, programOf(call), openPlace) : []
    },
    async verify(call) {
      const old = await lookAtOld(call, programOf(call))
      if (call.intent === 'reinstate') return reinstated(call, old)
      return call.intent === 'rotate' ? await withNew(call, old, openPlace) : verdictOf(call, old)
    },
    actions: {
      'revoke-secret': revokeSecret(programOf),
      'issue-and-deliver': issueAndDeliver(issuing(programOf), openPlace),
    },
  }
}

// Check: nothing is started yet, as this is also asked before the registry is trusted.

async function check(call: ExecCall & { readonly intent: string }, openPlace: OpenPlace): Promise<readonly Problem[]> {
  const { credential, server } = call.target
  const problems = await checkProgram(call)
  if (call.intent === 'reinstate')
    problems.push({
      kind: 'warning',
      message: `${credential.id}: what its issuer revoked cannot be brought back`,
      hint: `Issue a new one: mcp-ir rotate ${server}`,
    })
  if (call.intent === 'rotate') {
    try {
      const { store } = await openPlace(call)
      problems.push(...(await store.check(call)))
    } catch (error) {
      if (!(error instanceof IrError) || error.code !== 'input') throw error
      const [hint] = error.hints
      problems.push({ kind: 'input', message: error.message, ...(hint === undefined ? {} : { hint }) })
    }
  }
  return problems
}

/** Neither the program nor a script that it is given may be in reach of others: it runs with the responder's rights. */
async function checkProgram({ target }: ExecCall): Promise<Problem[]> {
  const { credential, deployments } = target
  const [program = '', ...args] = credential.command
  const wrong = (message: string): Problem[] => [{ kind: 'input', message: `${credential.id}: ${message}` }]
  if (program.includes('/') && !isAbsolute(program))
    return wrong(`${safe(program)} is relative, and it is not said relative to what: write ./${safe(program)}`)
  if (isAbsolute(program)) {
    try {
      await access(program, constants.X_OK)
    } catch (error) {
      const code = systemCode(error)
      return wrong(`its program ${safe(program)} ${code === 'ENOENT' ? 'is not there' : `cannot be run (${code})`}`)
    }
  }
  const folders = (deployments ?? []).flatMap((one) =>
    one.kind === 'local-process' && one.cwd !== undefined ? [one.cwd] : [],
  )
  for (const file of [program, ...args].filter((word) => isAbsolute(word))) {
    if (!(await isFile(file))) continue
    const open = await writableByOthers(file, process.getuid?.())
    if (open !== undefined)
      return [{ kind: 'refused', message: `${credential.id}: nothing is started: ${open.message}`, hint: open.hint }]
    for (const folder of folders) {
      if (await isInside(file, folder))
        return [
          {
            kind: 'refused',
            message: `${credential.id}: ${safe(file)} lies in the compromised server's own folder: it is not started`,
            hint: 'Put a copy that you have read elsewhere, and name that in the registry',
          },
        ]
    }
  }
  return []
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile()
  } catch (error) {
    if (systemCode(error) === undefined) throw error
    return false // an argument that only looks like a path
  }
}

// Revoke

async function planRevoke(call: ExecCall, program: Program): Promise<readonly Change[]> {
  const known = await program.discover()
  const old =
    known === 'unsupported' ? [undefined] : known.filter(({ state }) => state === 'alive' || state === 'unknown')
  if (old.length === 0) return []
  // Only what was seen to live can be seen to have died.
  const live = (await probeHeld(call, program)).filter(({ state }) => state === 'alive').map(({ print }) => print)
  return old.map((one) => revokeChange(call, program, one, live))
}

function revokeChange(call: ExecCall, program: Program, one: Known | undefined, live: readonly string[]): Change {
  const { credential, sharedWith, server } = call.target
  const { id } = credential
  const ref = one?.ref
  const what = ref === undefined ? 'every secret' : `secret ${ref}`
  const target = `${id}: ${what}, by ${program.name}`
  const changeId = call.changeId('revoke-secret', target)
  const request = requestOf(call, 'revoke', { changeId, ...(ref === undefined ? {} : { ref }) })
  return {
    id: changeId,
    action: 'revoke-secret',
    target,
    summary: `Revoke ${what} of ${id} of ${server} through ${program.name}`,
    effect: 'irreversible',
    priority: 'essential',
    after: [],
    stage: stage.end,
    chain: [`${id} (exec)`, `${what}, as ${program.name} says`],
    params: { ...(ref === undefined ? {} : { ref }), live },
    breaks: sharedWith,
    command: `printf '%s\\n' ${quoted(JSON.stringify(request))} | ${credential.command.map(quoted).join(' ')}`,
    facts: {
      program: credential.command[0] ?? '',
      'program says': one === undefined ? 'nothing: it cannot be asked' : one.state,
    },
  }
}

function revokeSecret(programOf: (call: ExecCall) => Program): Action<ExecTarget> {
  return {
    async apply(change, call) {
      const { name, revoke } = programOf(call)
      call.progress(`${name} revokes ${call.target.credential.id}`)
      const { state, until } = await revoke(refOf(change.params), change.id)
      if (state === 'alive') throw new IrError('partial', `${name} says that it is still alive after it revoked it`)
      return receiptOf(state, until)
    },
    async settle(change, call) {
      const known = await programOf(call).discover()
      // Not knowing means revoking once more, which alters nothing.
      if (known === 'unsupported') return undefined
      const ref = refOf(change.params)
      const left = known.filter((one) => (ref === undefined || one.ref === ref) && one.state !== 'dead')
      const [first] = left
      if (first === undefined) return receiptOf('dead', undefined)
      return left.every(({ state }) => state === 'expires') ? receiptOf('expires', first.until) : undefined
    },
  }
}

function receiptOf(state: Known['state'], until: string | undefined): Receipt {
  return { output: { state, ...(until === undefined ? {} : { until }) } }
}

// Rotate

async function planRotate(call: ExecCall, program: Program, openPlace: OpenPlace): Promise<readonly Change[]> {
  const { credential, server, sharedWith } = call.target
  const { store, key } = await openPlace(call)
  const place = key === undefined ? store.path : `${store.path} (${key})`
  const target = `${credential.id}: new secret by ${program.name}, to ${place}`
  const id = call.changeId('issue-and-deliver', target)
  const earlier = issuedBy(call.receipts.get(id))
  if (earlier !== undefined) {
    // Rotated in this run already, and it is there: nothing to do any more.
    const there = await store.get(key, call)
    if (there !== undefined && fingerprint(call.caseId, there.secret) === earlier.fingerprint) return []
  }
  return [
    {
      id,
      action: 'issue-and-deliver',
      target,
      summary: `Have ${program.name} make a new secret for ${credential.id} of ${server}, and put it into ${place}`,
      effect: 'creates',
      priority: 'essential',
      after: [],
      stage: stage.issue,
      chain: [`${credential.id} (exec)`, `new secret, to ${place}`],
      params: {
        live: (await probeHeld(call, program)).filter(({ state }) => state === 'alive').map(({ print }) => print),
      },
      breaks: sharedWith,
      facts: { program: credential.command[0] ?? '', 'delivered to': `${store.kind} ${place}` },
    },
  ]
}

function issuing(programOf: (call: ExecCall) => Program): Issuing<ExecTarget> {
  return {
    async issue(change, call) {
      const program = programOf(call)
      call.progress(`asking ${program.name} for a new secret for ${call.target.credential.id}`)
      const { secret, ref } = await program.rotate(change.id)
      if ((await heldBy(call)).some((old) => old.secret === secret))
        throw new IrError('refused', `${program.name} gives out the old secret again instead of a new one`)
      return { secret, ref: { ref } }
    },
    // An answer that was lost needs no search: asked again for the same change, the program leaves one living secret of it.
    async discard(ref, change, call) {
      await programOf(call).revoke(refOf(ref), change.id)
    },
  }
}

// What is seen

interface Old {
  readonly state: CredentialState['state']
  readonly proof: string
  readonly until?: string | undefined
  readonly observed: readonly Observation[]
  readonly residue: readonly string[]
}

interface Held {
  readonly secret: string
  readonly where: string
  readonly print: string
}

/** What the suspect holds, without what this step has delivered. */
async function heldBy(call: ExecCall): Promise<readonly Held[]> {
  const fresh = new Set(freshOf(call).map((one) => one.fingerprint))
  const held = (await call.target.held?.(call.signal)) ?? []
  return held
    .map((one) => ({ ...one, print: fingerprint(call.caseId, one.secret) }))
    .filter(({ print }) => !fresh.has(print))
}

function freshOf(call: ExecCall): readonly Issued[] {
  return [...call.receipts.values()].flatMap((receipt) => issuedBy(receipt) ?? [])
}

interface Probed extends Omit<Held, 'secret'> {
  readonly state: Known['state']
  readonly until?: string | undefined
}

async function probeHeld(call: ExecCall, program: Program): Promise<readonly Probed[]> {
  const probed: Probed[] = []
  for (const { secret, where, print } of await heldBy(call)) {
    const found = await program.probe(secret)
    if (found === 'unsupported') return []
    probed.push({ where, print, state: found.state, until: found.until })
  }
  return probed
}

/** What has become of the old secrets: by the program's word, and by trying what the suspect holds. */
async function lookAtOld(call: ExecCall, program: Program): Promise<Old> {
  const { id } = call.target.credential
  const [known, probed] = [await orError(program.discover()), await orError(probeHeld(call, program))]
  const residue = [known, probed].flatMap((one) => (one instanceof IrError ? [`${id}: ${one.message}`] : []))
  const fresh = new Set(freshOf(call).map(({ ref }) => refOf(ref)))
  const said = Array.isArray(known)
    ? (known as readonly Known[]).filter((one) => one.ref === undefined || !fresh.has(one.ref))
    : undefined
  const tried = probed instanceof IrError ? [] : probed
  const observed = [...(said === undefined ? [] : [saidOf(program, id, said)]), ...tried.map((one) => triedOf(id, one))]
  const seen = { observed, residue }

  const all = [...(said ?? []), ...tried]
  for (const state of ['alive', 'expires', 'unknown'] as const) {
    const worst = all.filter((one) => one.state === state)
    if (worst.length === 0) continue
    const proof = tried.some((one) => one.state === state) ? 'probed' : 'issuer says so'
    const until =
      state === 'expires'
        ? worst
            .flatMap((one) => one.until ?? [])
            .sort()
            .at(-1)
        : undefined
    return { ...seen, state, proof: state === 'unknown' ? `${program.name} does not know` : proof, until }
  }
  const live = new Set(call.changes.flatMap(({ params }) => words(field(params, 'live'))))
  if (tried.some(({ print }) => live.has(print))) return { ...seen, state: 'dead', proof: 'probed' }
  if (said !== undefined) return { ...seen, state: 'dead', proof: 'issuer says so' }
  const acknowledged = call.changes.some(({ id }) => call.receipts.has(id))
  return {
    ...seen,
    state: 'unknown',
    proof: acknowledged
      ? `${program.name} acknowledged it; nothing could be observed`
      : `${program.name} cannot tell, and no old secret could be tried`,
  }
}

function saidOf({ name }: Program, id: string, known: readonly Known[]): Observation {
  const left = known.filter(({ state }) => state !== 'dead')
  const one = ({ ref, state, until, proof }: Known): string =>
    [ref, state, until, proof === undefined ? undefined : `(${scrubbed(proof, [], 200)})`]
      .filter((word) => word !== undefined)
      .join(' ')
  return {
    claim: `${name} says that no old secret of ${id} is alive`,
    seen: (left.length === 0 ? known : left).slice(0, 10).map(one).join(', ') || 'none is',
    holds: left.length === 0,
  }
}

function triedOf(id: string, { where, state }: Probed): Observation {
  return { claim: `the old secret of ${id} in ${where} is refused`, seen: state, holds: state === 'dead' }
}

function verdictOf(call: ExecCall, old: Old, delivered?: Issued['delivered']): Verdict {
  const { credential, sharedWith, server } = call.target
  const { id, kind } = credential
  const { state, until, observed } = old
  const residue = [...old.residue]
  if (state === 'expires') residue.push(`${id}: the old secret is taken until ${until}`)
  if (state === 'unknown') residue.push(`${id}: whether the old secret is dead cannot be told: ${old.proof}`)
  const proof =
    state === 'alive' && call.intent === 'rotate' ? `${old.proof}; revoke it: mcp-ir revoke ${server}` : old.proof
  const unacknowledged = call.changes.some(
    (change) => change.action === 'revoke-secret' && !call.receipts.has(change.id),
  )
  const failed = state === 'alive' || (state === 'unknown' && unacknowledged)
  return {
    state: failed ? 'failed' : residue.length > 0 ? 'residual' : 'verified',
    observed,
    residue,
    limits: [`${id}: what is known of it is what the program ${safe(credential.command[0] ?? '')} says`],
    output: asJson({
      id,
      kind,
      state,
      proof,
      ...(until === undefined ? {} : { until }),
      sharedWith,
      ...(delivered === undefined ? {} : { delivered }),
    }),
  }
}

async function withNew(call: ExecCall, old: Old, openPlace: OpenPlace): Promise<Verdict> {
  const { store, key } = await openPlace(call)
  const [issued] = freshOf(call).slice(-1)
  const there = await orError(store.get(key, call))
  const print = there === undefined || there instanceof IrError ? undefined : fingerprint(call.caseId, there.secret)
  const holds = issued !== undefined && print === issued.fingerprint
  const seen = there instanceof IrError ? there.message : (print ?? 'nothing')
  const observed = [...old.observed, { claim: `the new secret is in ${store.path}`, seen, holds }]
  const verdict = verdictOf(call, { ...old, observed }, holds ? issued.delivered : undefined)
  return holds ? verdict : { ...verdict, state: 'failed' }
}

function reinstated(call: ExecCall, old: Old): Verdict {
  const { output, limits } = verdictOf(call, old)
  // That it stays dead is told by the step, as open; nothing of it lives on.
  const observed = [{ claim: 'what became of the old secret was looked at', seen: old.state, holds: true }]
  return {
    state: old.state === 'alive' ? 'verified' : 'residual',
    observed,
    residue: [],
    limits,
    output: output ?? null,
  }
}

function refOf(params: Json | undefined): string | undefined {
  const ref = field(params, 'ref')
  return typeof ref === 'string' ? ref : undefined
}
