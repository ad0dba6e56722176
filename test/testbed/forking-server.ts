import { type ChildProcess, spawn } from 'node:child_process'
import { appendFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'

/**
 * A server that is hard to stop, started in a folder of its own. It answers HTTP, and every process of its tree appends to
 * a file in that folder while it runs, so that an onlooker sees who is at work:
 * child (plain), detached (a session of its own) with a child that it leaves behind in it, and forker (starts short-lived
 * programs without end). With `walker` a chain of processes, each of which starts the next and ends at once; with `leaver` one that
 * keeps starting others in sessions of their own.
 * Writes `ready` with its port once all of it runs.
 */
const [role = 'root', ...options] = process.argv.slice(2)
const self = fileURLToPath(import.meta.url)

const start = (next: string, detached = false): ChildProcess => {
  const child = spawn(process.execPath, [self, next], { stdio: 'ignore', detached })
  child.unref()
  return child
}
const beat = (): void => appendFileSync(`beat-${role}`, '.')

if (role === 'root') {
  const server = createServer((_, response) => response.end('{}'))
  server.listen(0, '127.0.0.1', () => {
    start('child')
    start('detached', true)
    start('forker')
    if (options.includes('walker')) {
      // Each is a shell of its own: nested calls in one end at its recursion limit.
      writeFileSync('walk.sh', 'echo . >> beat-walker; sh ./walk.sh &\n')
      spawn('sh', ['./walk.sh'], { stdio: 'ignore' }).unref()
    }
    if (options.includes('leaver')) start('leaver')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new TypeError('no port')
    writeFileSync('ready', `${address.port}`)
  })
}
if (role === 'detached') start('left-behind')
if (role === 'leaver') {
  const alive = 'for i in 1 2 3 4 5 6 7 8; do echo . >> beat-left; sleep 0.03; done'
  setInterval(() => spawn('sh', ['-c', alive], { stdio: 'ignore', detached: true }).unref(), 4)
}
if (role === 'forker') {
  const fork = (): void => {
    spawn('sh', ['-c', 'echo . >> beat-forked'], { stdio: 'ignore' }).on('exit', () => setTimeout(fork, 5))
  }
  fork()
  fork()
}
setInterval(beat, 20)
beat()
