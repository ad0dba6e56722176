import type { LogFormat } from './format.ts'

/**
 * Audit events of Docker's mcp-gateway (docker/mcp-gateway, pkg/policy/audit.go), one a line. The gateway writes down what its
 * policy decided before a call; nothing is known of the call itself. `load` is the gateway's own start, not a client's list.
 */
export const dockerGateway: LogFormat = {
  name: 'docker-gateway',
  calls: { fields: ['trigger'], values: ['invoke'] },
  takes: { fields: ['trigger'], values: ['prompt'], lists: [] },
  fields: {
    time: ['timestamp'],
    server: ['server_name'],
    tool: ['tool_name'],
    agent: ['client_name'],
    user: ['actor_name', 'actor_id'],
    session: ['session_id'],
    trace: ['trace_id'],
  },
  failures: [{ fields: ['result'], values: ['denied'] }],
  refusals: [{ fields: ['result'], values: ['denied'] }],
  otherwise: 'unknown',
  notes: [
    "Docker's gateway logs what its policy decided before a call, not what became of it: a call that was allowed may have failed.",
    "Docker's gateway queues 100 audit events and drops what is more: calls may be missing without a trace.",
  ],
}
