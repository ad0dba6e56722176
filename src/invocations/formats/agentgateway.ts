import { type LogFormat, takingMethods } from './format.ts'

/**
 * The request log of agentgateway as JSON (`logging: {format: json}`), or its spans. A line is written when the request is done; its
 * duration is a text with a unit and is not read. `mcp.target` is the name of the target in the gateway's configuration.
 */
export const agentgateway: LogFormat = {
  name: 'agentgateway',
  calls: { fields: ['mcp.method.name'], values: ['tools/call'] },
  takes: { fields: ['mcp.method.name'], ...takingMethods },
  timeIsEnd: true,
  fields: {
    id: ['span.id'],
    time: ['time', 'timestamp'],
    server: ['mcp.target'],
    tool: ['gen_ai.tool.name'],
    user: ['jwt.sub', 'src.identity'],
    session: ['mcp.session.id'],
    trace: ['trace.id'],
    address: ['client.address', 'src.addr'],
  },
  failures: [
    { fields: ['mcp.error.code'], values: 'any' },
    { fields: ['error'], values: 'any' },
    {
      fields: ['http.status', 'http.response.status_code'],
      values: ['400', '401', '403', '404', '405', '406', '408', '409', '413', '422', '429', '500', '502', '503', '504'],
    },
  ],
  refusals: [{ fields: ['http.status', 'http.response.status_code'], values: ['401', '403'] }],
  otherwise: 'success',
  idWithin: ['time', 'session', 'trace', 'tool'],
  notes: [
    'agentgateway logs a request when it is done: its times are ends, not starts.',
    'agentgateway counts a tool that answered with an error as a success, unless it set mcp.error.code.',
  ],
}
