import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Case, createCase, openCase } from '../../src/case/case.ts'
import { pastOf } from '../../src/case/past.ts'
import { isolate } from '../../src/containment/step.ts'
import { type Presenter, runStep, type StepReport } from '../../src/playbook/runner.ts'
import type { CaseView, StepKind } from '../../src/playbook/step.ts'
import type { Deployment } from '../../src/registry/port.ts'
import type { AwsWorld } from './aws-world.ts'
import { clock, opened, server } from './cases.ts'
import { testContext } from './terminal.ts'

const silent: Presenter = {
  warnings: () => {},
  plan: () => {},
  consent: async () => true,
  change: () => undefined,
  report: () => {},
}

let cases = 0

type Ec2 = Extract<Deployment, { kind: 'aws-ec2' }>

/** A case of a server that runs in these worlds: the steps themselves, with the journal on disk, without a process. */
export class AwsIncident {
  readonly server
  readonly folder: string

  constructor(...deployments: (Partial<Ec2> & Pick<AwsWorld, 'group'>)[]) {
    this.server = server({
      deployments: deployments.map(({ group, ...over }, index) => ({
        id: `prod-${index}`,
        kind: 'aws-ec2',
        region: 'us-east-1',
        autoScalingGroup: group,
        cut: 'groups',
        allow: [],
        ...over,
      })),
    })
    const name = `20261123-crm-${process.pid}-${++cases}`
    const incident = createCase(
      mkdtempSync(join(tmpdir(), 'mcp-ir-aws-')),
      opened({ case: name, server: this.server }),
      { ...clock(), takeOver: false },
    )
    this.folder = incident.folder
    incident.close()
  }

  /** As a command of its own would: opens the case, runs the step, closes it. */
  async run(
    kind: StepKind,
    wrap: (incident: Case) => Case = (incident) => incident,
    signal?: AbortSignal,
  ): Promise<StepReport> {
    const opened = openCase(this.folder, { ...clock(), takeOver: false })
    const view: CaseView = {
      id: opened.id,
      folder: this.folder,
      server: this.server,
      servers: [this.server],
      since: '',
      sinceFrom: 'default',
      until: '',
      isolatedAt: undefined,
      past: pastOf(opened.journal.lines),
      output: async () => undefined,
      standing: () => [],
      decisionsSince: () => [],
    }
    const id = kind === isolate ? 'isolate' : 'release'
    try {
      const options = { id, with: {}, consent: 'yes', dryRun: false, expect: undefined, deployment: undefined } as const
      const context = testContext('', signal === undefined ? {} : { signal })
      return await runStep(kind, options, wrap(opened), view, context, silent)
    } finally {
      opened.close()
    }
  }
}
