#!/usr/bin/env node
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import module from 'node:module'
import { fileURLToPath } from 'node:url'

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)

if (major > 22 || (major === 22 && minor >= 22)) {
  module.enableCompileCache?.()
  if (process.env.MCP_IR_PARENT !== undefined) {
    // Started by the older Node below: never outlive it, whatever ended it.
    delete process.env.MCP_IR_PARENT
    process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
    process.channel?.unref()
  }
  const { main } = await import('../dist/main.js')
  await main(process.argv.slice(2), import.meta.url)
} else {
  // A checkout brings a Node that is new enough; an installed package does not.
  const bundled = fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url))
  if (!existsSync(bundled)) {
    console.error(`mcp-ir needs Node.js 22.22.2 or newer; this is ${process.versions.node}.`)
    process.exit(2)
  }
  const child = spawn(bundled, process.argv.slice(1), {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, MCP_IR_PARENT: '1' },
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    // On a terminal Ctrl-C reaches both by itself.
    process.on(signal, () => (signal === 'SIGINT' && process.stdin.isTTY ? undefined : child.kill(signal)))
  }
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code)
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
  })
}
