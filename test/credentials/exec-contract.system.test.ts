import { credentialsContract } from '../contracts/credentials.ts'
import { startExecWorld } from './exec-world.ts'

credentialsContract('exec', () => startExecWorld(), { probed: true, rotates: true })
