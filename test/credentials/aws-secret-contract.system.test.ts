import { afterAll, beforeAll, describe } from 'vitest'
import { secretValues } from '../../src/credentials/aws-secret.ts'
import { execCredentials } from '../../src/credentials/exec.ts'
import type { Credentials } from '../../src/credentials/port.ts'
import { storedCredential } from '../../src/credentials/stored.ts'
import type { CredentialOf } from '../../src/registry/port.ts'
import { type CredentialsWorld, credentialsContract } from '../contracts/credentials.ts'
import { type Emulator, skipWithoutEmulators, startMoto } from '../testbed/python.ts'
import { actAsAws, type SecretsWorld, type SecretTarget, startSecretsWorld } from './aws-secret-world.ts'
import { startExecWorld } from './exec-world.ts'

describe.skipIf(skipWithoutEmulators('aws-secret'))('against moto', () => {
  let moto: Emulator
  let aws: SecretsWorld
  let back: () => void
  beforeAll(async () => {
    moto = await startMoto()
    aws = await startSecretsWorld(moto.url)
    back = actAsAws(aws)
  })
  afterAll(async () => {
    back()
    await aws.stop()
    await moto.stop()
  })

  async function start(): Promise<CredentialsWorld<CredentialOf<'aws-secret'>>> {
    const issuer = await startExecWorld()
    const secret = await aws.create(JSON.stringify({ username: 'crm', password: issuer.oldSecret }))
    const target: SecretTarget = {
      server: 'io.acme/crm',
      credential: { id: 'smtp', kind: 'aws-secret', secret },
      sharedWith: [],
      deployments: [],
    }
    // As the steps put the two together.
    const composed = (of: SecretTarget): Credentials<CredentialOf<'aws-secret'>> =>
      storedCredential(secretValues(), {
        adapter: execCredentials({ attempts: 3, pauseMs: 1 }) as unknown as Credentials,
        target: {
          ...of,
          credential: { ...issuer.target.credential, id: 'smtp' },
          deliverTo: { kind: 'aws-secret', secret },
          replaces: {},
        },
      })
    return {
      adapter: { ...composed(target), plan: (call) => composed(call.target).plan(call) },
      target,
      oldWorks: issuer.oldWorks,
      deliveredWorks: async () => {
        const { password } = JSON.parse((await aws.value(secret)) ?? '{}')
        return issuer.read().secrets.some((one) => one.secret === password && one.dead !== true)
      },
      liveNew: issuer.liveNew,
      changingCalls: issuer.changingCalls,
      secrets: issuer.secrets,
      fault: issuer.fault,
      stop: issuer.stop,
    }
  }

  credentialsContract('aws-secret with an exec issuer', start, { probed: true, rotates: true })
})
