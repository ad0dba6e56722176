import { credentialsContract } from '../contracts/credentials.ts'
import { startOauthWorld } from './oauth-world.ts'

credentialsContract('oauth', () => startOauthWorld(), { probed: true, rotates: true })
