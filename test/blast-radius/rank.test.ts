import { describe, expect, it } from 'vitest'
import { rankingOf } from '../../src/blast-radius/rank.ts'
import { ranks } from '../../src/blast-radius/suspect.ts'
import type { TrailRecord } from '../../src/invocations/port.ts'
import { soundsChanging } from '../../src/mcp/tool-words.ts'
import { serverSchema } from '../../src/registry/schema.ts'

const server = (name: string, more: object) =>
  serverSchema.parse({
    name,
    version: '1.0.0',
    status: 'approved',
    owner: 'team',
    package: { registryType: 'npm', identifier: 'x', version: '1.0.0' },
    deployments: [],
    ...more,
  })
const reach = (access: string, classification?: string) => ({ system: 'x', kind: 'database', access, classification })

describe('how bad a suspect call is', () => {
  it.each(['send_mail', 'createIssue', 'notes.delete', 'db-exec', 'issue_write', 'UpdateRecord'])(
    '%s changes',
    (tool) => {
      expect(soundsChanging(tool)).toBe(true)
    },
  )
  it.each(['get_post', 'list_runs', 'search', 'readFile', 'settings', 'lookup_transfer', '', '\u0000', 'résumé'])(
    '%s does not',
    (tool) => {
      expect(soundsChanging(tool)).toBe(false)
    },
  )

  it('a change comes before any privilege, and what is only inferred last', () => {
    const { rank, why } = rankingOf([
      server('admin', { reaches: [reach('admin', 'restricted')] }),
      server('writer', { reaches: [reach('write')], resources: [{ tool: 'touch', access: 'write', resource: 'x' }] }),
      server('reader', { aliases: ['r'], reaches: [reach('read', 'restricted'), reach('read')] }),
      server('plain', {}),
    ])
    const of = (server: string, tool: string, by: 'session' | 'inferred' = 'session') =>
      rank({ server, tool } as TrailRecord, by)
    const order = [
      of('admin', 'delete_user'),
      of('writer', 'touch'),
      of('nowhere', 'send'),
      of('admin', 'get_user'),
      of('r', 'get_page'),
      of('plain', 'get_page'),
    ]
    expect(order).toEqual([7, 5, 4, 3, 1, 0])
    expect(Math.max(...order)).toBeLessThan(ranks)
    expect(of('admin', 'delete_user', 'inferred')).toBe(0)
    expect(why('admin', 'get_user')).toBe('reads, on a server with administrative rights, restricted data among it')
    expect(why('nowhere', 'send')).toBe('changes something, on a server that the registry does not know')
  })
})
