import { readFileSync } from 'node:fs'
import * as scaling from '@aws-sdk/client-auto-scaling'
import * as ec2 from '@aws-sdk/client-ec2'
import * as balancing from '@aws-sdk/client-elastic-load-balancing-v2'
import * as iam from '@aws-sdk/client-iam'
import * as ssm from '@aws-sdk/client-ssm'
import * as sts from '@aws-sdk/client-sts'

/** A call of the command, as it went over the wire. */
export interface Recorded {
  readonly service: string
  readonly action: string
  /** Its parameters, as they were sent. */
  readonly body: string
  /** What `createdIds` found in its answer. */
  readonly ids: string[]
}

/** Ids in an answer that differ from run to run, in its order. */
export function createdIds(answer: string): string[] {
  return answer.match(/\b(?:sgr?|iip-assoc)-[0-9a-f]{8,}\b/g) ?? []
}

const isQuestion = ({ action, body }: Recorded): boolean =>
  /^(Describe|Get|List)/.test(action) || new URLSearchParams(body).get('DryRun') === 'true'

/**
 * Of the calls of a command those that a bare script needs for the same: all changes; the looks before the first of them and
 * after the last, each question once, without those whether it may; and between them only what first tells an id that a
 * change needs.
 */
export function necessary(calls: readonly Recorded[]): Recorded[] {
  const first = calls.findIndex((call) => !isQuestion(call))
  const last = calls.findLastIndex((call) => !isQuestion(call))
  const seen = new Set<string>()
  const told = new Set<string>()
  return calls.filter((call, index) => {
    const { service, action, body, ids } = call
    const phase = index < first ? 'before' : index > last ? 'after' : 'between'
    const name = [phase, service, action, body].join(' ')
    const later = (id: string): boolean =>
      calls.slice(index).some((one) => !isQuestion(one) && createdIds(one.body).includes(id))
    const wanted = !isQuestion(call)
      ? true
      : phase === 'between'
        ? ids.some((id) => !told.has(id) && later(id))
        : !seen.has(name) && new URLSearchParams(body).get('DryRun') !== 'true'
    if (!wanted) return false
    seen.add(name)
    for (const id of ids) told.add(id)
    return true
  })
}

const options = { maxAttempts: 1 }

async function replay(calls: readonly Recorded[], width: number, names: readonly [string, string]): Promise<number> {
  const services = {
    ec2: { sdk: ec2, client: bare(new ec2.EC2Client(options)) },
    autoscaling: { sdk: scaling, client: bare(new scaling.AutoScalingClient(options)) },
    elasticloadbalancing: { sdk: balancing, client: bare(new balancing.ElasticLoadBalancingV2Client(options)) },
    iam: { sdk: iam, client: bare(new iam.IAMClient(options)) },
    ssm: { sdk: ssm, client: bare(new ssm.SSMClient(options)) },
    sts: { sdk: sts, client: bare(new sts.STSClient(options)) },
  }
  const renamed = new Map<string, string>()
  const tellers = new Map<string, number>()
  for (const [index, { ids }] of calls.entries()) {
    for (const id of ids) if (!tellers.has(id)) tellers.set(id, index)
  }
  const under: Promise<void>[] = []
  let failed = 0

  const make = async ({ service, action, body, ids }: Recorded, index: number): Promise<void> => {
    const asked = createdIds(body)
    await Promise.all(asked.map((id) => tellers.get(id) ?? index).map((teller) => teller < index && under[teller]))
    const found = services[service as keyof typeof services]
    const Command = found.sdk[`${action}Command` as never] as new (_: unknown) => never
    try {
      const sent = asked.reduce((all, id) => all.replaceAll(id, renamed.get(id) ?? id), body.replaceAll(...names))
      const now = createdIds(JSON.stringify(await found.client.send(new Command({ body: sent }))))
      for (const kind of ['sg', 'sgr', 'iip-assoc']) {
        const of = (all: readonly string[]) => all.filter((id) => id.startsWith(`${kind}-`))
        const [before, after] = [of(ids), of(now)]
        if (before.length === after.length) before.forEach((id, at) => void renamed.set(id, after[at] ?? id))
      }
    } catch {
      failed++
    }
  }
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < calls.length) {
      const index = next++
      under[index] = make(calls[index] as Recorded, index)
      await under[index]
    }
  }
  await Promise.all(Array.from({ length: width }, worker))
  return failed
}

interface Client {
  send(command: never): Promise<unknown>
  // biome-ignore lint/suspicious/noExplicitAny: the same for the clients of all services
  readonly middlewareStack: { add(middleware: any, options: { step: 'build'; priority: 'high' }): void }
}

/** A client that sends the recorded parameters in place of its command's own. */
function bare(client: Client): Client {
  client.middlewareStack.add(
    // biome-ignore lint/suspicious/noExplicitAny: as the SDK hands it on
    (next: any) => (args: any) => {
      args.request.body = args.input.body
      return next(args)
    },
    { step: 'build', priority: 'high' },
  )
  return client
}

/**
 * The bare script: `node isolate-bare.ts RECORDING WIDTH THEN NOW` makes the recorded calls with the SDK and nothing else, in their
 * order, WIDTH at once; each waits only for those that told it an id. THEN and NOW are the group's
 * name when it was recorded and now. Prints how many were refused.
 */
if (import.meta.main) {
  const [file = '', width = '1', then = '', now = ''] = process.argv.slice(2)
  process.stdout.write(`${await replay(JSON.parse(readFileSync(file, 'utf8')), Number(width), [then, now])}`)
}
