import type { Problem } from '../../change.ts'
import { IrError } from '../../errors.ts'
import type { VaultClient } from './client.ts'
import { ownToken, type Token } from './tokens.ts'

/**
 * Whether the responder would end the own access.
 * @param isOurs what of the target we are, in plain words
 * @throws IrError denied when our token is not accepted
 */
export async function checkOwn(
  vault: VaultClient,
  isOurs: (own: Token) => string | undefined,
): Promise<Problem | undefined> {
  const own = await ownToken(vault)
  const what = isOurs(own)
  if (what === undefined) return undefined
  return {
    kind: 'refused',
    message: `our own token (accessor ${own.accessor}) is one of ${what}: revoking it would lock us out`,
    hint: 'Use another token for the response (VAULT_TOKEN)',
  }
}

/** How many leases of this Vault it gave up on; undefined when that may not be asked. */
export async function irrevocable(vault: VaultClient): Promise<number | undefined> {
  try {
    const answer = await vault.shared('irrevocable leases', () =>
      vault.request({
        method: 'GET',
        path: 'sys/leases/count',
        query: { type: 'irrevocable' },
        nature: 'read',
        expected: [400, 403, 404, 405],
      }),
    )
    return typeof answer.data.lease_count === 'number' ? answer.data.lease_count : undefined
  } catch (error) {
    if (error instanceof IrError && error.code !== 'interrupted') return undefined
    throw error
  }
}
