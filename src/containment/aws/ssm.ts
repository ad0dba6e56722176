import { DescribeSessionsCommand, SSMClient, TerminateSessionCommand } from '@aws-sdk/client-ssm'
import { awsClient } from '../../aws/clients.ts'
import type { Session } from './read-instances.ts'
import { ending, type Reading } from './reading.ts'

/** A large client that only sessions need: this file is imported when they are looked at, so that nothing else waits. */

type Asking = Pick<Reading, 'target' | 'signal' | 'until'>

// Without retries: a service that has no answer keeps nothing waiting, the cut least of all.
function client({ target: { deployment }, signal }: Asking): SSMClient {
  return awsClient(SSMClient, { region: deployment.region, role: deployment.role }, 'creates', signal)
}

/** The live ones of the whole account and region. */
export async function liveSessions(call: Asking): Promise<Session[]> {
  const sessions: Session[] = []
  let NextToken: string | undefined
  do {
    const page = await client(call).send(new DescribeSessionsCommand({ State: 'Active', NextToken }), ending(call))
    for (const { SessionId = '', Target = '', Owner = '' } of page.Sessions ?? []) {
      sessions.push({ id: SessionId, instance: Target, owner: Owner })
    }
    NextToken = page.NextToken
  } while (NextToken !== undefined)
  return sessions
}

export async function endSession(call: Asking, SessionId: string): Promise<void> {
  await client(call).send(new TerminateSessionCommand({ SessionId }))
}
