// A company's own pipeline, as docs/redeploy.md describes one. `pipeline.mjs FOLDER`: its state and the server that it deploys are in there.
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const folder = process.argv[2]
const stateFile = join(folder, 'state.json')
const state = existsSync(stateFile) ? JSON.parse(readFileSync(stateFile, 'utf8')) : { deployed: {}, asked: [] }
// What a test wants it to do wrong, once for each line: `lost deploy`, `other`, `denied status` …
const modeFile = join(folder, 'mode')
const mode = existsSync(modeFile) ? readFileSync(modeFile, 'utf8').trim() : ''

const request = JSON.parse(readFileSync(0, 'utf8'))
const { operation, changeId, artifact, url } = request
state.asked.push(request)

function alive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

function seen() {
  const mine = state.deployed[changeId]
  const compromised = mode === 'compromised' ? [artifact.sha256] : []
  if (mine === undefined) return { state: 'absent', compromised }
  if (!alive(mine.pid)) return { state: 'failed', proof: 'its process has ended' }
  if (mine.starting > 0) {
    mine.starting -= 1
    return { state: 'starting', proof: `waiting, ${mine.starting} left` }
  }
  const sha256 = mode === 'other' ? 'f'.repeat(64) : mine.sha256
  return { state: 'running', sha256, ref: `pid-${mine.pid}`, compromised }
}

function answer(what) {
  writeFileSync(stateFile, JSON.stringify(state))
  process.stdout.write(JSON.stringify(what))
  process.exit(0)
}

process.stderr.write('token=abc123def456ghi789\n')
if (mode === `denied ${operation}`) answer({ error: { code: 'denied', message: 'no right to do this' } })
if (mode === `garbage ${operation}`) {
  process.stdout.write('{"state":')
  process.exit(0)
}
if (operation === 'deploy' && state.deployed[changeId] === undefined) {
  const { hostname, port } = new URL(url)
  const child = spawn(process.execPath, [join(folder, 'server.mjs')], {
    detached: true,
    stdio: 'ignore',
    env: { PATH: process.env.PATH, HOST: hostname, PORT: port },
  })
  child.unref()
  state.deployed[changeId] = { pid: child.pid, sha256: artifact.sha256, starting: mode === 'slow' ? 2 : 0 }
  state.started = (state.started ?? 0) + 1
}
if (operation === 'remove' && state.deployed[changeId] !== undefined) {
  const { pid } = state.deployed[changeId]
  if (alive(pid)) process.kill(pid, 'SIGKILL')
  delete state.deployed[changeId]
}
if (mode === `lost ${operation}`) {
  writeFileSync(stateFile, JSON.stringify(state))
  process.exit(3)
}
answer(seen())
