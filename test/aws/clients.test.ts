import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { DescribeRegionsCommand, EC2Client } from '@aws-sdk/client-ec2'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { awsConfig, awsError } from '../../src/aws/clients.ts'

// A server of the test's own: no emulator stays silent, and none answers 503 for a minute.
describe('a call that gets no useful answer', () => {
  let calls = 0
  let clock = Date.now()
  const server = createServer((_, response) => {
    calls += 1
    clock += 25_000
    response.writeHead(503).end()
  })
  beforeAll(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)))
  afterAll(() => {
    vi.restoreAllMocks()
    server.close()
  })

  test('is given up after a minute, however many tries are left', async () => {
    vi.spyOn(Date, 'now').mockImplementation(() => clock)
    const client = new EC2Client({
      ...awsConfig({ region: 'us-east-1' }, 'reads'),
      endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    })
    await expect(client.send(new DescribeRegionsCommand({}))).rejects.toThrow()
    expect(calls).toBe(3)
  })
})

describe('a call that reaches nobody', () => {
  interface Strategy {
    acquireInitialRetryToken(): Promise<object>
    refreshRetryTokenForRetry(token: object, info: { errorType: string; error: Error }): Promise<object>
  }

  async function triesAfter(code: string): Promise<number> {
    const { retryStrategy } = awsConfig({ region: 'us-east-1' }, 'reads') as { retryStrategy: Strategy }
    const info = { errorType: 'TRANSIENT', error: Object.assign(new Error(code), { code }) }
    let token = await retryStrategy.acquireInitialRetryToken()
    for (let tries = 1; ; tries += 1) {
      try {
        token = await retryStrategy.refreshRetryTokenForRetry(token, info)
      } catch {
        return tries
      }
    }
  }

  test('is given up sooner than one that breaks off', async () => {
    expect(await triesAfter('ECONNREFUSED')).toBe(6)
    expect(await triesAfter('ENOTFOUND')).toBe(6)
    expect(await triesAfter('ECONNRESET')).toBe(12)
  })

  test('names whom it asked', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => server.close(resolve))
    const client = new EC2Client({
      region: 'us-east-1',
      endpoint: `http://127.0.0.1:${port}`,
      credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
      maxAttempts: 1,
    })
    const failure: unknown = await client.send(new DescribeRegionsCommand({})).catch((error: unknown) => error)
    const { code, message, hints } = awsError(failure, 'Looking')
    expect(code).toBe('unreachable')
    expect(message).toBe(`Looking: no proper answer from 127.0.0.1:${port} (ECONNREFUSED).`)
    expect(hints[0]).toContain('AWS_ENDPOINT_URL')
  })
})
