import { createHash } from 'node:crypto'
import type { Action, Evidence } from '../../src/change.ts'
import { IrError } from '../../src/errors.ts'
import type { OauthWorld } from './oauth-world.ts'

type Target = OauthWorld['target']

/** The world with the evidence of one case: what one step keeps, the next one finds. Its texts are in `kept`. */
export function inOneCase(world: OauthWorld): OauthWorld & { readonly kept: ReadonlyMap<string, string> } {
  const kept = new Map<string, string>()
  const evidence: Evidence = {
    async put(name, mediaType, content) {
      if (typeof content !== 'string') throw new TypeError('text is expected')
      const sha256 = createHash('sha256').update(content).digest('hex')
      kept.set(sha256, content)
      return { name, mediaType, sha256, bytes: Buffer.byteLength(content) }
    },
    async get(sha256) {
      const content = kept.get(sha256)
      if (content === undefined) throw new IrError('refused', `Evidence ${sha256} cannot be read (ENOENT).`)
      return Buffer.from(content)
    },
    path: (sha256) => sha256,
  }
  // A call reads its changes when it is asked: it is given on as it is, with other evidence.
  const inCase = <C extends object>(call: C): C => Object.create(call, { evidence: { value: evidence } }) as C
  const { adapter } = world
  return {
    ...world,
    kept,
    adapter: {
      ...adapter,
      check: (call) => adapter.check(inCase(call)),
      plan: (call) => adapter.plan(inCase(call)),
      verify: (call) => adapter.verify(inCase(call)),
      actions: Object.fromEntries(
        Object.entries(adapter.actions).map(([name, action]): [string, Action<Target>] => [
          name,
          {
            ...action,
            apply: (change, call) => action.apply(change, inCase(call)),
            settle: (change, call) => action.settle(change, inCase(call)),
          },
        ]),
      ),
    },
  }
}
