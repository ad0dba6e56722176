import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { CredentialTarget } from '../../src/credentials/port.ts'
import { adapter } from '../../src/credentials/vault-token.ts'
import type { CredentialOf } from '../../src/registry/port.ts'
import { callFor, drive } from '../contracts/credentials.ts'

/** What OpenBao does not answer, and HashiCorp Vault does: made by hand, after its documentation and source. */
const answers: Record<string, readonly [number, object]> = {
  '/v1/auth/token/lookup-accessor': [403, { errors: ['1 error occurred:\n\t* invalid accessor\n\n'] }],
  '/v1/sys/leases/count?type=irrevocable': [200, { data: { lease_count: 2 } }],
}
/** Told of each request before it is answered. */
let asked: (path: string) => void = () => undefined
const server = createServer((request, response) => {
  const [status, body] = answers[request.url ?? ''] ?? [404, { errors: [] }]
  asked(request.url ?? '')
  request.resume().on('end', () => response.writeHead(status).end(JSON.stringify(body)))
})
const before = { ...process.env }
beforeAll(async () => {
  for (const name of Object.keys(process.env)) if (/^(?:VAULT|BAO)_/.test(name)) delete process.env[name]
  process.env.VAULT_TOKEN = 'hvs.of-the-responder'
  await once(server.listen(0, '127.0.0.1'), 'listening')
})
afterAll(() => {
  process.env = before
  server.closeAllConnections()
  server.close()
})

const target = (): CredentialTarget<CredentialOf<'vault-token'>> => ({
  server: 'io.acme/crm',
  credential: { id: 'token', kind: 'vault-token', accessor: 'abc' },
  sharedWith: [],
  vault: { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
})

/** As the plan of an earlier run in the same case has it. */
const seen = (accessor: string) => () => [
  {
    change: {
      id: '1',
      action: 'revoke-token',
      target: `token with accessor ${accessor}`,
      summary: '',
      effect: 'irreversible' as const,
      priority: 'essential' as const,
      after: [],
      breaks: [],
      params: { accessor, made: false },
    },
    receipt: {},
    recorded: [],
  },
]

it('an accessor that HashiCorp Vault does not know (any more) is a dead token, and leases that could not be revoked are counted', async () => {
  const verdict = await adapter.verify(callFor({ ...target(), past: seen('abc') }, 'revoke'))
  expect(verdict.output).toMatchObject({ state: 'dead' })
  expect(verdict.state).toBe('residual')
  expect(verdict.residue).toEqual([expect.stringMatching(/^2 leases .*irrevocable/)])
  expect(await adapter.plan(callFor(target(), 'revoke'))).toEqual([])
})

it.each([
  ['this case never saw', undefined],
  ['is another one than this case saw', seen('abd')],
])('an accessor that Vault does not know and that %s is not called dead: it may be mistyped', async (_, past) => {
  const call = callFor({ ...target(), ...(past === undefined ? {} : { past }) }, 'revoke')
  const verdict = await adapter.verify(call)
  expect(verdict.output).toMatchObject({ state: 'unknown', proof: expect.stringMatching(/not right/) })
  expect(verdict.state).toBe('residual')
})

it('an accessor that may not be looked up is not called dead', async () => {
  const [, body] = answers['/v1/auth/token/lookup-accessor'] ?? []
  answers['/v1/auth/token/lookup-accessor'] = [403, { errors: ['1 error occurred:\n\t* permission denied\n\n'] }]
  try {
    await expect(adapter.verify(callFor(target(), 'revoke'))).rejects.toMatchObject({ code: 'denied' })
  } finally {
    answers['/v1/auth/token/lookup-accessor'] = [403, body ?? {}]
  }
})

describe('a token whose revocation Vault refuses in other words', () => {
  const lookUp = '/v1/auth/token/lookup-accessor'
  const revoke = '/v1/auth/token/revoke-accessor'
  const before = { ...answers }
  const living = { data: { accessor: 'abc', policies: ['crm'], path: 'auth/token/create', creation_time: 1 } }
  const gone = before[lookUp] ?? [403, {}]
  const others = [400, { errors: ['1 error occurred:\n\t* some other words\n\n'] }] as const
  beforeEach(() =>
    Object.assign(answers, {
      [lookUp]: [200, living],
      [revoke]: others,
      '/v1/auth/token/lookup-self': [200, { data: { accessor: 'ours', policies: ['root'] } }],
      '/v1/auth/token/accessors?list=true': [200, { data: { keys: ['abc'] } }],
    }),
  )
  afterEach(() => {
    for (const path of Object.keys(answers)) delete answers[path]
    Object.assign(answers, before)
  })

  it('is revoked, when it was its parent that took it along: it is gone when it is looked at again', async () => {
    asked = (path) => {
      if (path === revoke) answers[lookUp] = gone
    }
    const { journal } = await drive({ adapter, target: target() }, { intent: 'revoke' })
    expect(journal.planned).toHaveLength(1)
    expect(journal.failed).toEqual([])
    expect([...journal.applied.keys()]).toEqual(journal.planned?.map(({ id }) => id))
  })

  it('is left open, when it lives on', async () => {
    asked = () => undefined
    const { journal } = await drive({ adapter, target: target() }, { intent: 'revoke' })
    expect(journal.failed).toMatchObject([{ error: { code: 'partial' } }])
  })
})
