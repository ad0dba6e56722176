import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type McpServerSource, mcpServerBundle } from './mcp-server-bundle.ts'
import { freePort, untilAnswers } from './server-everything.ts'

export interface McpServer {
  readonly url: string
  readonly stop: () => Promise<void>
}

/** A real MCP server on loopback: what answers at the url of a deployment whose instances are emulated. */
export async function startMcpServer(source: McpServerSource = {}, port?: number): Promise<McpServer> {
  const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-mcp-'))
  const file = join(folder, 'server.mjs')
  await writeFile(file, await mcpServerBundle(source))
  const listens = port ?? (await freePort())
  const child: ChildProcess = spawn(process.execPath, [file], {
    stdio: 'ignore',
    env: { PATH: process.env.PATH, HOST: '127.0.0.1', PORT: `${listens}` },
  })
  const url = `http://127.0.0.1:${listens}/mcp`
  await untilAnswers(url)
  const stop = async (): Promise<void> => {
    const ended = once(child, 'exit')
    if (child.exitCode === null && child.kill('SIGKILL')) await ended
    await rm(folder, { recursive: true, force: true })
  }
  return { url, stop }
}
