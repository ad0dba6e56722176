import { type LogFormat, refusalWords, takingMethods } from './format.ts'

/** An attribute of a span or log record: flat on the line, or under `attributes`. */
const attribute = (name: string) => [name, `attributes.${name}`]
const resource = (name: string) => [`resource.${name}`, `resource.attributes.${name}`]

/**
 * OpenTelemetry semantic conventions for MCP (semantic-conventions-genai, `docs/gen-ai/mcp.md`, status Development), one span
 * or log record a line: attributes flat, nested or under `attributes`. Arguments and results are opt-in there.
 */
export const otel: LogFormat = {
  name: 'otel',
  calls: { fields: attribute('mcp.method.name'), values: ['tools/call'] },
  takes: { fields: attribute('mcp.method.name'), ...takingMethods },
  fields: {
    // A JSON-RPC id counts per session, and a span's log records share its span id: so not by themselves.
    id: ['span_id', 'spanId', 'span.id', ...attribute('jsonrpc.request.id')],
    time: [
      'startTimeUnixNano',
      'start_time_unix_nano',
      'start_time',
      'timeUnixNano',
      'time_unix_nano',
      'timestamp',
      '@timestamp',
      'time',
    ],
    server: [
      ...attribute('mcp.server.name'),
      ...attribute('server.address'),
      ...resource('service.name'),
      ...attribute('service.name'),
    ],
    tool: attribute('gen_ai.tool.name'),
    agent: [...attribute('gen_ai.agent.name'), ...attribute('gen_ai.agent.id'), ...attribute('mcp.client.name')],
    user: [...attribute('user.name'), ...attribute('enduser.id'), ...attribute('user.id')],
    session: attribute('mcp.session.id'),
    trace: ['trace_id', 'traceId', 'trace.id'],
    address: attribute('client.address'),
    durationMs: ['duration_ms', 'durationMs', 'attributes.duration_ms'],
    params: attribute('gen_ai.tool.call.arguments'),
    response: attribute('gen_ai.tool.call.result'),
  },
  end: ['endTimeUnixNano', 'end_time_unix_nano', 'end_time'],
  failures: [
    { fields: attribute('error.type'), values: 'any' },
    { of: 'result', fields: ['isError'], values: 'any' },
    // Where the result is flattened into attributes.
    { fields: attribute('gen_ai.tool.call.result.isError'), values: 'any', flat: true },
    { fields: ['status.code', 'status.status_code'], values: ['2', 'ERROR', 'Error', 'STATUS_CODE_ERROR'] },
  ],
  refusals: [
    {
      fields: [
        ...attribute('error.type'),
        ...attribute('rpc.response.status_code'),
        ...attribute('http.response.status_code'),
      ],
      values: refusalWords,
    },
  ],
  otherwise: 'success',
  idWithin: ['time', 'session', 'trace', 'tool'],
}
