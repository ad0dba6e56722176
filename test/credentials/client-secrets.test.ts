import { describe, expect, it } from 'vitest'
import { clientSecrets } from '../../src/credentials/client-secrets.ts'
import type { Server } from '../../src/registry/port.ts'

const server = {
  name: 'io.acme/crm',
  credentials: [{ id: 'crm-token', kind: 'vault-token', accessor: 'x' }],
} as unknown as Server

const client = (file: string, secrets: unknown) => ({
  id: `client:${file}`,
  kind: 'mcp-client-config',
  state: 'residual',
  observed: [],
  detail: { file, client: 'Cursor', removed: [], secrets, unsure: [], unreadable: null },
})
const secret = { entry: 'mcpServers.crm', name: 'CRM_TOKEN', where: 'environment' }

describe('secrets that stood in client configurations', () => {
  it('are alive, each by its name, entry and file', () => {
    const output = {
      deployments: [],
      clients: [
        client('/home/a/.cursor/mcp.json', [secret, { ...secret, name: 'Authorization', where: 'header' }]),
        client('/home/b/.cursor/mcp.json', [secret, secret]),
      ],
    }
    const found = clientSecrets(output, server)
    expect(found.map(({ id }) => id)).toEqual([
      'CRM_TOKEN in mcpServers.crm of /home/a/.cursor/mcp.json',
      'Authorization in mcpServers.crm of /home/a/.cursor/mcp.json',
      'CRM_TOKEN in mcpServers.crm of /home/b/.cursor/mcp.json',
    ])
    expect(found.every(({ kind, state }) => kind === 'client-config' && state === 'alive')).toBe(true)
    expect(found.map(({ proof }) => /may be crm-token, but the value was not compared/.test(proof))).toEqual([
      true,
      false,
      true,
    ])
  })

  it('are none where isolation found none, was not run, or could not look', () => {
    for (const output of [
      undefined,
      null,
      { deployments: [] },
      { deployments: [], clients: [client('/a', [])] },
      { clients: [{ detail: null }, { detail: { file: '/released' } }] },
      { clients: 'hostile' },
    ]) {
      expect(clientSecrets(output, server)).toEqual([])
    }
  })

  it('have hostile names escaped', () => {
    const [one] = clientSecrets({ clients: [client('/a\u001b[2J', [{ ...secret, name: 'X\u0007' }])] }, server)
    expect(`${one?.id}${one?.proof}`).not.toMatch(/\p{Cc}/u)
    expect(one?.id).toContain('/a')
  })
})
