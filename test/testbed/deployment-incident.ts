import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { z } from 'zod'
import { createCase, openCase } from '../../src/case/case.ts'
import type { Journal } from '../../src/case/journal.ts'
import { pastOf } from '../../src/case/past.ts'
import type { Deployments, DeploymentTarget } from '../../src/deployment/port.ts'
import { proven } from '../../src/deployment/prove.ts'
import { StorageError } from '../../src/errors.ts'
import { type Presenter, runStep, type StepReport } from '../../src/playbook/runner.ts'
import type { CaseView, StepKind } from '../../src/playbook/step.ts'
import type { Deployment } from '../../src/registry/port.ts'
import { clock, opened } from './cases.ts'
import { testContext } from './terminal.ts'

const silent: Presenter = {
  warnings: () => {},
  plan: () => {},
  consent: async () => true,
  change: () => undefined,
  report: () => {},
}

let cases = 0

/**
 * A redeploy by the runner itself, with a journal on disk. Every run dies at the first append where none died before, in turns before and
 * after the line is written, until one ends by itself.
 * @returns its report, how often it died, and the ids of the changes that the journal says were applied
 */
export async function redeployDying<D extends Deployment>(
  adapter: Deployments<D>,
  target: DeploymentTarget<D>,
): Promise<{ readonly report: StepReport; readonly deaths: number; readonly applied: readonly string[] }> {
  const { server } = target
  const kind: StepKind = {
    kind: 'deployment.redeploy',
    summary: '',
    with: z.strictObject({}),
    operations: async () => [
      {
        key: target.deployment.id,
        adapter: 'deployment/test',
        intent: 'redeploy',
        target,
        load: async () => proven(adapter) as never,
      },
    ],
    result: async () => ({ output: null }),
  }
  const name = `20261123-dying-${process.pid}-${++cases}`
  const folder = mkdtempSync(join(tmpdir(), 'mcp-ir-dying-'))
  const first = createCase(folder, opened({ case: name, server }), { ...clock(), takeOver: false })
  first.close()
  const died = new Set<string>()
  for (let run = 0; ; run++) {
    const incident = openCase(first.folder, { ...clock(), takeOver: false })
    let dead = false
    const append: Journal['append'] = (line, data, step) => {
      const { id, name: file, use } = data as { id?: string; name?: string; use?: string }
      const point = [line, step, id, file, use].join(' ')
      if (!dead && died.has(point)) return incident.journal.append(line, data, step)
      if (!dead && run % 2 === 1) incident.journal.append(line, data, step)
      died.add(point)
      dead = true
      throw new StorageError(`died at ${point}`)
    }
    const journal: Journal = {
      get lines() {
        return incident.journal.lines
      },
      append,
      commit: async (line, data, step) => append(line, data, step),
    }
    const view: CaseView = {
      id: incident.id,
      folder: first.folder,
      server,
      servers: [server],
      since: '',
      sinceFrom: 'default',
      until: '',
      isolatedAt: '',
      output: async () => undefined,
      standing: () => [],
      decisionsSince: () => [],
      past: pastOf(incident.journal.lines),
    }
    const options = { with: {}, consent: 'yes', dryRun: false, expect: undefined, deployment: undefined } as const
    const dying = { ...incident, journal, state: incident.state }
    try {
      const report = await runStep(kind, { id: 'redeploy', ...options }, dying, view, testContext(''), silent)
      const applied = incident.journal.lines.flatMap((line) => (line.kind === 'change.applied' ? [line.data.id] : []))
      return { report, deaths: died.size, applied }
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
    } finally {
      incident.close()
    }
    expect(run).toBeLessThan(200)
  }
}
