import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readdir, readFile, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import type { CredentialTarget } from '../../src/credentials/port.ts'
import type { IrError } from '../../src/errors.ts'
import { Crash, callFor, drive, emptyJournal, everything } from '../contracts/credentials.ts'
import type { OauthServerOptions } from '../testbed/oauth-server.ts'
import { inOneCase } from './oauth-case.ts'
import { type OauthCredential, type OauthWorld, startOauthWorld } from './oauth-world.ts'

let world: ReturnType<typeof inOneCase>
async function given(
  options: OauthServerOptions & { credential?: Partial<OauthCredential> } = {},
): Promise<OauthWorld> {
  world = inOneCase(await startOauthWorld(options))
  return world
}
afterEach(async () => {
  await world.stop()
})

/** The same world with other entries in its registry; `undefined` leaves one out. */
function having(
  changes: { readonly [K in keyof OauthCredential]?: OauthCredential[K] | undefined },
  target: Partial<CredentialTarget> = {},
): OauthWorld {
  const credential = Object.fromEntries(
    Object.entries({ ...world.target.credential, ...changes }).filter(([, value]) => value !== undefined),
  ) as OauthCredential
  return { ...world, target: { ...world.target, ...target, credential } as OauthWorld['target'] }
}

const revoke = (of: OauthWorld = world) => drive(of, { intent: 'revoke' })
const rotate = (of: OauthWorld = world) => drive(of, { intent: 'rotate' })

describe('what is known of the old token decides what is said of it', () => {
  it('issuer says active after answering 200: alive, and the step fails', async () => {
    await given()
    world.server.fault('revoke', { kind: 'ignore' }, 20)
    const { verdict, state } = await revoke()
    expect(await world.oldWorks()).toBe(true)
    expect(verdict.state).toBe('failed')
    expect(state.state).toBe('alive')
  })

  it('no revocation endpoint: nothing to plan, alive', async () => {
    await given()
    const { verdict, state, journal } = await revoke(having({ revocationEndpoint: undefined }))
    expect(journal.planned).toEqual([])
    expect(verdict.state).toBe('failed')
    expect(state).toMatchObject({ state: 'alive', proof: expect.stringContaining('no revocation endpoint') })
  })

  it('no probe: dead, as the issuer says so', async () => {
    await given()
    const { verdict, state } = await revoke(having({ probe: undefined }))
    expect(verdict.state).toBe('verified')
    expect(state).toMatchObject({ state: 'dead', proof: 'issuer says so' })
    expect(verdict.limits.join()).toContain('no probe')
  })

  it('no introspection: dead, as the downstream took it before and refuses it now', async () => {
    await given()
    const { verdict, state } = await revoke(having({ introspectionEndpoint: undefined }))
    expect(verdict.state).toBe('verified')
    expect(state).toMatchObject({ state: 'dead', proof: 'probed' })
  })

  it('no introspection, and a downstream that refused it all along: a refusal proves nothing', async () => {
    await given()
    world.server.fault('me', { kind: 'status', status: 403 }, 20)
    const { verdict, state } = await revoke(having({ introspectionEndpoint: undefined }))
    expect(verdict.state).toBe('residual')
    expect(state.state).toBe('unknown')
  })

  it('no introspection, and the connection was reset before anything happened: revoked all the same', async () => {
    await given()
    world.server.fault('revoke', { kind: 'reset', when: 'before' })
    const { verdict } = await revoke(having({ introspectionEndpoint: undefined }))
    expect(await world.oldWorks()).toBe(false)
    expect(verdict.state).toBe('verified')
  })

  it('neither introspection nor probe: unknown', async () => {
    await given()
    const { verdict, state } = await revoke(having({ introspectionEndpoint: undefined, probe: undefined }))
    expect(await world.oldWorks()).toBe(false)
    expect(verdict.state).toBe('residual')
    expect(verdict.residue).toHaveLength(1)
    expect(state).toMatchObject({ state: 'unknown', proof: expect.stringContaining('acknowledged') })
  })

  it('a downstream that reads the token itself: it lives until it expires', async () => {
    await given({ selfContained: true })
    const { verdict, state } = await revoke()
    expect(await world.oldWorks()).toBe(true)
    expect(state.state).toBe('expires')
    const left = Date.parse(state.until ?? '') - Date.now()
    expect(left).toBeGreaterThan(3_500_000)
    expect(left).toBeLessThanOrEqual(3_600_000)
    expect(verdict.state).toBe('residual')
    expect(verdict.residue.join()).toContain(state.until)
  })

  it('an opaque token that its issuer disowns and the downstream takes: alive', async () => {
    await given({ stale: 1000 })
    const { verdict, state } = await revoke()
    expect(verdict.state).toBe('failed')
    expect(state).toMatchObject({ state: 'alive', proof: expect.stringContaining('although') })
  })

  it('a downstream that needs a moment is asked again', async () => {
    await given({ stale: 2 })
    const { verdict, state } = await revoke()
    expect(verdict.state).toBe('verified')
    expect(state).toMatchObject({ state: 'dead', proof: 'probed' })
  })

  it('a downstream that is down: dead by the issuer, with residue', async () => {
    await given()
    world.server.fault('me', { kind: 'status', status: 503 }, 1000)
    const { verdict, state } = await revoke()
    expect(verdict.state).toBe('residual')
    expect(state).toMatchObject({ state: 'dead', proof: 'issuer says so' })
    expect(verdict.residue.join()).toContain('503')
  })

  it('an issuer that cannot be asked: dead by the probe, with residue', async () => {
    await given()
    world.server.fault('introspect', { kind: 'status', status: 404 }, 1000)
    const { verdict, state } = await revoke()
    expect(await world.oldWorks()).toBe(false)
    expect(verdict.state).toBe('residual')
    expect(state).toMatchObject({ state: 'dead', proof: 'probed' })
  })

  it('a token that was dead before: nothing planned, tried all the same, and it proves nothing', async () => {
    await given({ expiresIn: 0 })
    const { verdict, state, journal } = await revoke()
    expect(journal.planned).toEqual([])
    expect(verdict.state).toBe('residual')
    expect(state).toMatchObject({ state: 'unknown', proof: expect.stringContaining('dead already') })
    expect(world.server.requests.filter(({ endpoint }) => endpoint === 'me').length).toBeGreaterThan(0)
  })

  it('a token file that is gone: unknown, told before and after', async () => {
    await given()
    await unlink(world.tokenFile)
    const problems = await world.adapter.check(callFor(world.target, 'revoke'))
    expect(problems).toMatchObject([{ kind: 'warning', message: expect.stringContaining('does not exist') }])
    const { verdict, state } = await revoke()
    expect(verdict.state).toBe('residual')
    expect(state.state).toBe('unknown')
  })

  it('a token that was replaced after the plan: not what was agreed to, and not called dead', async () => {
    await given()
    const call = callFor(world.target, 'revoke')
    const journal = { ...emptyJournal(), planned: await world.adapter.plan(call) }
    const other = world.server.issue()
    await writeFile(world.tokenFile, other)
    const { verdict, state } = await drive(world, { intent: 'revoke', journal })
    expect(journal.failed).toHaveLength(1)
    expect(verdict.state).toBe('failed')
    expect(state.state).toBe('alive')
    expect(await world.server.accepts(other)).toBe(true)
  })

  it("a planted token of somebody else's is left alone", async () => {
    await given()
    const theirs = world.server.issue('responder')
    await writeFile(world.tokenFile, theirs)
    expect(await world.adapter.check(callFor(world.target, 'revoke'))).toMatchObject([{ kind: 'warning' }])
    const { verdict, state } = await revoke()
    expect(await world.server.accepts(theirs)).toBe(true)
    expect(verdict.state).toBe('residual')
    expect(state.state).toBe('unknown')
  })

  it('a file with a line break or a header in it sends nothing', async () => {
    await given()
    await writeFile(world.tokenFile, 'x\r\nX-Evil: 1\n')
    const { state } = await revoke()
    expect(state.state).toBe('unknown')
    expect(world.server.requests).toEqual([])
  })
})

describe('the suspect does not choose which token is looked at', () => {
  const dead = 'crm_0000000000000007'
  const dotenv = (token: string) => `OTHER="x"\nLEDGER_TOKEN="${token}"\n`

  /** A process of the server in `cwd` with such an environment. */
  async function running<T>(
    cwd: string,
    env: Record<string, string>,
    work: (of: OauthWorld) => Promise<T>,
  ): Promise<T> {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000); console.log("up")'], {
      cwd,
      env,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    try {
      await once(child.stdout, 'data')
      const pidFile = join(world.folder, 'pid')
      await writeFile(pidFile, `${child.pid}\n`)
      const deployment = { id: 'dev', kind: 'local-process', pidFile, cwd: join(world.folder, 'crm') } as const
      return await work(having({}, { deployments: [deployment] }))
    } finally {
      child.kill('SIGKILL')
    }
  }

  it('a planted dead word beside the token in the delivered file: that one is revoked', async () => {
    await given()
    await writeFile(world.tokenFile, dead)
    await writeFile(world.destination, dotenv(world.oldToken))
    const { verdict, state, journal } = await revoke()
    expect(await world.oldWorks()).toBe(false)
    expect(journal.planned).toHaveLength(1)
    expect(verdict.state).toBe('verified')
    expect(state).toMatchObject({ state: 'dead', proof: 'probed' })
    for (const secret of world.secrets()) expect(everything(journal, verdict)).not.toContain(secret)
    for (const text of world.kept.values()) expect(text).not.toContain(world.oldToken)
  })

  it('the same where nothing but the token file names a place to deliver to', async () => {
    await given()
    await writeFile(world.tokenFile, dead)
    await writeFile(`${world.tokenFile}.new`, `${world.oldToken}\n`)
    const { state } = await revoke(having({}, { deliverTo: undefined }))
    expect(await world.oldWorks()).toBe(false)
    expect(state.state).toBe('dead')
  })

  it.runIf(process.platform === 'linux')('nor does a planted word hide the token in the environment', async () => {
    await given()
    await writeFile(world.tokenFile, dead)
    const cwd = join(world.folder, 'crm')
    const { state } = await running(cwd, { LEDGER_TOKEN: world.oldToken }, revoke)
    expect(await world.oldWorks()).toBe(false)
    expect(state.state).toBe('dead')
  })

  it.runIf(process.platform === 'linux')('the redeployed server is asked which file it reads', async () => {
    await given()
    await writeFile(world.tokenFile, dead)
    await writeFile(join(world.folder, 'run/elsewhere.env'), dotenv(world.oldToken))
    const cwd = join(world.folder, 'crm-1.4.0-0123456789ab-20261123-crm-0a1b/package')
    await mkdir(cwd, { recursive: true })
    const env = { CREDENTIALS_FILE: join(world.folder, 'run/elsewhere.env') }
    const { state, journal } = await running(cwd, env, revoke)
    expect(await world.oldWorks()).toBe(false)
    expect(state.state).toBe('dead')
    expect(journal.planned?.[0]?.target).toContain('CREDENTIALS_FILE')
  })

  it.runIf(process.platform === 'linux')('the client secret is no token, whatever names it', async () => {
    await given()
    const env = { X_TOKEN_FILE: world.secretFile, LEDGER_TOKEN: world.server.client.secret }
    // Without the issuer's word every token that is found is revoked.
    const { introspectionEndpoint: _, ...credential } = world.target.credential
    const plan = await running(join(world.folder, 'crm'), env, ({ adapter, target }) =>
      adapter.plan(callFor({ ...target, credential }, 'revoke')),
    )
    expect(plan).toHaveLength(1)
  })

  it('each living token is revoked by a change of its own, the same in every case', async () => {
    await given()
    const second = world.server.issue()
    await writeFile(world.destination, dotenv(second))
    const plan = await world.adapter.plan(callFor(world.target, 'revoke'))
    expect(new Set(plan.map(({ id }) => id)).size).toBe(2)
    const elsewhere = await world.adapter.plan({ ...callFor(world.target, 'revoke'), caseId: '20261124-crm-ffff' })
    expect(elsewhere.map(({ target }) => target)).toEqual(plan.map(({ target }) => target))
    const { verdict, state, journal } = await revoke()
    expect([...journal.applied.keys()]).toHaveLength(2)
    expect(await world.oldWorks()).toBe(false)
    expect(await world.server.accepts(second)).toBe(false)
    expect(verdict.state).toBe('verified')
    expect(state).toMatchObject({ state: 'dead', proof: 'probed' })
  })

  it('whatever append it dies at, both are dead in the end', async () => {
    for (const when of ['before', 'after'] as const) {
      for (let at = 1; at <= 5; at++) {
        await given()
        const second = world.server.issue()
        await writeFile(world.destination, dotenv(second))
        const journal = emptyJournal()
        await expect(drive(world, { intent: 'revoke', journal, crash: { at, when } })).rejects.toThrow(Crash)
        const { verdict } = await drive(world, { intent: 'revoke', journal })
        expect([when, at, verdict.state, world.server.live()]).toEqual([when, at, 'verified', []])
        if (at < 5 || when === 'before') await world.stop()
      }
    }
  })

  it('one that cannot be revoked makes it alive, although the other one is dead', async () => {
    await given()
    await writeFile(world.destination, dotenv(world.server.issue()))
    world.server.fault('revoke', { kind: 'ignore' }, 1)
    const { verdict, state } = await revoke()
    expect(world.server.live()).toHaveLength(1)
    expect(verdict.state).toBe('failed')
    expect(state.state).toBe('alive')
  })

  it('only a dead word anywhere: unknown, also by rotating', async () => {
    await given()
    await writeFile(world.tokenFile, dead)
    const revoked = await revoke()
    expect(revoked.journal.planned).toEqual([])
    expect(revoked.verdict.state).toBe('residual')
    expect(revoked.verdict.residue).toHaveLength(1)
    expect(revoked.state).toMatchObject({
      state: 'unknown',
      proof: 'only a token that was dead already was found: whether it is the one the server uses cannot be told',
    })
    expect((await rotate()).state.state).toBe('unknown')
  })

  it('the same in another case after it was revoked in one: what is dead there proves nothing here', async () => {
    await given()
    await revoke()
    expect((await revoke(inOneCase(await fresh()))).state.state).toBe('unknown')
  })

  it('receipts of this run show what was revoked by us, without any evidence', async () => {
    await given()
    const { journal } = await revoke()
    const again = { ...journal, planned: undefined }
    const { verdict, state } = await drive(
      { ...world, adapter: inOneCase(await fresh()).adapter },
      { intent: 'revoke', journal: again },
    )
    expect(again.planned).toEqual([])
    expect(verdict.state).toBe('verified')
    expect(state).toMatchObject({ state: 'dead', proof: 'probed' })
  })

  it('a delivered token is not the old one for rotating, and the one in use for revoking', async () => {
    await given()
    await revoke()
    const { verdict } = await rotate()
    expect(verdict.state).toBe('verified')
    expect(await world.liveNew()).toBe(1)
    const again = await revoke()
    expect(again.state.state).toBe('dead')
    expect(world.server.live()).toEqual([])
    const rotated = await rotate()
    expect(rotated.verdict.state).toBe('verified')
    expect(rotated.verdict.residue).toEqual([])
    expect(await world.deliveredWorks()).toBe(true)
  })

  it('a token without which nothing was seen to work before it was refused is not called dead', async () => {
    await given()
    await writeFile(world.tokenFile, dead)
    world.server.fault('introspect', { kind: 'status', status: 404 }, 1)
    const { state } = await revoke()
    expect(state.state).toBe('unknown')
  })

  /** The same systems, as another process sees them. */
  async function fresh(): Promise<OauthWorld> {
    const { oauthCredentials } = await import('../../src/credentials/oauth.ts')
    return { ...world, adapter: oauthCredentials({ timeoutMs: 300, attempts: 3, pauseMs: 1, probes: 4 }) }
  }
})

describe('a client secret that the server could read', () => {
  it('is told as residue, whether by place or by mode', async () => {
    await given()
    await chmod(world.secretFile, 0o644)
    const byMode = (await revoke()).verdict
    expect(byMode.state).toBe('residual')
    expect(byMode.residue.join()).toMatch(/can ask for new tokens/)
    await writeFile(join(world.folder, 'crm/secret'), world.server.client.secret, { mode: 0o600 })
    const byPlace = (await revoke(having({ clientSecretFile: join(world.folder, 'crm/secret') }))).verdict
    expect(byPlace.residue.join()).toMatch(/can ask for new tokens/)
  })

  it('is no matter for a public client, which is revoked by its id alone', async () => {
    await given()
    world.server.issue('public')
    const { verdict } = await revoke(
      having({ clientSecretFile: undefined, clientId: 'public', introspectionEndpoint: undefined }),
    )
    expect(await world.oldWorks()).toBe(false)
    expect(verdict.state).toBe('verified')
    expect(verdict.residue).toEqual([])
  })
})

describe('where requests go', () => {
  it.each([
    ['tokenEndpoint', 'http://auth.acme.example/token'],
    ['revocationEndpoint', 'http://10.0.0.1/revoke'],
    ['introspectionEndpoint', 'http://127.0.0.1.acme.example/introspect'],
    ['probe', 'http://[::2]/me'],
    ['probe', 'ftp://127.0.0.1/me'],
  ] as const)('%s must not be %s', async (key, url) => {
    await given()
    const other = having({ [key]: url })
    const problems = await other.adapter.check(callFor(other.target, 'revoke'))
    expect(problems).toMatchObject([{ kind: 'refused' }])
  })

  it('refuses it in the change as well, should nobody have checked', async () => {
    await given()
    const other = having({ revocationEndpoint: 'http://auth.acme.example/revoke' })
    const { journal } = await revoke(other)
    expect(journal.failed.map(({ error }) => (error as IrError).code)).toEqual(['refused'])
  })

  it('follows no redirect: the secret stays with whom it was for', async () => {
    await given()
    let asked = 0
    const thief = createServer((_, response) => {
      asked++
      response.end('{"active": false}')
    })
    await new Promise<void>((resolve) => thief.listen(0, '127.0.0.1', resolve))
    try {
      const to = `http://127.0.0.1:${(thief.address() as AddressInfo).port}/`
      for (const endpoint of ['revoke', 'introspect', 'me', 'token'] as const)
        world.server.fault(endpoint, { kind: 'redirect', to }, 1000)
      const revoked = await revoke()
      expect(revoked.verdict.state).toBe('failed')
      expect((await rotate()).journal.failed).toHaveLength(1)
      expect(asked).toBe(0)
    } finally {
      thief.close()
    }
  })

  it('believes no answer that is too long, of another kind or not JSON', async () => {
    await given()
    for (const body of [
      `{"active": false, "x": "${'y'.repeat(300_000)}"}`,
      '{"active": "no"}',
      '<html>inactive</html>',
    ]) {
      world.server.fault('introspect', { kind: 'body', body }, 1)
      const other = having({ probe: undefined })
      const verdict = await other.adapter.verify(callFor(other.target, 'revoke'))
      expect(verdict.output).toMatchObject({ state: 'unknown' })
    }
  })

  it('does not wait for ever', async () => {
    await given()
    world.server.fault('revoke', { kind: 'hang', effect: true }, 1)
    const { verdict, journal } = await revoke()
    expect(journal.failed).toEqual([])
    expect(verdict.state).toBe('verified')
    expect([...journal.started.values()]).toEqual([1])
  })

  it('says that nobody is there before anything is agreed to', async () => {
    await given()
    await world.server.stop()
    const problems = await world.adapter.check(callFor(world.target, 'revoke'))
    expect(problems.map(({ kind }) => kind)).toContain('unreachable')
    const told = problems.map(({ message }) => message).join()
    expect(told).toContain('ECONNREFUSED')
    world = inOneCase(await startOauthWorld())
  })

  it('names the missing client secret as wrong input', async () => {
    await given()
    await rm(world.secretFile)
    expect(await world.adapter.check(callFor(world.target, 'revoke'))).toMatchObject([{ kind: 'input' }])
  })

  it('tells no secret that the issuer repeats in its answer', async () => {
    await given()
    world.server.fault('revoke', { kind: 'status', status: 400 }, 20)
    world.server.fault('token', { kind: 'body', body: `{"access_token": "${world.oldToken}", "token_type": 7}` }, 20)
    const revoked = await revoke()
    const rotated = await rotate()
    for (const { journal, verdict } of [revoked, rotated]) {
      expect(journal.failed).toHaveLength(1)
      for (const secret of world.secrets()) expect(everything(journal, verdict)).not.toContain(secret)
    }
  })
})

describe('the command for somebody who may', () => {
  it('revokes the token in a real shell, with no secret in an argument', async () => {
    await given()
    const [change] = await world.adapter.plan(callFor(world.target, 'revoke'))
    const command = change?.command ?? ''
    for (const secret of world.secrets()) expect(command).not.toContain(secret)
    const { execFile } = await import('node:child_process')
    const has = await new Promise<boolean>((resolve) =>
      execFile('curl', ['--version'], (error) => resolve(error === null)),
    )
    if (!has) return
    await new Promise<void>((resolve, reject) =>
      execFile('bash', ['-c', command], (error) => (error === null ? resolve() : reject(error))),
    )
    expect(await world.oldWorks()).toBe(false)
  })
})

describe('rotation', () => {
  const check = (of: OauthWorld = world) => of.adapter.check(callFor(of.target, 'rotate'))

  it('delivers beside the token file when nothing else is named', async () => {
    await given()
    const tokenFile = join(world.folder, 'run/token')
    await writeFile(tokenFile, world.oldToken)
    const other = having({ tokenFile }, { deliverTo: undefined })
    expect(await check(other)).toEqual([])
    await revoke(other)
    const { verdict, state } = await rotate(other)
    expect(verdict.state).toBe('verified')
    expect(state.delivered).toEqual({ kind: 'file', path: `${tokenFile}.new` })
    const token = await readFile(`${tokenFile}.new`, 'utf8')
    expect(token).toMatch(/^at-.*\n$/)
    expect((await stat(`${tokenFile}.new`)).mode & 0o777).toBe(0o600)
    expect(await world.server.accepts(token.trim())).toBe(true)
    expect((await readdir(join(world.folder, 'run'))).sort()).toEqual(['client-secret', 'token', 'token.new'])
  })

  it('refuses every place that the compromised server reads', async () => {
    await given()
    expect(await check(having({}, { deliverTo: { kind: 'file', path: world.tokenFile } }))).toMatchObject([
      { kind: 'refused' },
    ])
    expect(await check(having({}, { deliverTo: undefined }))).toMatchObject([{ kind: 'refused' }])
  })

  it('says what it lacks', async () => {
    await given()
    expect(await check(having({ clientSecretFile: undefined }))).toMatchObject([{ kind: 'input' }])
    const inPlace = having({}, { deliverTo: { kind: 'vault-kv', mount: 'secret', path: 'x' }, replaces: {} })
    expect(await check(inPlace)).toMatchObject([{ kind: 'input', hint: expect.stringContaining('deliverTo') }])
    const nowhere = having({ tokenFile: undefined }, { deliverTo: undefined })
    expect((await check(nowhere)).map(({ kind }) => kind)).toContain('input')
  })

  it('asks for nothing when the new token could not be put anywhere', async () => {
    await given()
    await revoke()
    await mkdir(join(world.folder, 'gone'))
    const other = having({}, { deliverTo: { kind: 'file', path: join(world.folder, 'gone/next.env') } })
    const journal = { ...emptyJournal(), planned: await other.adapter.plan(callFor(other.target, 'rotate')) }
    await rm(join(world.folder, 'gone'), { recursive: true })
    await drive(other, { intent: 'rotate', journal })
    expect(journal.failed.map(({ error }) => (error as IrError).code)).toEqual(['input'])
    expect(world.server.requests.filter(({ endpoint }) => endpoint === 'token')).toEqual([])
  })

  it('does not count as lost what the issuer did not give out', async () => {
    await given()
    await revoke()
    world.server.fault('token', { kind: 'status', status: 403 })
    const { journal } = await rotate()
    expect(journal.failed).toHaveLength(1)
    const { verdict } = await drive(world, { intent: 'rotate', journal })
    expect(verdict.state).toBe('verified')
    expect(verdict.residue).toEqual([])
  })

  it('does not take the old token for a new one', async () => {
    await given({ reuses: true })
    const { journal, verdict } = await rotate()
    expect(journal.failed.map(({ error }) => (error as IrError).message).join()).toContain('old token again')
    expect(verdict.state).toBe('failed')
  })

  it('revokes at once what it was given and cannot deliver', async () => {
    await given()
    await revoke()
    const token = `${world.server.issue()}`
    world.server.fault('token', { kind: 'body', body: JSON.stringify({ access_token: token, token_type: 'DPoP' }) })
    const { journal } = await rotate()
    expect(journal.failed).toHaveLength(1)
    expect(await world.server.accepts(token)).toBe(false)
  })

  it('does it once: the same step again finds the delivered token', async () => {
    await given()
    await revoke()
    const { journal } = await rotate()
    const before = world.server.issued.length
    const again = { ...journal, planned: undefined }
    const { verdict } = await drive(world, { intent: 'rotate', journal: again })
    expect(again.planned).toEqual([])
    expect(world.server.issued.length).toBe(before)
    expect(verdict.state).toBe('verified')
  })

  it('issues another one when the delivered one is dead by the time it is looked at', async () => {
    await given()
    await revoke()
    const journal = emptyJournal()
    await expect(drive(world, { intent: 'rotate', journal, crash: { at: 5, when: 'after' } })).rejects.toThrow(Crash)
    const admin = having({ tokenFile: join(world.folder, 'run/delivered') })
    const delivered = /LEDGER_TOKEN="(.*)"/.exec(await readFile(world.destination, 'utf8'))?.[1] ?? ''
    await writeFile(join(world.folder, 'run/delivered'), delivered)
    await revoke(admin)
    expect(await world.server.accepts(delivered)).toBe(false)
    const { verdict } = await drive(world, { intent: 'rotate', journal })
    expect(verdict.state).toBe('verified')
    expect(await world.liveNew()).toBe(1)
    expect(await world.deliveredWorks()).toBe(true)
  })

  it('says so when the delivered token was taken away again', async () => {
    await given()
    await revoke()
    const { journal } = await rotate()
    await writeFile(world.destination, 'LEDGER_TOKEN="something-else"\n')
    const call = { ...callFor(world.target, 'rotate'), changes: journal.planned ?? [], receipts: journal.applied }
    const verdict = await world.adapter.verify(call)
    expect(verdict.state).toBe('failed')
    expect((verdict.output as { delivered?: unknown }).delivered).toBeUndefined()
  })

  it('tells of the value that it replaced', async () => {
    await given()
    await revoke()
    await writeFile(world.destination, 'LEDGER_TOKEN="from-long-ago"\nOTHER=1\n')
    const { verdict, journal } = await rotate()
    expect(verdict.state).toBe('residual')
    expect(verdict.residue.join()).toMatch(/replaced and not revoked/)
    expect(everything(journal, verdict)).not.toContain('from-long-ago')
    expect(await readFile(world.destination, 'utf8')).toMatch(/^LEDGER_TOKEN="at-.*"\nOTHER=1\n$/)
  })

  it('without introspection the new token that is taken makes the refusal of the old one a proof', async () => {
    await given()
    const other = having({ introspectionEndpoint: undefined })
    await revoke(other)
    const { verdict, state } = await rotate(other)
    expect(verdict.state).toBe('verified')
    expect(state).toMatchObject({ state: 'dead', proof: 'probed' })
  })
})

describe('reinstating', () => {
  it('says that it cannot be done, and does nothing', async () => {
    await given()
    await revoke()
    const calls = world.changingCalls()
    expect(await world.adapter.check(callFor(world.target, 'reinstate'))).toMatchObject([
      { kind: 'warning', message: expect.stringContaining('cannot be brought back') },
    ])
    const { verdict, state, journal } = await drive(world, { intent: 'reinstate' })
    expect(journal.planned).toEqual([])
    expect(state.state).toBe('dead')
    expect(verdict.state).toBe('residual')
    expect(world.changingCalls()).toBe(calls)
  })

  it('finds a token that was never revoked alive', async () => {
    await given()
    const { verdict, state } = await drive(world, { intent: 'reinstate' })
    expect(verdict.state).toBe('verified')
    expect(state.state).toBe('alive')
  })
})
