import {
  GenerateServiceLastAccessedDetailsCommand,
  GetServiceLastAccessedDetailsCommand,
  type ServiceLastAccessed,
} from '@aws-sdk/client-iam'
import type { Call } from '../../change.ts'
import type { CredentialTarget } from '../port.ts'
import { field } from '../words.ts'
import { type Iam, keep, openIam, orUnread, type Unread } from './iam.ts'
import { type IamSettings, pause } from './wait.ts'

/**
 * Keeps, as evidence, which services a user or role used last and when: where to look in CloudTrail. IAM works it out as a
 * job and may be hours behind. Good to know: what cannot be had is noted in the evidence, and stops nothing.
 */
export async function keepLastAccessed(
  call: Call<CredentialTarget>,
  name: string,
  settings: Pick<IamSettings, 'probes' | 'pauseMs'>,
): Promise<void> {
  const arn = call.changes
    .map(({ params }) => field(params, 'before'))
    .flatMap((before) => [field(before, 'user'), field(before, 'role')])
    .find((found) => typeof found === 'string')
  if (typeof arn !== 'string') return
  const unread: Unread[] = []
  const iam = await openIam(call)
  const found = await orUnread('services last accessed', undefined, unread, () => ask(call, iam, arn, settings))
  const used = found?.filter(({ LastAuthenticated }) => LastAuthenticated !== undefined) ?? []
  await keep(call, name, 'last-accessed', {
    of: arn,
    services: used
      .map((one) => ({
        service: one.ServiceNamespace ?? '',
        last: one.LastAuthenticated?.toISOString() ?? '',
        by: one.LastAuthenticatedEntity ?? '',
        region: one.LastAuthenticatedRegion ?? '',
      }))
      .sort((a, b) => (a.last < b.last ? 1 : -1)),
    granted: found?.length ?? null,
    unread: [
      ...unread.map(({ what, code }) => `${what}: ${code}`),
      ...(unread.length === 0 && found === undefined ? ['services last accessed: IAM was not done in time'] : []),
    ],
  })
}

/** @returns undefined when the job was not done in time */
async function ask(
  call: Call<CredentialTarget>,
  { client, options }: Iam,
  Arn: string,
  { probes, pauseMs }: Pick<IamSettings, 'probes' | 'pauseMs'>,
): Promise<readonly ServiceLastAccessed[] | undefined> {
  const { JobId } = await client.send(new GenerateServiceLastAccessedDetailsCommand({ Arn }), options)
  const services: ServiceLastAccessed[] = []
  let Marker: string | undefined
  for (let tried = 0; tried < probes; ) {
    const page = await client.send(new GetServiceLastAccessedDetailsCommand({ JobId, Marker }), options)
    if (page.JobStatus === 'COMPLETED') {
      services.push(...(page.ServicesLastAccessed ?? []))
      if (page.IsTruncated !== true || page.Marker === undefined) return services
      Marker = page.Marker
    } else {
      if (page.JobStatus === 'FAILED') return undefined
      await pause(pauseMs * 2 ** tried++, call.signal)
    }
  }
  return undefined
}
