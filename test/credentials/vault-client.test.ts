import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { coalesced } from '../../src/coalesced.ts'
import { vaultClient } from '../../src/credentials/vault/client.ts'
import { readDeny } from '../../src/credentials/vault/policy.ts'
import { looksLikeToken, mayHaveMade, type Token } from '../../src/credentials/vault/tokens.ts'
import type { IrError } from '../../src/errors.ts'
import { forgetAnswers, shared, sharedOf } from '../../src/shared-answers.ts'

const canary = 's.canarycanarycanary1234'

describe('the Vault client', () => {
  let answer: (request: IncomingMessage, response: ServerResponse) => void
  const seen: { method: string; path: string; token: string }[] = []
  const server = createServer((request, response) => {
    seen.push({
      method: request.method ?? '',
      path: request.url ?? '',
      token: String(request.headers['x-vault-token'] ?? ''),
    })
    request.resume().on('end', () => answer(request, response))
  })
  const stop = new AbortController()
  let address = ''
  const before = { ...process.env }
  beforeEach(async () => {
    for (const name of Object.keys(process.env)) if (/^(?:VAULT|BAO)_/.test(name)) delete process.env[name]
    process.env.VAULT_TOKEN = canary
    seen.length = 0
    if (!server.listening) await once(server.listen(0, '127.0.0.1'), 'listening')
    address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  afterEach(() => {
    process.env = { ...before }
    server.closeAllConnections()
    server.close()
  })

  const client = (signal = stop.signal) =>
    vaultClient(
      { target: { vault: { address } }, signal },
      { pauseMs: 1, reads: 3, changes: 3, throttled: 4, timeoutMs: 500 },
    )
  const says = (status: number, body: object = {}, headers = {}): void => {
    answer = (_, response) => void response.writeHead(status, headers).end(JSON.stringify(body))
  }
  const failure = async (work: Promise<unknown>): Promise<IrError> => {
    try {
      await work
    } catch (error) {
      expect(
        JSON.stringify([error, (error as Error).message, (error as Error).stack, (error as Error).cause]),
      ).not.toMatch(/canary/)
      return error as IrError
    }
    throw new Error('it did not fail')
  }

  it('takes nothing for nothing, and a path as it is named', async () => {
    says(404, { errors: [] })
    expect(await client().read('sys/policies/acl/what?')).toBeUndefined()
    expect(await client().list('auth/a b/role')).toEqual([])
    expect(seen).toEqual([
      { method: 'GET', path: '/v1/sys/policies/acl/what%3F', token: canary },
      { method: 'GET', path: '/v1/auth/a%20b/role?list=true', token: canary },
    ])
    expect((await failure(client().read('auth/approle/role/../../token'))).code).toBe('input')
    expect(seen).toHaveLength(2)
  })

  it('takes the new token once the old one has expired and somebody has logged in anew, and asks once where nobody has', async () => {
    answer = (request, response) => {
      const known = request.headers['x-vault-token'] === 's.new'
      response.writeHead(known ? 200 : 403).end(known ? '{}' : JSON.stringify({ errors: ['2 errors: invalid token'] }))
    }
    const ours = client()
    expect((await failure(ours.read('a'))).code).toBe('denied')
    expect(seen).toHaveLength(1)
    process.env.VAULT_TOKEN = 's.new'
    // All that are under way, also where the status would be an answer.
    const revoking = { method: 'POST', path: 'b', body: {}, nature: 'repeat', expected: [403] } as const
    const answers = await Promise.all([ours.write('a', {}), ours.request(revoking), ours.write('c', {})])
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
    expect((await ours.read('a'))?.status).toBe(200)
    expect(seen.map(({ token }) => token).sort()).toEqual([...Array(4).fill(canary), ...Array(4).fill('s.new')])
  })

  it('another token, or none, is not ours', async () => {
    says(200)
    await client().as('other').read('a')
    await client().as(undefined).read('a')
    expect(seen.map(({ token }) => token)).toEqual(['other', ''])
  })

  it.each([
    [403, { errors: ['permission denied'] }, 'denied', false],
    [400, { errors: [`no such ${canary}`] }, 'input', false],
    [429, { errors: [canary] }, 'unreachable', true],
    [500, { errors: [`pq: password ${canary}`] }, 'unreachable', true],
    [503, { errors: ['Vault is sealed'] }, 'unreachable', false],
    [307, {}, 'unreachable', false],
  ] as const)('a change that is answered with %i', async (status, body, code, ambiguous) => {
    says(status, body, { location: `https://elsewhere/${canary}` })
    expect(await failure(client().write('a', { secret: canary }))).toMatchObject({ code, ambiguous })
    // Only where the server says that it did not do it.
    expect(seen.length).toBe(status === 429 ? 4 : 1)
  })

  it('what makes something new is repeated only where it was not made', async () => {
    says(503)
    expect(await failure(client().create('a', {}))).toMatchObject({ code: 'unreachable', ambiguous: true })
    expect(seen).toHaveLength(1)
    says(429)
    // It was not made, and may be asked for again when all others have had their turn.
    expect(await failure(client().create('a', {}))).toMatchObject({ code: 'unreachable', ambiguous: true })
    expect(seen).toHaveLength(5)
  })

  it('a read goes on after throttling, errors and resets', async () => {
    let count = 0
    answer = (request, response) => {
      count++
      if (count === 1) return void response.writeHead(429).end()
      if (count === 2) return void request.socket.destroy()
      response.end(JSON.stringify({ data: { a: 1 } }))
    }
    expect((await client().read('a'))?.data).toEqual({ a: 1 })
  })

  it('a Vault that is not there, or does not answer, is unreachable; the change may have happened only with the second', async () => {
    answer = () => undefined
    expect(await failure(client().write('a', {}))).toMatchObject({ code: 'unreachable', ambiguous: true })
    server.closeAllConnections()
    server.close()
    expect(await failure(client().write('a', {}))).toMatchObject({ code: 'unreachable', ambiguous: false })
  })

  it('ends at once when it is interrupted', async () => {
    answer = () => undefined
    const own = new AbortController()
    const asked = client(own.signal).read('a')
    setTimeout(() => own.abort(), 20)
    expect((await failure(asked)).code).toBe('interrupted')
    expect((await failure(client(own.signal).read('a'))).code).toBe('interrupted')
  })

  it('an answer that is not JSON is none of Vault’s', async () => {
    answer = (_, response) => void response.writeHead(502).end('<html>bad gateway</html>')
    expect((await failure(client().read('a'))).message).toMatch(/502/)
  })
})

describe('questions that many ask at once', () => {
  it('are asked once for all who came while another one was under way, and never answered with the older look', async () => {
    const ask = coalesced<number>()
    let asked = 0
    const release: (() => void)[] = []
    const work = async (): Promise<number> => {
      const mine = ++asked
      await new Promise<void>((resolve) => release.push(resolve))
      return mine
    }
    const first = ask('a', work)
    const later = [ask('a', work), ask('a', work), ask('a', work)]
    const elsewhere = ask('b', work)
    expect(asked).toBe(2)
    release[0]?.()
    expect(await first).toBe(1)
    await new Promise(setImmediate)
    expect(asked).toBe(3)
    const latest = ask('a', work)
    for (const go of release) go()
    expect(await Promise.all(later)).toEqual([3, 3, 3])
    expect(await elsewhere).toBe(2)
    await new Promise(setImmediate)
    for (const go of release) go()
    expect(await latest).toBe(4)
  })

  it('one that failed is asked anew', async () => {
    const ask = coalesced<number>()
    await expect(ask('a', () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(await ask('a', async () => 1)).toBe(1)
  })
})

describe('tokens', () => {
  const token = (more: Partial<Token>): Token => ({
    accessor: 'a',
    displayName: '',
    policies: ['crm', 'default'],
    foreign: false,
    type: 'service',
    path: 'auth/token/create-orphan',
    orphan: true,
    entity: '',
    created: '2026-11-23T10:00:00.000Z',
    expires: undefined,
    meta: {},
    ...more,
  })
  const maker = {
    policies: new Set(['crm']),
    tokenRoles: new Set(['auth/token/create/wide']),
    since: '2026-11-23T10:00:00.500Z',
  }

  it.each([
    ['an orphan with its policy', {}, true],
    ['one with a policy that it did not have', { policies: ['crm', 'other'] }, false],
    ['one that has nothing but default', { policies: ['default'] }, false],
    ['a root token', { policies: ['root'] }, false],
    ['one of an entity', { entity: 'e' }, false],
    ['one that a login made', { path: 'auth/approle/login' }, false],
    ['one of a mount that is only named alike', { path: 'auth/token/created' }, false],
    ['one made before', { created: '2026-11-23T09:59:58.000Z' }, false],
    ['one of a token role that it may use', { path: 'auth/token/create/wide', policies: ['other'] }, true],
  ])('%s', (_, more, expected) => {
    expect(mayHaveMade(token(more), maker)).toBe(expected)
  })

  it('are told from secret ids', () => {
    expect(['hvs.CAESIJ0123456789abcdefghij', canary, 'b.AAAAAQJ-abc_def0123456789abc'].map(looksLikeToken)).toEqual([
      true,
      true,
      true,
    ])
    expect(['0c3ad3e2-7f1c-4a0e-8d0b-0c3ad3e27f1c', 's.short', 'hvs.', `x${canary}`].map(looksLikeToken)).toEqual([
      false,
      false,
      false,
      false,
    ])
  })

  it('a policy that looks like our deny and is not ours to read is not one', () => {
    expect(readDeny('path "*" { capabilities = ["deny"] }')).toBeUndefined()
    const kept = Buffer.from(JSON.stringify({ case: 'x', former: 'y', batch: false })).toString('base64')
    expect(readDeny(`# mcp-ir altered in base64: ${kept}\npath "*" { capabilities = ["sudo"] }`)).toBeUndefined()
  })
})

/** Work whose first run takes until `first` is resolved; each run gives its number. */
function waitingAtFirst() {
  let asked = 0
  const first = Promise.withResolvers<void>()
  const work = async (): Promise<number> => {
    const mine = ++asked
    if (mine === 1) await first.promise
    return mine
  }
  return { first, work }
}

describe('answers that many share', () => {
  it('are looked for once, and again after a change of ours, after a while, and when there was none', async () => {
    let time = 0
    const { ask, changed } = shared(() => time)
    let asked = 0
    const work = async (): Promise<number> => ++asked
    expect(await Promise.all([ask('a', work), ask('a', work), ask('b', work)])).toEqual([1, 1, 2])
    expect(await ask('a', work)).toBe(1)
    changed()
    expect(await Promise.all([ask('a', work), ask('a', work)])).toEqual([3, 3])
    time += 31_000
    expect(await ask('a', work)).toBe(4)
    await expect(ask('c', () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(await ask('c', work)).toBe(5)
  })

  it('for a verdict begin after they were asked for', async () => {
    const { ask, next } = shared()
    const { first, work } = waitingAtFirst()
    const before = next('a', work)
    const after = [next('a', work), next('a', work)]
    first.resolve()
    expect([await before, ...(await Promise.all(after))]).toEqual([1, 2, 2])
    expect(await ask('a', work)).toBe(3)
    expect(await next('a', work)).toBe(4)
    expect(await ask('a', work)).toBe(3)
  })

  it('are forgotten for all systems of a command at once', async () => {
    const { signal } = new AbortController()
    const [vault, postgres] = [sharedOf(signal, 'vault'), sharedOf(signal, 'postgres')]
    let asked = 0
    const work = async (): Promise<number> => ++asked
    expect([await vault.ask('a', work), await postgres.ask('a', work), await vault.ask('a', work)]).toEqual([1, 2, 1])
    vault.changed()
    expect(await postgres.ask('a', work)).toBe(3)
    forgetAnswers(signal)
    expect(await postgres.ask('a', work)).toBe(4)
  })

  it('begun before a change has ended do not count after it', async () => {
    const { ask, changed } = shared()
    const { first, work } = waitingAtFirst()
    changed()
    const during = ask('a', work)
    changed()
    const after = ask('a', work)
    first.resolve()
    expect([await during, await after, await ask('a', work)]).toEqual([1, 2, 2])
  })
})
