import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Context } from '../../src/context.ts'
import type { Company } from '../../src/drill/company.ts'
import { measure } from '../../src/drill/proof.ts'
import type { StepReport } from '../../src/playbook/runner.ts'

const ui = {
  interactive: false,
  write: () => {},
  say: () => {},
  task: <T>(_: string, work: (update: (text: string) => void) => Promise<T>) => work(() => {}),
}
const context = { ui, signal: new AbortController().signal } as unknown as Context

function report(use: string, state: StepReport['state'] = 'done'): StepReport {
  const at = '2026-11-23T02:00:00.000Z'
  return {
    id: use,
    use,
    state,
    startedAt: at,
    endedAt: at,
    tookMs: 0,
    open: [],
    residue: [],
    limits: [],
    warnings: [],
  }
}

describe('the proof of a drill', () => {
  let bytes = 0
  let grows = true
  let accepts = true
  // Stands for sink, customers API and suspect at once; only what the measurements see matters.
  const server = createServer((request, response) => {
    if (request.url === '/sink') {
      if (grows) bytes += 100
      response.end(JSON.stringify({ bytes }))
    } else response.writeHead(accepts ? 200 : 401).end()
  })
  let company: Company
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    company = {
      sink: `${origin}/sink`,
      customersApi: origin,
      url: `${origin}/mcp`,
      token: 'old',
      delivered: '/nonexistent/next.env',
      registry: '/nonexistent/registry.yaml',
      marker: '--company=none',
      suspect: 1,
      approvedTools: 'sha256-approved',
    } as unknown as Company
  })
  afterAll(() => void server.close())

  test('without a step nothing was measured, and nothing holds', () => {
    const proof = measure(company, context, 20).proof()
    expect(proof).toHaveLength(6)
    for (const one of proof) expect(one).toMatchObject({ before: null, after: null, holds: false })
  })

  test('what a step says does not count, only what is measured', async () => {
    const measuring = measure(company, context, 20)
    await measuring.watch.before({ id: 'isolate', use: 'network.isolate' })
    await measuring.watch.after(report('network.isolate'))
    await measuring.watch.after(report('credentials.revoke'))
    await measuring.watch.after(report('credentials.rotate'))
    await measuring.watch.after(report('deployment.redeploy'))
    const proof = measuring.proof()
    expect(proof.map(({ holds }) => holds)).toEqual([false, false, false, false, false, false])
    expect(proof[0]?.before).toBe(100)
    expect(proof[2]).toMatchObject({ before: 200, after: 200 })
    expect(proof[4]?.after).toMatch(/^not measured: /)
  })

  test('what changed holds; a step that did not act is not measured', async () => {
    const measuring = measure(company, context, 20)
    await measuring.watch.before({ id: 'isolate', use: 'network.isolate' })
    grows = false
    accepts = false
    await measuring.watch.after(report('network.isolate'))
    await measuring.watch.after(report('credentials.revoke', 'declined'))
    const [leak, answering, old] = measuring.proof()
    expect(leak).toMatchObject({ before: 100, after: 0, holds: true })
    // It still answers, if only with an error.
    expect(answering).toMatchObject({ before: true, after: true, holds: false })
    expect(old).toMatchObject({ before: 200, after: null, holds: false })
  })
})
