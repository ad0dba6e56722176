import { type LogFormat, refusalWords, takingMethods } from './format.ts'

/**
 * Elastic Common Schema with its `gen_ai` fields (elastic/ecs, schemas/gen_ai.yml, beta). It has no fields of MCP's own: no session,
 * and none for the server either, so that a shipper puts its name into one of those that name a target. Every line that names a
 * tool is a call; durations are nanoseconds.
 */
export const ecs: LogFormat = {
  name: 'ecs',
  takes: { fields: ['event.action'], ...takingMethods },
  fields: {
    id: ['event.id', 'span.id', 'gen_ai.tool.call.id'],
    time: ['event.start', '@timestamp'],
    server: [
      'service.target.name',
      'server.domain',
      'server.address',
      'destination.domain',
      'destination.address',
      'service.name',
    ],
    tool: ['gen_ai.tool.name'],
    agent: ['gen_ai.agent.name', 'gen_ai.agent.id'],
    user: ['user.name', 'user.email', 'user.id'],
    trace: ['trace.id'],
    address: ['source.ip', 'client.ip', 'source.address', 'client.address'],
    outcome: ['event.outcome'],
    durationMs: ['event.duration'],
    params: ['gen_ai.tool.call.arguments'],
    response: ['gen_ai.tool.call.result'],
  },
  end: ['event.end'],
  durationPerMs: 1_000_000,
  refusals: [{ fields: ['error.code', 'error.type', 'http.response.status_code'], values: refusalWords }],
  otherwise: 'unknown',
  idWithin: ['time', 'trace', 'tool'],
  notes: ['ECS has no session of MCP: what one agent did is put together by traces, else by user and client.'],
}
