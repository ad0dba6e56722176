import { randomBytes } from 'node:crypto'
import { appendFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { body, json, listen } from '../http.ts'
import { invocationLine } from '../invocation-line.ts'
import { worker } from '../worker.ts'

export interface GatewaySettings {
  readonly upstream: string
  readonly server: string
  readonly log: string
  /** API key of each agent to its name. */
  readonly agents: Readonly<Record<string, string>>
}

/** What was called, and what the server said of its tools. */
const logged: readonly string[] = ['initialize', 'tools/list', 'tools/call']

interface Message {
  readonly id?: string | number
  readonly method?: string
  readonly params?: {
    readonly name?: string
    readonly arguments?: unknown
    readonly _meta?: { readonly traceparent?: string }
  }
}

/**
 * What stands between the agents and the server: knows the agents by their key, forwards, and writes the invocation log.
 * So the log is no word of the suspect about itself.
 */
worker(async (settings: GatewaySettings) => {
  const origin = await listen(async (request, response) => {
    const agent = settings.agents[/^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? '']
    if (agent === undefined) return json(response, 401, { error: 'unknown agent' })
    // The server pushes nothing: no stream is offered (the specification's answer for that).
    if (request.method === 'GET') return void response.writeHead(405, { allow: 'POST, DELETE' }).end()
    const sent = await body(request)
    const message: Message = sent === '' ? {} : JSON.parse(sent)
    const startedAt = new Date()
    const answer = await forward(request, sent)
    if (logged.includes(message.method ?? '')) record(request, message, agent, startedAt, answer)
    response.writeHead(answer.status, answer.headers).end(answer.text)
  })
  return { url: `${origin}/mcp` }

  async function forward(request: IncomingMessage, sent: string): Promise<Answer> {
    const headers: Record<string, string> = {}
    for (const name of ['content-type', 'accept', 'mcp-session-id', 'mcp-protocol-version']) {
      const value = request.headers[name]
      if (typeof value === 'string') headers[name] = value
    }
    try {
      const response = await fetch(settings.upstream, {
        method: request.method ?? 'POST',
        headers,
        ...(sent === '' ? {} : { body: sent }),
        signal: AbortSignal.timeout(1000),
      })
      const back: Record<string, string> = {}
      for (const name of ['content-type', 'mcp-session-id']) {
        const value = response.headers.get(name)
        if (value !== null) back[name] = value
      }
      return { status: response.status, headers: back, text: await response.text() }
    } catch (error) {
      const timeout = error instanceof Error && error.name === 'TimeoutError'
      return { status: timeout ? 504 : 502, headers: {}, text: '', error: timeout ? 'timeout' : 'connection_error' }
    }
  }

  function record(request: IncomingMessage, message: Message, agent: string, startedAt: Date, answer: Answer): void {
    const result = resultOf(answer)
    const traceparent = /^00-([0-9a-f]{32})-([0-9a-f]{16})-/.exec(message.params?._meta?.traceparent ?? '')
    appendFileSync(
      settings.log,
      invocationLine({
        startedAt,
        durationMs: Date.now() - startedAt.getTime(),
        method: message.method ?? '',
        server: settings.server,
        tool: message.params?.name,
        agent,
        user: header(request, 'x-on-behalf-of') ?? 'unknown',
        session: header(request, 'mcp-session-id') ?? answer.headers['mcp-session-id'],
        requestId: String(message.id),
        address: request.socket.remoteAddress ?? 'unknown',
        trace: traceparent?.[1] ?? randomBytes(16).toString('hex'),
        span: traceparent?.[2] ?? randomBytes(8).toString('hex'),
        args: message.params?.arguments,
        result: result.value,
        error: result.error,
      }),
    )
  }
})

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
  readonly error?: string
}

function resultOf(answer: Answer): { value?: unknown; error?: string } {
  if (answer.error !== undefined) return { error: answer.error }
  if (answer.status !== 200) return { error: String(answer.status) }
  const parsed = JSON.parse(answer.text) as { result?: { isError?: boolean }; error?: { code: number } }
  if (parsed.error !== undefined) return { error: String(parsed.error.code) }
  return { value: parsed.result, ...(parsed.result?.isError === true ? { error: 'tool_error' } : {}) }
}

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name]
  return typeof value === 'string' ? value : undefined
}
