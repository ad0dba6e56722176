import { afterAll, beforeAll, describe } from 'vitest'
import { credentialsContract } from '../contracts/credentials.ts'
import { type Openbao, startOpenbao } from '../testbed/openbao.ts'
import { skipWithoutEmulators } from '../testbed/python.ts'
import { actAs, startKvWorld } from './vault-kv-world.ts'

describe.skipIf(skipWithoutEmulators('vault-kv'))('against OpenBao', () => {
  let bao: Openbao
  let back: () => void
  beforeAll(async () => {
    bao = await startOpenbao()
    back = actAs(bao, bao.root)
  })
  afterAll(async () => {
    back()
    await bao.stop()
  })
  credentialsContract('vault-kv with an exec issuer', () => startKvWorld(bao, 'secret'), {
    probed: true,
    rotates: true,
  })
})
