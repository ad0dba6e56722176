import type { BlastRadius } from '../blast-radius/port.ts'
import type { CaseFacts, CredentialRow, Duty, Redeployment, Risk, RootCause, Standing, Unseen } from './model.ts'
import { capital, plural, utc } from './words.ts'

interface Known {
  readonly case: CaseFacts
  readonly standing: readonly Standing[]
  readonly credentials: readonly CredentialRow[]
  readonly blastRadius: BlastRadius | undefined
  readonly redeployment: Redeployment | undefined
  readonly rootCause: RootCause
  readonly duties: readonly Duty[]
  readonly open: readonly string[]
  readonly unseen: Unseen
}

/** What remains and what to do about it: the worst first, within that in the order of the response. */
export function buildRisks(known: Known): readonly Risk[] {
  const risks = [
    ...containment(known),
    ...credentials(known),
    ...openPoints(known),
    ...residue(known),
    ...recovery(known),
    ...spread(known),
    ...notices(known),
    ...cause(known),
    ...closing(known),
  ]
  const order = ['bad', 'partly', 'unknown']
  return risks
    .map((risk, index) => ({ risk, index }))
    .sort((a, b) => order.indexOf(a.risk.state) - order.indexOf(b.risk.state) || a.index - b.index)
    .map(({ risk }) => risk)
}

function containment({ standing, redeployment }: Known): Risk[] {
  const state = standing.find(({ topic }) => topic === 'containment')
  if (state === undefined || state.state === 'good' || state.state === 'partly') return []
  if (state.value === 'Released again' && redeployment !== undefined) return []
  return [
    {
      state: 'bad',
      what: `${state.value}: the server can act. ${state.detail}`,
      next: 'Cut it off, or close the case as a false alarm.',
      command: 'mcp-ir isolate SERVER',
    },
  ]
}

function credentials({ credentials: rows }: Known): Risk[] {
  return rows.flatMap(({ id, old, reinstated, sharedWith }): Risk[] => {
    const others = sharedWith.length === 0 ? '' : ` It is also used by ${sharedWith.join(', ')}.`
    const revoke = 'mcp-ir revoke SERVER'
    if (reinstated) {
      return [
        {
          state: 'bad',
          what: `Credential ${id} was reinstated: whoever copied it can use it.${others}`,
          next: 'Revoke it again, unless the alarm was false.',
          command: revoke,
        },
      ]
    }
    switch (old?.state) {
      case 'dead':
        return []
      case 'alive':
        return [
          {
            state: 'bad',
            what: `Credential ${id} is alive: ${old.proof}.${others}`,
            next: 'Revoke it where it was issued, then have it proven.',
            command: revoke,
          },
        ]
      case 'expires':
        return [
          {
            state: 'partly',
            what: `Credential ${id} lives until ${old.until === undefined ? 'it expires' : utc(old.until)}.`,
            next: 'Look again after that.',
            command: revoke,
          },
        ]
      default:
        return [
          {
            state: 'unknown',
            what: `Credential ${id} is not proven dead.${others}`,
            next: 'Revoke it and have it proven.',
            command: revoke,
          },
        ]
    }
  })
}

function openPoints({ open }: Known): Risk[] {
  return open.map((point) => ({
    state: 'partly' as const,
    what: `Step ${point}`,
    next: point.includes(': not answered: ')
      ? 'Answer it, or say why it is skipped.'
      : 'Go on with the playbook; it takes up what is open.',
    command: 'mcp-ir respond SERVER',
  }))
}

function residue({ unseen }: Known): Risk[] {
  return unseen.residue.map((what) => ({
    state: 'partly' as const,
    what: capital(what),
    next: 'Look for it in the system itself and write down what is found.',
    command: 'mcp-ir case note TEXT',
  }))
}

function recovery({ standing, redeployment }: Known): Risk[] {
  const state = standing.find(({ topic }) => topic === 'recovery')
  const down: Risk[] =
    state?.value === 'Not recovered'
      ? [
          {
            state: 'partly',
            what: 'No verified build runs: those who use the server are without it.',
            next: 'Rebuild it from a verified source. Never put the old one back.',
            command: 'mcp-ir redeploy SERVER',
          },
        ]
      : []
  const exceptions = (redeployment?.exceptions ?? []).map((what) => ({
    state: 'partly' as const,
    what,
    next: 'Have somebody who did not make this exception look at it.',
    command: undefined,
  }))
  return [...down, ...exceptions]
}

function spread({ blastRadius }: Known): Risk[] {
  if (blastRadius === undefined) {
    return [
      {
        state: 'unknown',
        what: 'What the server reached is not known: the blast radius was not computed.',
        next: 'Compute it.',
        command: 'mcp-ir blast-radius SERVER',
      },
    ]
  }
  const { suspect, didReach, hubs, owners } = blastRadius
  const servers = [...new Set(suspect.map(({ server }) => server))]
  const blind = didReach.filter(({ coverage }) => coverage === 'no-visibility').map(({ system }) => system)
  const risks: Risk[] = []
  if (suspect.length > 0) {
    risks.push({
      state: 'unknown',
      what: `${plural(suspect.length, 'call')} on ${servers.slice(0, 5).join(', ')}${servers.length > 5 ? ` and ${servers.length - 5} more` : ''} may have been the attacker's will.`,
      next: 'Have the owners look at each of them and undo what should not be.',
      command: 'mcp-ir case note TEXT --kind decision',
    })
  }
  if (blind.length > 0) {
    risks.push({
      state: 'unknown',
      what: `No log covers ${blind.join(', ')}.`,
      next: 'Read the logs of these systems themselves.',
      command: 'mcp-ir case note TEXT',
    })
  }
  if (hubs.length > 0) {
    risks.push({
      state: 'unknown',
      what: `${plural(hubs.length, 'shared context')} ${hubs.length === 1 ? 'was' : 'were'} not followed further, as too many others touch ${hubs.length === 1 ? 'it' : 'them'}.`,
      next: 'Look into them by hand.',
      command: undefined,
    })
  }
  if (owners.length > 0) {
    risks.push({
      state: 'unknown',
      what: `Data and systems of ${owners.join(', ')} are concerned.`,
      next: 'Tell them, and write down when.',
      command: 'mcp-ir case note TEXT --kind call',
    })
  }
  return risks
}

function notices({ duties }: Known): Risk[] {
  return duties.flatMap(({ label, notices: list }): Risk[] => {
    const [next, ...later] = list.filter(({ state }) => state === 'not sent')
    if (next === undefined) return []
    const others =
      later.length === 0 ? '' : ` After it: ${later.map((notice) => notice.label.toLowerCase()).join(', ')}.`
    return [
      {
        state: 'partly',
        what: `${label}: ${next.label.toLowerCase()} is not recorded as sent${next.due === undefined ? '' : `; due ${utc(next.due)}`}.${others}`,
        next: 'Decide whether it applies; send it, and write it down.',
        command: `mcp-ir case note TEXT --kind notified --about ${next.name}`,
      },
    ]
  })
}

function cause({ rootCause }: Known): Risk[] {
  return rootCause.text !== undefined
    ? []
    : [
        {
          state: 'unknown',
          what: 'The root cause is not established: the same may happen again.',
          next: 'Find it, then write it down.',
          command: 'mcp-ir case note TEXT --about root-cause',
        },
      ]
}

function closing({ case: facts, open }: Known): Risk[] {
  return facts.status === 'closed' || open.length > 0
    ? []
    : [
        {
          state: 'unknown',
          what: 'The case is open.',
          next: 'Close it once all of the above is settled.',
          command: 'mcp-ir case close',
        },
      ]
}
