import type { LogFormat } from './format.ts'

/**
 * ToolHive's audit log (pkg/audit). `component` is the name of the MCP server that was called. `data` is off by default, and
 * then neither parameters nor responses are there. `logged_at` is written when the call has ended.
 */
export const toolhive: LogFormat = {
  name: 'toolhive',
  calls: { fields: ['type'], values: ['mcp_tool_call'] },
  takes: {
    fields: ['type'],
    values: [
      'mcp_initialize',
      'mcp_tools_list',
      'mcp_prompts_list',
      'mcp_prompt_get',
      'mcp_resources_list',
      'mcp_resource_read',
    ],
    lists: ['mcp_tools_list'],
  },
  timeIsEnd: true,
  fields: {
    id: ['audit_id', 'auditId', 'metadata.audit_id', 'metadata.auditId'],
    time: ['logged_at', 'loggedAt', 'time'],
    server: ['component'],
    tool: ['target.name'],
    agent: ['subjects.client_name'],
    user: ['subjects.user', 'subjects.user_id'],
    address: ['source.value'],
    outcome: ['outcome'],
    durationMs: ['metadata.extra.duration_ms'],
    params: ['data.request'],
    response: ['data.response'],
    bytes: ['metadata.extra.response_size_bytes'],
  },
  refusals: [{ fields: ['outcome'], values: ['denied'] }],
  otherwise: 'unknown',
  notes: ['ToolHive logs a call when it has ended: its times are ends, not starts.'],
}
