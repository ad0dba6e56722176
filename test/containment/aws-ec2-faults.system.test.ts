import { DescribeSecurityGroupsCommand, DescribeVolumesCommand } from '@aws-sdk/client-ec2'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Case } from '../../src/case/case.ts'
import { checkCase } from '../../src/case/check.ts'
import type { Journal } from '../../src/case/journal.ts'
import { isolate, release } from '../../src/containment/step.ts'
import type { StepReport } from '../../src/playbook/runner.ts'
import type { StepKind } from '../../src/playbook/step.ts'
import { AwsIncident } from '../testbed/aws-incident.ts'
import {
  type AwsWorld,
  awsEnvironment,
  buildAwsWorld,
  groupsOf,
  must,
  rulesOf,
  snapshotsOf,
} from '../testbed/aws-world.ts'
import { type Emulator, skipWithoutEmulators, startMoto } from '../testbed/python.ts'
import { type RecordingProxy, startRecordingProxy } from '../testbed/recording-proxy.ts'

/** The steps themselves, with the journal on disk and the adapter against moto: without a process for every try. */

const skip = skipWithoutEmulators('containment aws-ec2: faults')

let moto: Emulator
let proxy: RecordingProxy
const before = { ...process.env }
beforeAll(async () => {
  if (skip) return
  moto = await startMoto()
  proxy = await startRecordingProxy(moto.url)
  Object.assign(process.env, awsEnvironment(proxy.url))
})
afterEach(() => {
  if (proxy !== undefined) proxy.fault = () => undefined
})
afterAll(async () => {
  for (const name of Object.keys(awsEnvironment(''))) delete process.env[name]
  Object.assign(process.env, before)
  await proxy?.stop()
  await moto?.stop()
})

class Died extends Error {}

type How = 'before' | 'after' | 'interrupted'

/** Every run dies at the first append where none died before, until one ends by itself. @returns its report and the points */
async function untilItEnds(
  incident: AwsIncident,
  kind: StepKind,
  how: (run: number) => How,
): Promise<{ report: StepReport; died: ReadonlySet<string> }> {
  const died = new Set<string>()
  for (let run = 0; ; run++) {
    const abort = new AbortController()
    let dead = false
    const dying = (on: Case): Case => {
      const append: Journal['append'] = (kind, data, step) => {
        if (dead) throw new Died()
        const { id, name, use } = data as { id?: string; name?: string; use?: string }
        const point = [kind, step, id, name, use].join(' ')
        if (kind === 'interrupted' || abort.signal.aborted || died.has(point))
          return on.journal.append(kind, data, step)
        died.add(point)
        if (how(run) === 'interrupted') {
          abort.abort()
          return on.journal.append(kind, data, step)
        }
        dead = true
        if (how(run) === 'after') on.journal.append(kind, data, step)
        throw new Died()
      }
      const journal: Journal = {
        get lines() {
          return on.journal.lines
        },
        append,
        commit: async (kind, data, step) => append(kind, data, step),
      }
      return { ...on, journal, state: on.state }
    }
    try {
      return { report: await incident.run(kind, dying, abort.signal), died }
    } catch (error) {
      if (!(error instanceof Died) && !abort.signal.aborted) throw error
    }
    expect(run).toBeLessThan(200)
  }
}

/** What isolation comes to, however it came to be. */
async function isolatedOnce({ aws, instances, vpc }: AwsWorld, report: StepReport): Promise<void> {
  expect([report.state, report.open]).toEqual([expect.stringMatching(/^(done|residual)$/), []])
  const groups = new Set([...(await groupsOf(aws, instances)).values()].flat())
  expect(groups.size).toBe(1)
  expect(await rulesOf(aws, must([...groups][0]))).toBe(0)
  const made = await aws.ec2.send(
    new DescribeSecurityGroupsCommand({
      Filters: [
        { Name: 'vpc-id', Values: [vpc] },
        { Name: 'tag-key', Values: ['mcp-ir:case'] },
      ],
    }),
  )
  const names = (made.SecurityGroups ?? []).map(({ GroupName }) => must(GroupName))
  expect(names.filter((name) => !name.endsWith('-hop'))).toHaveLength(1)
  expect(names.filter((name) => name.endsWith('-hop')).length).toBeLessThanOrEqual(1)
  const { Volumes } = await aws.ec2.send(
    new DescribeVolumesCommand({ Filters: [{ Name: 'attachment.instance-id', Values: [...instances] }] }),
  )
  const volumes = (Volumes ?? []).map(({ VolumeId }) => must(VolumeId)).sort()
  const taken = (await snapshotsOf(aws, 'mcp-ir:change')).filter((volume) => volumes.includes(volume))
  expect(taken).toEqual(volumes)
}

describe.skipIf(skip)('containment aws-ec2, aborted at every append to the journal', () => {
  const hows: readonly How[] = ['before', 'after', 'interrupted']

  it.each([0, 1])('isolates once and puts everything back once (%i)', async (offset) => {
    const world = await buildAwsWorld(moto.url, 1, { large: false })
    const original = await world.describe()
    const incident = new AwsIncident({ group: world.group, cut: offset === 0 ? 'auto' : 'groups' })
    const how = (run: number): How => must(hows[(run + offset) % hows.length])
    const isolated = await untilItEnds(incident, isolate, how)
    await isolatedOnce(world, isolated.report)
    // How many lines there are varies with what the runs before had settled; with far fewer, nothing was tried.
    expect(isolated.died.size).toBeGreaterThan(15)
    const released = await untilItEnds(incident, release, how)
    expect([released.report.state, released.report.open]).toEqual([expect.stringMatching(/^(done|nothing-to-do)$/), []])
    expect(released.died.size).toBeGreaterThan(15)
    expect(await world.describe()).toEqual(original)
    expect((await checkCase(incident.folder)).damage).toEqual([])
  })
})

describe.skipIf(skip)('containment aws-ec2, when calls are throttled, fail or lose their answers', () => {
  it('ends in the same state, and makes nothing twice', async () => {
    const world = await buildAwsWorld(moto.url, 1, { large: false })
    const original = await world.describe()
    const incident = new AwsIncident({ group: world.group })
    let dice = 7
    const roll = (): number => {
      dice = (dice * 48271) % 2147483647
      return dice / 2147483647
    }
    proxy.fault = () => {
      const one = roll()
      return one < 0.3 ? 'throttle' : one < 0.4 ? 'error' : one < 0.45 ? 'lost' : undefined
    }
    await isolatedOnce(world, await incident.run(isolate))
    const released = await incident.run(release)
    expect([released.state, released.open]).toEqual(['done', []])
    expect(await world.describe()).toEqual(original)
  })
})

describe.skipIf(skip)('containment aws-ec2, gone on with in another region or account', () => {
  it('refuses to resume and to release, and changes nothing', async () => {
    const world = await buildAwsWorld(moto.url, 1, { large: false })
    const original = await world.describe()
    const incident = new AwsIncident({ group: world.group })
    const home = must(incident.server.deployments[0])
    const elsewhere = [
      { region: 'eu-west-1' },
      { region: 'us-east-1', role: 'arn:aws:iam::111111111111:role/responder' },
    ]
    const refusedElsewhere = async (kind: StepKind): Promise<void> => {
      for (const over of elsewhere) {
        Object.assign(home, over)
        proxy.calls.length = 0
        await expect(incident.run(kind)).rejects.toMatchObject({
          code: 'refused',
          message: expect.stringMatching(/account 123456789012, region us-east-1; this is account \d+, region/),
        })
        expect(proxy.calls.filter(({ changes }) => changes)).toEqual([])
      }
      Object.assign(home, { region: 'us-east-1', role: undefined })
    }
    let dead = false
    const dying = (on: Case): Case => {
      const append: Journal['append'] = (kind, data, step) => {
        dead ||= kind === 'change.applied'
        if (dead) throw new Died()
        return on.journal.append(kind, data, step)
      }
      const journal: Journal = {
        get lines() {
          return on.journal.lines
        },
        append,
        commit: async (kind, data, step) => append(kind, data, step),
      }
      return { ...on, state: on.state, journal }
    }
    await expect(incident.run(isolate, dying)).rejects.toThrow(Died)
    await refusedElsewhere(isolate)
    await isolatedOnce(world, await incident.run(isolate))
    await refusedElsewhere(release)
    expect((await incident.run(release)).open).toEqual([])
    expect(await world.describe()).toEqual(original)
  })
})

describe.skipIf(skip)('containment aws-ec2, between the two steps through the open group', () => {
  /** One interface, which may pass through; and the groups that it was put into, as the calls came. */
  async function hopping() {
    const world = await buildAwsWorld(moto.url, 1, { large: false })
    const original = await world.describe()
    const incident = new AwsIncident({ group: world.group, cut: 'auto' })
    const [eni = ''] = (await groupsOf(world.aws, world.instances)).keys()
    proxy.calls.length = 0
    const sets = () =>
      proxy.calls.filter(
        ({ action, params }) =>
          action === 'ModifyNetworkInterfaceAttribute' &&
          params.get('DryRun') !== 'true' &&
          params.get('NetworkInterfaceId') === eni,
      )
    const stands = async () => must([...(await groupsOf(world.aws, world.instances)).values()][0])
    const open = async () => {
      const [group = ''] = await stands()
      return (await rulesOf(world.aws, group)) > 0
    }
    return { world, original, incident, eni, sets, open }
  }

  it('opens once and closes after it', async () => {
    const { world, incident, sets, open } = await hopping()
    await isolatedOnce(world, await incident.run(isolate))
    expect([sets().length, await open()]).toEqual([2, false])
  })

  it('closes although the opening was never answered, and although the first closing was not either', async () => {
    const { incident, sets, open } = await hopping()
    proxy.fault = (call) => (sets().includes(call) && sets().length <= 2 ? 'hang' : undefined)
    const report = await incident.run(isolate)
    expect([report.open, await open()]).toEqual([[], false])
    expect(new Set(sets().map(({ params }) => params.get('SecurityGroupId.1'))).size).toBe(2)
  })

  it('says which interface stands open when it cannot be closed, and never opens it again', async () => {
    const { world, incident, eni, sets, open } = await hopping()
    proxy.fault = (call) => (sets().indexOf(call) > 0 ? { deny: 'OperationNotPermitted' } : undefined)
    const failed = await incident.run(isolate)
    expect(await open()).toBe(true)
    expect(failed.open.join('\n')).toMatch(new RegExp(`${eni} of ${world.instances[0]} stands in the open group sg-`))
    expect(failed.open.join('\n')).toContain('aws ec2 modify-network-interface-attribute')
    const opened = must(sets()[0]?.params.get('SecurityGroupId.1'))
    proxy.calls.length = 0
    proxy.fault = () => undefined
    await isolatedOnce(world, await incident.run(isolate))
    expect(sets().map(({ params }) => params.get('SecurityGroupId.1'))).not.toContain(opened)
    const original = await incident.run(release)
    expect([original.state, original.open]).toEqual(['done', []])
  })

  it('puts back what stands open when it was never closed: release alone does it', async () => {
    const { world, original, incident, sets, open } = await hopping()
    proxy.fault = (call) => (sets().indexOf(call) > 0 ? { deny: 'OperationNotPermitted' } : undefined)
    await incident.run(isolate)
    expect(await open()).toBe(true)
    proxy.fault = () => undefined
    const released = await incident.run(release)
    expect([released.state, released.open]).toEqual(['done', []])
    expect(await world.describe()).toEqual(original)
    expect((await incident.run(release)).state).toBe('nothing-to-do')
  })

  it('closes before it ends when it is interrupted between the two, and a killed one closes first', async () => {
    const { world, incident, sets, open } = await hopping()
    const abort = new AbortController()
    proxy.fault = (call) => {
      if (sets().indexOf(call) === 0) abort.abort()
      return undefined
    }
    await expect(incident.run(isolate, undefined, abort.signal)).rejects.toMatchObject({ code: 'interrupted' })
    expect([sets().length, await open()]).toEqual([2, false])
    await isolatedOnce(world, await incident.run(isolate))
  })
})
