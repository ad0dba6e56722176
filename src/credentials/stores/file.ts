import type { DeliverTo } from '../../registry/port.ts'
import * as deliver from '../deliver.ts'
import type { Store, StoreCall } from '../store.ts'

/** A dotenv file on this machine that several credentials share, or, without a key, a file with the bare secret. */
export function fileStore({ path }: Extract<DeliverTo, { kind: 'file' }>): Store {
  const at = (key: string | undefined, call: StoreCall): deliver.Destination => ({
    path,
    key: key === undefined ? undefined : deliver.keyOf(key),
    // Names the file beside it that a delivery goes through.
    changeId: call.changeId?.('deliver', `${key ?? ''} to ${path}`) ?? 'new',
  })
  return {
    kind: 'file',
    path,
    permissions: [`write ${path}`],
    async check(call) {
      const folders = (call.target.deployments ?? []).flatMap((one) =>
        one.kind === 'local-process' && one.cwd !== undefined ? [one.cwd] : [],
      )
      return await deliver.checkDestination(at(call.target.credential.id, call), { folders, file: undefined })
    },
    async prepare(call) {
      const destination = at(call.target.credential.id, call)
      await deliver.prepare(destination)
      await deliver.discard(destination)
    },
    async put(key, secret, call) {
      const destination = at(key, call)
      await deliver.stage(destination, secret)
      await deliver.finish(destination)
      return {}
    },
    async get(key, call) {
      const secret = await deliver.delivered(at(key, call))
      return secret === undefined ? undefined : { secret }
    },
  }
}
