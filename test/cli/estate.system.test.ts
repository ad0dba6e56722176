import { test } from 'vitest'
import { revokeAndRotateEstate } from '../testbed/estate-sweep.ts'

test('very many credentials through a Vault that throttles and cuts off, killed on the way: every one is dead, and rotated once', async () => {
  await revokeAndRotateEstate(60, 3)
}, 300_000)
