import { readdirSync, readFileSync } from 'node:fs'

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1')
  } catch {
    return ''
  }
}

/**
 * What everybody on the machine could read while a command runs: the arguments of it and of everything that it starts, and the
 * environments of what it starts (its own is the responder's).
 */
export function watchProcesses(): {
  started(pid: number): void
  stop(): { arguments: string; environments: string; children: number }
} {
  const seen = { arguments: new Set<string>(), environments: new Set<string>(), children: new Set<number>() }
  const family = new Set<number>()
  let root: number | undefined
  let own = ''
  const look = (): void => {
    if (root === undefined) return
    own = commandLine(root) || own
    for (const name of readdirSync('/proc')) {
      const pid = Number(name)
      if (!Number.isInteger(pid)) continue
      try {
        const parent = Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
        if (pid !== root && !family.has(pid) && !family.has(parent)) continue
        family.add(pid)
        const line = readFileSync(`/proc/${pid}/cmdline`, 'latin1')
        const environment = readFileSync(`/proc/${pid}/environ`, 'latin1')
        seen.arguments.add(line)
        // A child that has not become its program yet is still a copy of the command.
        if (pid === root || line === own) continue
        seen.children.add(pid)
        seen.environments.add(environment)
      } catch {
        // It has ended meanwhile.
      }
    }
  }
  const timer = setInterval(look, 2)
  return {
    started(pid) {
      root = pid
      family.add(pid)
    },
    stop() {
      clearInterval(timer)
      return {
        arguments: [...seen.arguments].join('\n'),
        environments: [...seen.environments].join('\n'),
        children: seen.children.size,
      }
    },
  }
}
