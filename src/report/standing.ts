import type { Run } from './facts.ts'
import type { CredentialRow, Moment, Standing } from './model.ts'
import { capital, plural, utc } from './words.ts'

export function buildStanding(input: {
  times: readonly Moment[]
  runs: readonly Run[]
  credentials: readonly CredentialRow[]
  open: readonly string[]
}): Standing[] {
  const moment = (key: Moment['key']) => input.times.find((time) => time.key === key)
  return [
    containment(input.runs, moment('contained')),
    credentialStanding(input.credentials),
    recovery(input.runs, moment('recovered')),
    openPoints(input.open, input.runs.some(isFinished)),
  ]
}

/** That nothing is open says something only where something was done. */
function openPoints(open: readonly string[], begun: boolean): Standing {
  const base = { topic: 'open', label: 'Still open' } as const
  if (open.length > 0)
    return { ...base, state: 'partly', value: plural(open.length, 'point'), detail: 'Listed under “What remains”.' }
  return begun
    ? { ...base, state: 'good', value: 'Nothing', detail: 'No step left anything behind that it knows of.' }
    : { ...base, state: 'unknown', value: 'Not begun', detail: 'No step was done in this case.' }
}

function containment(runs: readonly Run[], moment: Moment | undefined): Standing {
  const base = { topic: 'containment', label: 'Containment' } as const
  const released = runs.findLastIndex((run) => run.use === 'network.release' && isFinished(run))
  const isolated = runs.findLastIndex((run) => run.use === 'network.isolate' && isFinished(run))
  if (moment?.at === undefined) {
    const tried = runs.some((run) => run.use === 'network.isolate')
    return { ...base, state: tried ? 'bad' : 'unknown', value: 'Not contained', detail: moment?.note ?? '' }
  }
  if (released > isolated) {
    return { ...base, state: 'bad', value: 'Released again', detail: moment.note }
  }
  const run = runs[isolated]
  const residue = run?.verdict?.data.operations.some(({ state }) => state === 'residual') ?? false
  const partial = run?.finished?.data.state === 'partial'
  return {
    ...base,
    state: residue || partial ? 'partly' : 'good',
    value: partial ? 'Contained in part' : residue ? 'Contained, with residue' : 'Contained',
    detail: `Since ${utc(moment.at)}. ${moment.note}`,
  }
}

function credentialStanding(credentials: readonly CredentialRow[]): Standing {
  const base = { topic: 'credentials', label: 'Old credentials' } as const
  if (credentials.length === 0) {
    return {
      ...base,
      state: 'unknown',
      value: 'None known',
      detail: 'The registry names no credential of this server.',
    }
  }
  const having = (state: string) => credentials.filter(({ old }) => old?.state === state).length
  const dead = having('dead')
  const alive = having('alive')
  const expires = having('expires')
  const unknown = credentials.length - dead - alive - expires
  const counts = [
    [expires, 'expiring'],
    [alive, 'alive'],
    [unknown, 'not proven'],
  ] as const
  const others = counts.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`)
  const fresh = credentials.filter(({ delivered }) => delivered !== undefined).length
  return {
    ...base,
    state: dead === credentials.length ? 'good' : alive > 0 ? 'bad' : dead + expires > 0 ? 'partly' : 'unknown',
    value: dead === credentials.length ? 'All dead' : `${dead} of ${credentials.length} dead`,
    detail: capital(
      `${others.length === 0 ? '' : `${others.join(', ')}; `}${fresh === 0 ? 'no new one' : plural(fresh, 'new one')} delivered.`,
    ),
  }
}

function recovery(runs: readonly Run[], moment: Moment | undefined): Standing {
  const base = { topic: 'recovery', label: 'Recovery' } as const
  if (moment?.at !== undefined) {
    const partial = runs.findLast((run) => run.use === 'deployment.redeploy')?.finished?.data.state === 'partial'
    return {
      ...base,
      state: partial ? 'partly' : 'good',
      value: partial ? 'Recovered in part' : 'Recovered',
      detail: `Since ${utc(moment.at)}. ${moment.note}`,
    }
  }
  const tried = runs.some((run) => run.use === 'deployment.redeploy' && run.finished !== undefined)
  return { ...base, state: tried ? 'bad' : 'unknown', value: 'Not recovered', detail: moment?.note ?? '' }
}

export function isFinished(run: Run): boolean {
  const state = run.finished?.data.state
  return state === 'done' || state === 'residual' || state === 'partial' || state === 'nothing-to-do'
}
