import type { LogFormat } from './format.ts'

/**
 * ContextForge (IBM/mcp-context-forge), exported from its database as one JSON object a row: `observability_spans` with the name
 * `tool.invoke`, or `audit_trails` with the action EXECUTE. Both name the server by the id that ContextForge gave its gateway.
 */
export const contextForge: LogFormat = {
  name: 'context-forge',
  calls: { fields: ['action', 'name'], values: ['EXECUTE', 'tool.invoke'] },
  fields: {
    id: ['span_id', 'id'],
    time: ['start_time', 'timestamp'],
    server: ['attributes.tool.gateway_id', 'context.gateway_id', 'context.server_id'],
    tool: ['resource_name', 'attributes.tool.name'],
    agent: ['user_agent'],
    user: ['user_email', 'user_id'],
    trace: ['trace_id', 'correlation_id'],
    address: ['client_ip'],
    outcome: ['success', 'status'],
    durationMs: ['duration_ms'],
  },
  end: ['end_time'],
  otherwise: 'unknown',
  notes: [
    'ContextForge names servers by the id of their gateway: put that id among the aliases in the registry.',
    'Spans of ContextForge do not say who called; its audit trail does, but not for how long.',
  ],
}
