import type { Change, Problem } from '../../change.ts'
import { IrError } from '../../errors.ts'
import * as deliver from '../deliver.ts'
import { field } from '../words.ts'
import type { OauthCall } from './target.ts'
import { foldersOf } from './told.ts'

function destinationOf(call: OauthCall): deliver.Destination | IrError {
  const { credential, deliverTo } = call.target
  const changeId = call.changeId('issue-and-deliver', credential.id)
  if (deliverTo === undefined && credential.tokenFile !== undefined)
    return { path: `${credential.tokenFile}.new`, key: undefined, changeId }
  if (deliverTo?.kind === 'file') return { path: deliverTo.path, key: deliver.keyOf(credential.id), changeId }
  return new IrError(
    'input',
    deliverTo === undefined
      ? 'there is nowhere to deliver a new token to: the registry names neither deliverTo nor tokenFile'
      : `new secrets cannot be delivered to ${deliverTo.kind} yet`,
    { hints: ['Add deliverTo: {kind: file, path: …} to the server in the registry'] },
  )
}

export async function checkDelivery(call: OauthCall): Promise<readonly Problem[]> {
  const { credential, deployments } = call.target
  const destination = destinationOf(call)
  if (destination instanceof IrError)
    return [
      {
        kind: 'input',
        message: destination.message,
        ...(destination.hints[0] === undefined ? {} : { hint: destination.hints[0] }),
      },
    ]
  return await deliver.checkDestination(destination, { folders: foldersOf(deployments), file: credential.tokenFile })
}

/** As it was planned and agreed to, where there is a plan. */
export function plannedDestination(call: OauthCall, change: Change | undefined): deliver.Destination {
  const path = field(change?.params, 'path')
  const key = field(change?.params, 'key')
  if (change !== undefined && typeof path === 'string')
    return { path, key: typeof key === 'string' ? key : undefined, changeId: change.id }
  const destination = destinationOf(call)
  if (destination instanceof IrError) throw destination
  return destination
}
