import { credentialsContract } from '../contracts/credentials.ts'
import { inOneCase } from './oauth-case.ts'
import { startOauthWorld } from './oauth-world.ts'

credentialsContract('oauth', async () => inOneCase(await startOauthWorld()), { probed: true, rotates: true })
