import { IrError } from '../../errors.ts'
import { safe } from '../../ui/safe-text.ts'
import type { Kind } from './action.ts'
import type { Drafting } from './aims.ts'
import { readSessions } from './read-instances.ts'
import { quote } from './shell.ts'

/** Sessions of Systems Manager on the instances: through a private endpoint they outlive every security group. */

interface SessionParams {
  instance: string
}

export function sessionAims({ world, aim }: Drafting): void {
  const { sessions } = world
  for (const { InstanceId: id = '' } of world.instances) {
    const live = sessions === 'denied' ? [] : sessions.filter(({ instance }) => instance === id)
    if (sessions !== 'denied' && live.length === 0) continue
    const params: SessionParams = { instance: id }
    aim('end-sessions', `SSM sessions on ${id}`, {
      holds: false,
      claim: claim(params),
      seen: sessions === 'denied' ? 'not permitted to look' : live.map((one) => safe(one.id)).join(', '),
      summary:
        live.length === 0
          ? `End the SSM sessions on ${id}, if there are any`
          : `End the SSM sessions on ${id}: ${live.map((one) => `${safe(one.id)} of ${safe(one.owner)}`).join(', ')}`,
      // Whoever was in it has to open another one, if they still can.
      effect: 'irreversible',
      priority: 'best-effort',
      params,
      command:
        live.length === 0
          ? `ssm describe-sessions --state Active --filters key=Target,value=${id}`
          : live.map((one) => `ssm terminate-session --session-id ${quote(one.id)}`).join(' && aws '),
    })
  }
}

const claim = ({ instance }: SessionParams): string => `nobody has an SSM session on ${instance}`

export const endSessions: Kind<SessionParams, never> = {
  claim,
  async apply({ instance }, call) {
    const { endSession } = await import('./ssm.ts')
    for (const { id } of await readSessions(call, [instance])) {
      await endSession(call, id)
    }
    if ((await readSessions(call, [instance])).length > 0) {
      throw new IrError('unreachable', `Sessions on ${instance} are still ending.`, { ambiguous: true })
    }
    return undefined
  },
  holds: async ({ instance }, call) => (await readSessions(call, [instance])).length === 0,
}
