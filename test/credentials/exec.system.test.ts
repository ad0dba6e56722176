import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseEnv } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type ExecSettings, execProgram } from '../../src/credentials/exec/program.ts'
import { execCredentials } from '../../src/credentials/exec.ts'
import type { CredentialTarget } from '../../src/credentials/port.ts'
import { IrError } from '../../src/errors.ts'
import { callFor, drive, everything } from '../contracts/credentials.ts'
import { type ExecWorld, startExecWorld } from './exec-world.ts'

type Target = ExecWorld['target']

const settings: ExecSettings = { timeoutMs: 30_000, maxOutput: 1024 * 1024, attempts: 2, pauseMs: 1 }

let world: ExecWorld
beforeEach(async () => {
  world = await startExecWorld()
})
afterEach(async () => {
  await world.stop()
})

/** A target whose program is this shell script. */
function scripted(script: string): Target {
  const file = join(world.folder, 'program.sh')
  writeFileSync(file, `#!/bin/sh\n${script}\n`, { mode: 0o700 })
  return { ...world.target, credential: { ...world.target.credential, command: [file] } }
}

function programOf(target: Target, overrides: Partial<ExecSettings> = {}, signal = new AbortController().signal) {
  return execProgram(callFor(target, 'revoke', { signal }), { ...settings, ...overrides })
}

const failing = async (work: Promise<unknown>): Promise<IrError> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(IrError)
  return error as IrError
}

describe('what a program gets', () => {
  it('has secrets on stdin only, a minimal environment, and neither our folder nor a shell', async () => {
    process.env.VAULT_TOKEN = 'canary-vault-token'
    try {
      await drive(world, { intent: 'revoke' })
    } finally {
      delete process.env.VAULT_TOKEN
    }
    const { requests } = world.read()
    expect(requests.map(({ operation }) => operation)).toContain('probe')
    for (const { env, argv, cwd } of requests) {
      expect(env.filter((name) => !['PATH', 'HOME', 'LANG', 'TZ'].includes(name))).toEqual([])
      expect(argv).toEqual([join(world.folder, 'world.json')])
      expect(cwd).not.toBe(process.cwd())
    }
    const { command } = world.target.credential
    const odd = { ...world.target.credential, command: [...command, '$(touch pwned); `id`'] }
    await programOf({ ...world.target, credential: odd }).discover()
    expect(world.read().requests.at(-1)?.argv[1]).toBe('$(touch pwned); `id`')
  })

  it('is one line of JSON, whatever the secret is', async () => {
    const target = scripted(`cat > ${world.folder}/request; echo '{"state":"dead"}'`)
    const secret = 'a"b\nc\0d\u2028é'
    await programOf(target).probe(secret)
    const text = readFileSync(join(world.folder, 'request'), 'utf8')
    expect(text.match(/\n/g)).toHaveLength(1)
    expect(JSON.parse(text)).toEqual({
      protocol: 'mcp-ir/exec/1',
      operation: 'probe',
      id: 'partner-key',
      server: 'io.acme/crm',
      case: '20261123-crm-0a1b',
      secret,
    })
  })
})

describe('what is made of its answer', () => {
  it.each([
    ['nothing', 'true', /answered nothing/],
    ['text', 'echo revoked canary-55', /not one JSON object/],
    ['two answers', `echo '{"state":"dead"}'; echo '{"state":"dead"}'`, /not one JSON object/],
    ['a list', `echo '[]'`, /not a JSON object/],
    ['no state', `echo '{"proof":"x"}'`, /no state/],
    ['a state that is none', `echo '{"state":"canary-55"}'`, /wrong: state/],
    ['an end that is no moment', `echo '{"state":"expires","until":"tomorrow"}'`, /wrong: until/],
    ['an end without a moment', `echo '{"state":"expires"}'`, /until/],
    ['an error without a code', `echo '{"error":"canary-55"}'`, /error has no code/],
    ['bytes that are no UTF-8', `printf '{"state":"dead","proof":"\\377"}'`, /UTF-8/],
    ['a good answer and a bad end', `echo '{"state":"dead"}'; exit 3`, /code 3/],
    ['a signal', `echo '{"state":"dead"}'; kill -TERM $$`, /SIGTERM/],
  ])('does not take %s for one', async (_, script, why) => {
    const error = await failing(programOf(scripted(script)).revoke(undefined, 'c1'))
    expect(error.message).toMatch(why)
    expect(error.message).not.toContain('canary')
    // It may have happened all the same.
    expect(error).toMatchObject({ code: 'unreachable', ambiguous: true })
  })

  it('takes what it does not know for nothing, and the error of a program that failed for its answer', async () => {
    expect(await programOf(scripted(`echo '{"state":"dead","more":1}'`)).revoke(undefined, 'c1')).toMatchObject({
      state: 'dead',
    })
    const script = `echo '{"error":{"code":"denied","message":"not on call"}}'; exit 1`
    const error = await failing(programOf(scripted(script)).revoke(undefined, 'c1'))
    expect(error).toMatchObject({ code: 'denied', ambiguous: false, message: expect.stringContaining('not on call') })
  })

  it('is not waited for longer than agreed, and all that it started ends with it', async () => {
    const target = scripted(`sleep 600 & echo $! > ${world.folder}/pid; sleep 600`)
    const error = await failing(programOf(target, { timeoutMs: 1500 }).revoke(undefined, 'c1'))
    expect(error.message).toMatch(/did not end within 1.5 s/)
    expect(await ended(Number(readFileSync(join(world.folder, 'pid'), 'utf8')))).toBe(true)
  })

  it('does not wait for what left its group and holds the pipes open', async () => {
    const target = scripted(`setsid sleep 5 & echo '{"state":"dead"}'`)
    expect(await programOf(target, { timeoutMs: 3000 }).revoke(undefined, 'c1')).toMatchObject({ state: 'dead' })
  })

  it('is bounded in size', async () => {
    const error = await failing(programOf(scripted('yes'), { maxOutput: 10_000 }).revoke(undefined, 'c1'))
    expect(error.message).toMatch(/more than 10000 bytes/)
  })

  it('is ended by an interruption, which leaves it open whether it happened', async () => {
    const stop = new AbortController()
    const target = scripted(`touch ${world.folder}/started; sleep 600`)
    const asked = failing(programOf(target, {}, stop.signal).revoke(undefined, 'c1'))
    while (!existsSync(join(world.folder, 'started'))) await sleep(20)
    stop.abort()
    expect(await asked).toMatchObject({ code: 'interrupted', ambiguous: true })
  })

  it('counts as not started where there is no such program', async () => {
    const credential = { ...world.target.credential, command: [join(world.folder, 'nowhere')] }
    const error = await failing(programOf({ ...world.target, credential }).revoke(undefined, 'c1'))
    expect(error).toMatchObject({ code: 'input', ambiguous: false })
  })

  it('shows what it wrote for people without secrets and without control characters', async () => {
    const target = scripted(
      `read -r line; printf 'oh \\033[31mno\\033[0m for %s: token tok_9f8e7d6c5b4a3921\\n' "$line" >&2; exit 9`,
    )
    const secret = 'correct horse "battery"\nstaple 1'
    const { hints } = await failing(programOf(target).probe(secret))
    const text = hints.join('\n')
    expect(text).toContain('oh \\u{1b}[31mno')
    for (const part of ['horse', 'staple', 'tok_9f8e7d6c5b4a3921', '\u001b']) expect(text).not.toContain(part)
  })

  it('shows nothing at all of what it wrote while it made a secret', async () => {
    const { message, hints } = await failing(
      programOf(scripted(`echo new-one >&2; echo '{"error":{"code":"failed","message":"made new-one"}}'`)).rotate('c1'),
    )
    expect(`${message} ${hints.join()}`).not.toContain('new-one')
    expect(hints.join()).toMatch(/8 bytes/)
  })
})

describe('before anything is started', () => {
  const problems = (target: CredentialTarget<Target['credential']>) => world.adapter.check(callFor(target, 'revoke'))

  it('refuses a program or a script that somebody else may write', async () => {
    const [, script = ''] = world.target.credential.command
    chmodSync(script, 0o722)
    expect(await problems(world.target)).toMatchObject([
      { kind: 'refused', message: expect.stringContaining('writable') },
    ])
    expect(world.read().requests).toEqual([])
  })

  it('refuses one in the folder of the suspect', async () => {
    const script = join(world.folder, 'crm', 'issuer.mjs')
    writeFileSync(script, '', { mode: 0o700 })
    const credential = { ...world.target.credential, command: [process.execPath, script] }
    expect(await problems({ ...world.target, credential })).toMatchObject([
      { kind: 'refused', message: expect.stringContaining("server's own folder") },
    ])
  })

  it('tells of one that is not there, is not executable, or is relative', async () => {
    const plain = join(world.folder, 'plain')
    writeFileSync(plain, '', { mode: 0o600 })
    mkdirSync(join(world.folder, 'bin'))
    for (const [program, why] of [
      [join(world.folder, 'nowhere'), /is not there/],
      [plain, /cannot be run/],
      ['bin/issuer', /relative/],
    ] as const) {
      const credential = { ...world.target.credential, command: [program] }
      expect(await problems({ ...world.target, credential })).toMatchObject([
        { kind: 'input', message: expect.stringMatching(why) },
      ])
    }
  })

  it('tells of a rotation that has no place to go to', async () => {
    const found = await world.adapter.check(callFor({ ...world.target, deliverTo: undefined }, 'rotate'))
    expect(found).toMatchObject([{ kind: 'input', hint: expect.stringContaining('deliverTo') }])
  })
})

describe('several secrets', () => {
  it('are revoked one by one, and each has to be dead', async () => {
    world.change(({ secrets }) => secrets.push({ ref: 'key-2', secret: 'pk-other-1234' }))
    const { journal, state } = await drive(world, { intent: 'revoke' })
    expect(journal.planned?.map(({ params }) => params)).toMatchObject([{ ref: 'key-1' }, { ref: 'key-2' }])
    expect(state).toMatchObject({ state: 'dead', proof: 'probed' })
    expect(world.read().secrets.map(({ dead }) => dead)).toEqual([true, true])
  })

  it('are alive as long as one of them is', async () => {
    world.change(({ secrets }) => secrets.push({ ref: 'key-2', secret: 'pk-other-1234' }))
    world.change(({ secrets }) => {
      if (secrets[0] !== undefined) secrets[0].dead = true
    })
    const verdict = await world.adapter.verify(callFor(world.target, 'revoke'))
    expect(verdict).toMatchObject({ state: 'failed', output: { state: 'alive', proof: 'issuer says so' } })
    expect(verdict.observed.map(({ seen }) => seen).join()).toContain('key-2 alive')
  })
})

describe('a program that can do less', () => {
  it('is believed to the word when it cannot probe', async () => {
    world.change((issuer) => {
      issuer.without = ['probe']
    })
    const { verdict, state } = await drive(world, { intent: 'revoke' })
    expect(verdict.state).toBe('verified')
    expect(state).toMatchObject({ state: 'dead', proof: 'issuer says so' })
  })

  it('is not believed when it can neither discover nor probe', async () => {
    world.change((issuer) => {
      issuer.without = ['discover', 'probe']
    })
    const { verdict, state } = await drive(world, { intent: 'revoke' })
    expect(await world.oldWorks()).toBe(false)
    expect(verdict.state).toBe('residual')
    expect(state.state).toBe('unknown')
  })

  it('proves by trying alone what was seen to live before, and nothing else', async () => {
    world.change((issuer) => {
      issuer.without = ['discover']
    })
    expect((await drive(world, { intent: 'revoke' })).state).toMatchObject({ state: 'dead', proof: 'probed' })
    const planted = { ...world.target, held: async () => [{ secret: 'planted', where: 'the environment of dev' }] }
    const { state } = await drive({ ...world, target: planted }, { intent: 'revoke' })
    expect(state.state).toBe('unknown')
  })

  it('cannot be talked into dead by a planted secret', async () => {
    const planted = { ...world.target, held: async () => [{ secret: 'planted', where: 'the environment of dev' }] }
    world.fault('revoke', 'denied')
    const { verdict, state } = await drive({ ...world, target: planted }, { intent: 'revoke' })
    expect(verdict.state).toBe('failed')
    expect(state.state).toBe('alive')
  })

  it('says until when the old one is taken', async () => {
    const until = '2027-01-01T00:00:00Z'
    const target = scripted(`echo '{"state":"expires","until":"${until}","ref":"key-1"}'`)
    const verdict = await execCredentials(settings).verify(callFor({ ...target, held: async () => [] }, 'revoke'))
    expect(verdict).toMatchObject({ state: 'residual', output: { state: 'expires', until } })
  })
})

describe('rotation', () => {
  it('takes back what cannot be delivered, and issues another', async () => {
    await drive(world, { intent: 'revoke' })
    // A dotenv file cannot carry it.
    world.change((issuer) => {
      issuer.next = ['two\nlines']
    })
    const { journal, verdict } = await drive(world, { intent: 'rotate' })
    expect(journal.failed).toHaveLength(1)
    expect(everything(journal, verdict)).not.toContain('two\nlines')
    expect(verdict.state).toBe('failed')
    expect(await world.liveNew()).toBe(0)
    await drive(world, { intent: 'rotate', journal })
    expect(await world.deliveredWorks()).toBe(true)
    expect(await world.liveNew()).toBe(1)
  })

  it('refuses the old secret as a new one', async () => {
    await drive(world, { intent: 'revoke' })
    world.change((issuer) => {
      issuer.next = [world.oldSecret]
    })
    const { journal } = await drive(world, { intent: 'rotate' })
    expect(journal.failed.map(({ error }) => (error as IrError).message).join()).toMatch(/old secret again/)
    expect(existsSync(world.destination)).toBe(false)
  })

  it('asks for nothing where it could not be delivered', async () => {
    await drive(world, { intent: 'revoke' })
    const target: Target = {
      ...world.target,
      deliverTo: { kind: 'file', path: join(world.folder, 'nowhere', 'next.env') },
    }
    const { journal } = await drive({ ...world, target }, { intent: 'rotate' })
    expect(journal.failed).toHaveLength(1)
    expect(world.read().requests.filter(({ operation }) => operation === 'rotate')).toEqual([])
  })

  it('leaves nothing beside the destination', async () => {
    await drive(world, { intent: 'revoke' })
    await drive(world, { intent: 'rotate' })
    expect(parseEnv(readFileSync(world.destination, 'utf8')).PARTNER_KEY).toMatch(/^pk-/)
    expect(readdirSync(world.folder).filter((name) => name.startsWith('.'))).toEqual([])
  })
})

/** Gone, or about to be: a zombie that nobody has waited for yet. */
async function ended(pid: number): Promise<boolean> {
  for (let tried = 0; tried < 100; tried++) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      if (stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z')) return true
    } catch {
      return true
    }
    await sleep(20)
  }
  return false
}
