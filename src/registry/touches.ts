import type { Touched, TrailRecord } from '../invocations/port.ts'
import type { Server } from './port.ts'

/** Something shared that a call read or changed. */
export interface Touch {
  /** `untold`: the log lacks the value that names it. */
  readonly access: 'read' | 'write' | 'untold'
  /** The same for every server that reaches the downstream system which it lies in. */
  readonly key: string
  /** For people. */
  readonly name: string
  readonly resource: string
  readonly system: string
}

export interface Touches {
  /** What the log has to say of each record, so that this can be told. */
  readonly wanted: Touched
  /** What a call read and changed. */
  readonly of: (record: Pick<TrailRecord, 'server' | 'tool' | 'values'>) => readonly Touch[]
}

interface Template {
  readonly access: 'read' | 'write'
  readonly system: string
  /** Literal text, or the place of a value among the wanted ones. */
  readonly parts: readonly (string | number)[]
}

/** How the registry's `resources` name what calls touch: `note:${params.id}`, `note:${response.id}`. */
export function touchesOf(servers: readonly Server[]): Touches {
  const paths = new Map<string, number>()
  const tools = new Set<string>()
  const byServer = new Map<string, Map<string, Template[]>>()
  for (const server of servers) {
    const byTool = new Map<string, Template[]>()
    for (const { tool, access, resource, system } of server.resources) {
      tools.add(tool)
      const template = { access, system: system ?? onlySystem(server) ?? server.name, parts: partsOf(resource, paths) }
      byTool.set(tool, [...(byTool.get(tool) ?? []), template])
    }
    for (const name of [server.name, ...server.aliases]) if (byTool.size > 0) byServer.set(name, byTool)
  }
  return {
    wanted: { tools: [...tools], paths: [...paths.keys()] },
    of: ({ server, tool, values }) => {
      const templates = server === undefined ? undefined : byServer.get(server)?.get(tool)
      if (templates === undefined) return []
      return templates.map((template) => fill(template, values ?? []))
    },
  }
}

/** Where a server has one downstream only, what its tools touch lies there. */
function onlySystem(server: Server): string | undefined {
  const systems = new Set(server.reaches.map(({ system }) => system))
  return systems.size === 1 ? [...systems][0] : undefined
}

function partsOf(resource: string, paths: Map<string, number>): (string | number)[] {
  // Every second piece is what stood between the braces.
  return resource.split(/\$\{((?:params|response)(?:\.[^.{}]+)+)\}/).map((piece, index) => {
    if (index % 2 === 0) return piece
    const place = paths.get(piece) ?? paths.size
    paths.set(piece, place)
    return place
  })
}

const untold: Touch = { access: 'untold', key: '', name: '', resource: '', system: '' }

function fill({ access, system, parts }: Template, values: readonly (string | null)[]): Touch {
  let name = ''
  for (const part of parts) {
    const text = typeof part === 'string' ? part : values[part]
    if (text === undefined || text === null) return untold
    name += text
  }
  return { access, key: JSON.stringify([system, name]), name: `${name} in ${system}`, resource: name, system }
}
