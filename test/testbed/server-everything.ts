import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { answersMcp } from '../../src/mcp/probe.ts'

const program = fileURLToPath(
  new URL('../../node_modules/@modelcontextprotocol/server-everything/dist/index.js', import.meta.url),
)

export interface RunningServer {
  readonly url: string
  readonly port: number
  readonly pid: number
  /** Its own temporary folder: working folder, pid file and log. */
  readonly folder: string
  readonly pidFile: string
  readonly stop: () => Promise<void>
}

/** A real MCP server that is not ours, over streamable HTTP on a free loopback port, in a session of its own. */
export async function startServerEverything(): Promise<RunningServer> {
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-everything-'))
  const port = await freePort()
  const log = await open(join(folder, 'server.log'), 'a')
  const child = spawn(process.execPath, [program, 'streamableHttp'], {
    cwd: folder,
    detached: true,
    stdio: ['ignore', log.fd, log.fd],
    env: { PATH: process.env.PATH, PORT: `${port}` },
  })
  // Listened for at once: the event does not wait for us.
  await once(child, 'spawn')
  await log.close()
  const pid = child.pid as number
  const pidFile = join(folder, 'server.pid')
  await writeFile(pidFile, `${pid}\n`)
  const ended = once(child, 'exit')
  child.unref()
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      process.kill(-pid, 'SIGKILL')
      await ended
    }
    await rm(folder, { recursive: true, force: true })
  }
  const url = `http://127.0.0.1:${port}/mcp`
  try {
    await untilAnswers(url)
  } catch (error) {
    await stop()
    throw error
  }
  return { url, port, pid, folder, pidFile, stop }
}

/** @throws Error when nothing answers for too long */
export async function untilAnswers(url: string): Promise<void> {
  for (let tried = 0; tried < 200; tried++) {
    const { answers } = await answersMcp(url, { timeoutMs: 1000, signal: new AbortController().signal })
    if (answers) return
    await sleep(100)
  }
  throw new Error(`${url} does not answer`)
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new TypeError('no port')
  server.close()
  await once(server, 'close')
  return address.port
}
