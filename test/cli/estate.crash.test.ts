import { test } from 'vitest'
import { revokeAndRotateEstate } from '../testbed/estate-sweep.ts'

test('a thousand credentials, killed at ten random moments: every one is dead, and rotated once', async () => {
  await revokeAndRotateEstate(1000, 10)
})
