/** One request as the company's gateway saw it. */
export interface SeenCall {
  readonly startedAt: Date
  readonly durationMs: number
  /** `tools/call`, `tools/list` … */
  readonly method: string
  readonly server: string
  /** Of a call. */
  readonly tool?: string | undefined
  readonly agent: string
  readonly user: string
  readonly session: string | undefined
  readonly requestId: string
  readonly address: string
  /** 32 and 16 hex digits. */
  readonly trace: string
  readonly span: string
  readonly args?: unknown
  readonly result: unknown
  /** `tool_error`, `timeout`, an HTTP status …; undefined when it succeeded. */
  readonly error?: string | undefined
}

/** A line of the invocation log: flat NDJSON with the field names of OpenTelemetry's semantic conventions for MCP. */
export function invocationLine(call: SeenCall): string {
  const line = {
    timestamp: call.startedAt.toISOString(),
    duration_ms: call.durationMs,
    'mcp.method.name': call.method,
    'gen_ai.operation.name': call.tool === undefined ? undefined : 'execute_tool',
    'gen_ai.tool.name': call.tool,
    'mcp.server.name': call.server,
    'mcp.session.id': call.session,
    'jsonrpc.request.id': call.requestId,
    'gen_ai.agent.name': call.agent,
    'user.name': call.user,
    'client.address': call.address,
    trace_id: call.trace,
    span_id: call.span,
    'gen_ai.tool.call.arguments': call.args,
    'gen_ai.tool.call.result': call.result,
    'error.type': call.error,
  }
  return `${JSON.stringify(line)}\n`
}
