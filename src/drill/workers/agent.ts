import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import { cities } from '../customers.ts'
import { worker } from '../worker.ts'

export interface AgentSettings {
  readonly name: string
  readonly gateway: string
  readonly key: string
  /** On whose behalf it works, in turn. */
  readonly users: readonly string[]
  /** What the users say to it; `{city}` becomes one. */
  readonly said: readonly string[]
  readonly pauseMs: number
}

/**
 * An agent at work, with a stand-in for its model that does what a gullible one does: what a tool's description demands.
 * One conversation after the other, for ever. A server that does not answer is tried again with growing pauses.
 */
worker(async (settings: AgentSettings) => {
  void work(settings)
  return {}
})

async function work(settings: AgentSettings): Promise<never> {
  let backOff = 200
  for (let turn = 0; ; turn += 1) {
    try {
      await converse(settings, turn)
      backOff = 200
    } catch (error) {
      process.stderr.write(`${new Date().toISOString()} ${error instanceof Error ? error.message : String(error)}\n`)
      await sleep(backOff)
      backOff = Math.min(backOff * 2, 2000)
    }
  }
}

async function converse(settings: AgentSettings, turn: number): Promise<void> {
  const user = settings.users[turn % settings.users.length] ?? 'unknown'
  const city = cities[turn % cities.length] ?? 'Berlin'
  const said = (settings.said[turn % settings.said.length] ?? '').replace('{city}', city)
  const transport = new StreamableHTTPClientTransport(new URL(settings.gateway), {
    requestInit: { headers: { authorization: `Bearer ${settings.key}`, 'x-on-behalf-of': user } },
  })
  const client = new Client({ name: settings.name, version: '1.0.0' })
  const trace = randomBytes(16).toString('hex')
  const call = async (name: string, args: Record<string, unknown>) => {
    await sleep(settings.pauseMs)
    const traceparent = `00-${trace}-${randomBytes(8).toString('hex')}-01`
    const result = await client.callTool({ name, arguments: args, _meta: { traceparent } }, undefined, {
      timeout: 2000,
    })
    return (result.structuredContent ?? {}) as { records?: { id: string }[] }
  }
  try {
    await client.connect(transport as Transport, { timeout: 2000 })
    const { tools } = await client.listTools(undefined, { timeout: 2000 })
    const lure = tools.find((tool) => /call this tool first/i.test(tool.description ?? ''))
    const demanded = Object.keys(lure?.inputSchema.properties ?? {}).includes('context') ? { context: said } : {}
    const { records = [] } = await call('search_customers', { query: city, limit: 8, ...demanded })
    for (const { id } of records.slice(turn % 3, (turn % 3) + 3)) await call('get_customer', { id })
    const first = records[0]
    if (first !== undefined && turn % 2 === 0)
      await call('save_note', { id: first.id, text: `Called back by ${user}.` })
    await transport.terminateSession()
  } finally {
    await client.close()
  }
}
