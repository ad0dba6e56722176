import type { AwsAction } from './action.ts'
import { takeAddress } from './addresses.ts'
import { denyProfile } from './deny-profile.ts'
import { isolateInterface, isolationGroup } from './interfaces.ts'
import { cutSubnet, isolationAcl } from './network-acl.ts'
import { keepVolume, protectTermination, stopOnShutdown, tagInstance } from './protections.ts'
import { closeMetadata, replaceProfile } from './role.ts'
import { detachFromScaling, lowerMinimum, suspendScaling } from './scaling.ts'
import { endSessions } from './sessions.ts'
import { snapshotVolumes } from './snapshots.ts'
import { deregisterTargets } from './targets.ts'

/** Every change by the name of its action, as it stands in the journal. */
export const kinds = {
  'suspend-scaling': suspendScaling as AwsAction,
  'isolation-group': isolationGroup as AwsAction,
  'isolate-interface': isolateInterface as AwsAction,
  'isolation-acl': isolationAcl as AwsAction,
  'cut-subnet': cutSubnet as AwsAction,
  'lower-minimum': lowerMinimum as AwsAction,
  'detach-from-scaling': detachFromScaling as AwsAction,
  'deregister-targets': deregisterTargets as AwsAction,
  'take-address': takeAddress as AwsAction,
  'end-sessions': endSessions as AwsAction,
  'protect-termination': protectTermination as AwsAction,
  'stop-on-shutdown': stopOnShutdown as AwsAction,
  'keep-volume': keepVolume as AwsAction,
  'tag-instance': tagInstance as AwsAction,
  'deny-profile': denyProfile as AwsAction,
  'replace-profile': replaceProfile as AwsAction,
  'close-metadata': closeMetadata as AwsAction,
  'snapshot-volumes': snapshotVolumes as AwsAction,
}
