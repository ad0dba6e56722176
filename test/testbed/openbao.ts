import { writeFile } from 'node:fs/promises'
import { type Emulator, startBao } from './python.ts'

// biome-ignore lint/suspicious/noExplicitAny: a test looks into it and fails where it is not as expected
type Body = any

/** An OpenBao of the test's own, and a client of the test's own, which shares nothing with the one that is tested. */
export interface Openbao extends Emulator {
  readonly root: string
  /** @param token default: root */
  call(method: string, path: string, body?: object, token?: string): Promise<{ status: number; body: Body }>
  /** The same, with an error when it is refused. @returns the body */
  ok(method: string, path: string, body?: object, token?: string): Promise<Body>
  /** Whether a token is accepted at all. */
  lives(token: string): Promise<boolean>
}

/** @param auditLog where it writes its audit log; none without */
export async function startOpenbao({ auditLog }: { auditLog?: string } = {}): Promise<Openbao> {
  const root = 'root-of-the-test'
  const config = auditLog === undefined ? undefined : `${auditLog}.hcl`
  if (config !== undefined)
    await writeFile(config, `audit "file" "log" {\n  options {\n    file_path = ${JSON.stringify(auditLog)}\n  }\n}\n`)
  const emulator = await startBao(root, config)
  return { ...emulator, root, ...baoClient(emulator.url, root) }
}

function baoClient(url: string, root: string): Pick<Openbao, 'call' | 'ok' | 'lives'> {
  const call: Openbao['call'] = async (method, path, body, token = root) => {
    const response = await fetch(`${url}/v1/${path}`, {
      method,
      headers: token === '' ? {} : { 'X-Vault-Token': token },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, body: text === '' ? {} : JSON.parse(text) }
  }
  return {
    call,
    async ok(method, path, body, token) {
      const { status, body: answer } = await call(method, path, body, token)
      if (status >= 400) throw new Error(`${method} ${path}: ${status} ${JSON.stringify(answer)}`)
      return answer
    },
    async lives(token) {
      const { status } = await call('GET', 'auth/token/lookup-self', undefined, token)
      if (status !== 200 && status !== 403) throw new Error(`looking at a token: ${status}`)
      return status === 200
    },
  }
}
