import type { TrailRecord } from '../invocations/port.ts'
import { soundsChanging } from '../mcp/tool-words.ts'
import type { Server } from '../registry/port.ts'
import type { Suspect } from './port.ts'

export interface Ranking {
  /** 0 to 7. A change counts more than any privilege of the server; what is only inferred comes last. */
  readonly rank: (record: TrailRecord, by: Suspect['by']) => number
  /** Why a call has its rank, in plain words. */
  readonly why: (server: string, tool: string) => string
}

/** How bad it is that a call is suspect, by what the registry says of its server: does it change something, and where. */
export function rankingOf(servers: readonly Server[]): Ranking {
  const byName = new Map<string, { privilege: number; words: string; tools: Map<string, boolean> }>()
  for (const server of servers) {
    const access = server.reaches.map((reach) => reach.access)
    const restricted = server.reaches.some(({ classification }) => classification === 'restricted')
    const level = access.includes('admin') ? 2 : access.some((one) => one !== 'read') ? 1 : 0
    const words = ['that only reads', 'that may write', 'with administrative rights'][level] ?? ''
    const tools = new Map<string, boolean>()
    for (const { tool, access } of server.resources) tools.set(tool, tools.get(tool) === true || access === 'write')
    const entry = {
      privilege: Math.min(3, level + (restricted ? 1 : 0)),
      words: restricted ? `${words}, restricted data among it` : words,
      tools,
    }
    for (const name of [server.name, ...server.aliases]) byName.set(name, entry)
  }
  const changes = (server: string, tool: string) => byName.get(server)?.tools.get(tool) ?? soundsChanging(tool)
  return {
    rank: ({ server = '', tool }, by) =>
      by === 'inferred' ? 0 : (changes(server, tool) ? 4 : 0) + (byName.get(server)?.privilege ?? 0),
    why: (server, tool) => {
      const where = byName.get(server)
      const what = changes(server, tool) ? 'changes something' : 'reads'
      return `${what}, on a server ${where?.words ?? 'that the registry does not know'}`
    },
  }
}
