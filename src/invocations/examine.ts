import { soundsLike } from '../mcp/tool-words.ts'
import type { StepInput } from '../playbook/step.ts'
import type { Server } from '../registry/port.ts'
import { touchesOf } from '../registry/touches.ts'
import { count } from '../ui/format.ts'
import { calendarOf } from './clock.ts'
import { readOnlyHints } from './findings/descriptions.ts'
import { judge } from './findings/judge.ts'
import type { Usage } from './findings/port.ts'
import { formatOf } from './formats/index.ts'
import type { ResourceUse, Review, Reviewed, ToolUse, Touched, Window } from './port.ts'

const day = 86_400_000_000
/** So far back goes what the window is compared with. */
const baseline = 28 * day
/** Resources that are listed. */
const mostResources = 1000

/** What the log has to say of what this server's calls touched. */
export function touchedBy({ case: { server } }: StepInput): Touched {
  return { ...touchesOf([server]).wanted, trail: false }
}

/** What of a reading is judged: findings, and what the registry and the server's own words say of its tools. */
export async function examine(
  input: StepInput,
  reviewed: Reviewed,
  window: Window,
): Promise<Pick<Review, 'tools' | 'resources' | 'findings' | 'baseline' | 'hours' | 'gaps'>> {
  const { server } = input.case
  const { hours, invocations } = input.context.config
  const since = micros(window.since)
  const until = micros(window.until)
  const latest = input.context.now().getTime() * 1000 + day
  const calendar = calendarOf(hours, since - baseline, Math.max(since, Math.min(until, latest)))
  const usage = await reviewed.usage(calendar)
  const judged = await judge(
    usage,
    {
      calendar,
      hours,
      since,
      until: Math.min(until, Math.max(since + 1, latest)),
      approvedTools: server.tools?.digest,
      tellsRefusals: invocations !== undefined && formatOf(invocations.format).refusals !== undefined,
    },
    (which) => reviewed.select(which),
  )
  const resources = resourcesOf(server, usage)
  const hints = readOnlyHints(usage)
  return {
    tools: reviewed.review.tools.map((use) => ({ ...use, ...changing(use.tool, server, hints) })),
    resources: resources.list,
    findings: judged.findings,
    ...(judged.baseline === undefined ? {} : { baseline: judged.baseline }),
    hours: judged.hours,
    gaps: [...judged.gaps, ...resources.gaps],
  }
}

/** Whether a tool changes something. What a person wrote down counts most, the words of the suspect less, and its name is a guess. */
function changing(
  tool: string,
  server: Server,
  hints: ReadonlyMap<string, boolean>,
): Pick<ToolUse, 'changes' | 'changesBy'> {
  const registered = server.resources.filter((resource) => resource.tool === tool)
  if (registered.length > 0)
    return { changes: registered.some(({ access }) => access === 'write'), changesBy: 'registry' }
  const hint = hints.get(tool)
  if (hint !== undefined) return { changes: !hint, changesBy: 'annotations' }
  const sound = soundsLike(tool)
  return sound === undefined ? {} : { changes: sound === 'changing', changesBy: 'name' }
}

function resourcesOf(server: Server, usage: Usage): { list: ResourceUse[]; gaps: string[] } {
  const touches = touchesOf([server])
  const found = new Map<string, ResourceUse & { readonly tools: string[]; calls: number }>()
  let untold = 0
  for (const { tool, values, calls } of usage.touched) {
    const all = touches.of({ server: server.name, tool, values })
    if (all.some(({ access }) => access === 'untold')) untold += calls
    for (const { access, resource, system } of all) {
      if (access === 'untold') continue
      const key = JSON.stringify([access, system, resource])
      const use = found.get(key) ?? { resource, system, access, tools: [], calls: 0 }
      if (!use.tools.includes(tool)) use.tools.push(tool)
      use.calls += calls
      found.set(key, use)
    }
  }
  const all = [...found.values()].sort((a, b) => b.calls - a.calls || (a.resource < b.resource ? -1 : 1))
  const left = Math.max(0, all.length - mostResources) + usage.touchedLeftOut
  return {
    list: all.slice(0, mostResources),
    gaps: [
      ...(untold > 0
        ? [
            `Of ${count(untold, 'call')} it cannot be told which resource they touched, as the log lacks the parameter or response that names it.`,
          ]
        : []),
      ...(left > 0 ? [`${left} more resources, touched by fewer calls, are not listed.`] : []),
    ],
  }
}

function micros(time: string): number {
  return Date.parse(time) * 1000
}
