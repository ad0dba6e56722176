// A company's own program, as docs/credentials.md describes it: it issues and revokes the secrets in the JSON file that its
// argument names, which is all of its world. A test puts the faults there that it is to have.
import { randomBytes } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'

const [, , file] = process.argv
const world = JSON.parse(readFileSync(file, 'utf8'))
const request = JSON.parse(readFileSync(0, 'utf8'))
const { operation, changeId, ref, secret } = request
const { prefix = 'pk', without = [] } = world

world.requests.push({
  operation,
  changeId,
  ref,
  env: Object.keys(process.env),
  argv: process.argv.slice(2),
  cwd: process.cwd(),
})
const fault = world.faults.find((one) => one.operation === operation && one.times > 0)
if (fault !== undefined) fault.times--
save()

const errors = { throttled: 'unavailable', '5xx': 'failed', denied: 'denied' }
if (without.includes(operation)) answer({ error: { code: 'unsupported' } })
else if (fault?.kind === 'reset-before') process.exit(1)
else if (errors[fault?.kind]) {
  // As programs do: with far too much in it.
  const said = `${errors[fault.kind]}: ${world.secrets.map((one) => one.secret).join(' ')} ${world.master} ${secret ?? ''}`
  process.stderr.write(`${said}\n`)
  answer({ error: { code: errors[fault.kind], message: said } }, 1)
} else {
  const done = { discover, revoke, rotate, probe }[operation]()
  if (fault?.kind === 'lost') process.kill(process.pid, 'SIGKILL')
  else if (fault?.kind === 'reset-after') process.stdout.write(JSON.stringify(done).slice(0, -3))
  else answer(done)
}

function discover() {
  const secrets = world.secrets.filter(({ dead }) => !dead)
  return secrets.length === 0
    ? { state: 'dead' }
    : { secrets: secrets.map((one) => ({ state: 'alive', ref: one.ref, proof: 'it is in the table' })) }
}

function revoke() {
  for (const one of world.secrets) if (ref === undefined || one.ref === ref) one.dead = true
  save()
  return { state: 'dead' }
}

function rotate() {
  // The same change again: the same secret, or, where it was revoked meanwhile, another one.
  let issued = world.secrets.find((one) => one.changeId === changeId && !one.dead)
  if (issued === undefined) {
    const value = world.next?.shift() ?? `${prefix}-${randomBytes(16).toString('hex')}`
    issued = { ref: `key-${world.secrets.length + 1}`, secret: value, changeId }
    world.secrets.push(issued)
    save()
  }
  return { secret: issued.secret, ref: issued.ref, state: 'alive' }
}

function probe() {
  const alive = world.secrets.some((one) => one.secret === secret && !one.dead)
  return { state: alive ? 'alive' : 'dead', proof: `tried ${secret}` }
}

function answer(value, code = 0) {
  process.exitCode = code
  process.stdout.write(`${JSON.stringify(value)}\n`)
}

function save() {
  writeFileSync(`${file}.new`, JSON.stringify(world))
  renameSync(`${file}.new`, file)
}
