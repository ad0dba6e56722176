import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'

/** 256 bits in letters that need no quoting anywhere. */
export function newPassword(): string {
  return randomBytes(32).toString('base64url')
}

/**
 * What PostgreSQL keeps of a password (RFC 5803): made here, so that the password itself goes into no statement, and with it into
 * no server log. The password must be ASCII, as it is not normalised.
 */
export function scramVerifier(password: string, salt: Buffer = randomBytes(16), iterations = 4096): string {
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256')
  const hmac = (text: string): Buffer => createHmac('sha256', salted).update(text).digest()
  const storedKey = createHash('sha256').update(hmac('Client Key')).digest('base64')
  const serverKey = hmac('Server Key').toString('base64')
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey}:${serverKey}`
}
