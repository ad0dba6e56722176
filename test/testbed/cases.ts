import type { Events } from '../../src/case/events.ts'
import type { Server } from '../../src/registry/port.ts'

/** A clock that ticks a second whenever it is read, from 02:00 on. */
export function clock(by = 'alice@laptop') {
  let ticks = 0
  return { by, now: () => new Date(Date.parse('2026-11-23T02:00:00.000Z') + 1000 * ticks++) }
}

export function server(over: Partial<Server> = {}): Server {
  return {
    name: 'io.example/crm',
    aliases: [],
    version: '1.4.0',
    status: 'approved',
    owner: 'crm-team',
    criticality: 'normal',
    package: { registryType: 'npm', identifier: '@example/crm', version: '1.4.0' },
    capabilities: [],
    deployments: [{ id: 'prod', kind: 'local-process', pidFile: '/nonexistent/crm.pid' }],
    clients: [],
    credentials: [],
    reaches: [],
    resources: [],
    consumers: [],
    ...over,
  }
}

export function opened(over: Partial<Events['case.opened']> = {}): Events['case.opened'] {
  return {
    case: '20261123-io-example-crm-4f2a',
    server: server(),
    local: false,
    tool: 'mcp-ir 0.0.0',
    host: 'laptop',
    identities: [],
    since: '2026-11-16T02:00:00.000Z',
    sinceFrom: 'default',
    clocks: [],
    ...over,
  }
}
