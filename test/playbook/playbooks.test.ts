import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parsePlaybook, playbookJsonSchema } from '../../src/playbook/load.ts'
import { isTrue, resolve } from '../../src/playbook/lookup.ts'
import { loadKinds } from '../../src/steps.ts'

const folder = fileURLToPath(new URL('../../playbooks', import.meta.url))
const names = ['compromise', 'tool-poisoning', 'credential-theft', 'data-exfiltration']
const kinds = await loadKinds()
const parse = (text: string) => parsePlaybook('own.yaml', Buffer.from(text), kinds)
const shipped = (name: string) => parsePlaybook(`${name}.yaml`, readFileSync(join(folder, `${name}.yaml`)), kinds)

describe('the playbooks that come with the tool', () => {
  test('are these', () => {
    expect(
      readdirSync(folder)
        .filter((file) => file.endsWith('.yaml'))
        .sort(),
    ).toEqual(names.map((name) => `${name}.yaml`).sort())
  })

  test.each(names)('%s loads, ends with the report and never waits with the cut for a person', (name) => {
    const { steps, ...playbook } = shipped(name)
    expect(playbook.name).toBe(name)
    expect(steps.at(-1)?.use).toBe('report.write')
    const cut = steps.findIndex((step) => step.use === 'network.isolate')
    const revoke = steps.findIndex((step) => step.use === 'credentials.revoke')
    const rotate = steps.findIndex((step) => step.use === 'credentials.rotate')
    const redeploy = steps.findIndex((step) => step.use === 'deployment.redeploy')
    // Old credentials die before new ones are delivered; nothing comes back before it is cut, revoked and renewed.
    expect(revoke).toBeLessThan(rotate)
    expect(Math.max(cut, rotate)).toBeLessThan(redeploy)
    expect(steps.slice(0, cut).every((step) => step.id === 'declare' || step.use !== undefined)).toBe(true)
    expect(steps[cut]).not.toHaveProperty('ask')
    expect(steps[cut]).not.toHaveProperty('when')
    expect(steps[cut]).not.toHaveProperty('on-failure')
  })

  test('differ in order and questions', () => {
    const orders = names.map((name) =>
      shipped(name)
        .steps.map((step) => step.manual ?? step.use)
        .join(),
    )
    expect(new Set(orders).size).toBe(names.length)
    const step = (name: string, use: string) => shipped(name).steps.findIndex((one) => one.use === use)
    expect(step('credential-theft', 'credentials.revoke')).toBeLessThan(step('credential-theft', 'network.isolate'))
    expect(step('tool-poisoning', 'blast-radius.compute')).toBeLessThan(step('tool-poisoning', 'credentials.revoke'))
  })

  test('schema.json is made from the code: npm run playbook-schema', () => {
    expect(JSON.parse(readFileSync(join(folder, 'schema.json'), 'utf8'))).toEqual(playbookJsonSchema())
  })
})

describe('a playbook with mistakes', () => {
  test.each([
    [
      'an unknown kind',
      '  - {id: a, use: network.isolat}',
      'own.yaml:4: steps[0].use: network.isolat is not a kind of step',
      'network.isolate',
    ],
    [
      'a double id',
      '  - {id: a, use: network.isolate}\n  - {id: a, manual: x}',
      'own.yaml:5: steps[1].id: a is already the id of the step on line 4',
    ],
    [
      'a look forward',
      '  - {id: a, manual: x, when: "${steps.b.state}"}\n  - {id: b, manual: y}',
      'own.yaml:4: steps[0].when: ${steps.b.state} looks at a step that does not come before',
    ],
    [
      'an unknown look-up',
      '  - {id: a, manual: x, when: "${env.HOME}"}',
      'own.yaml:4: steps[0].when: ${env.HOME} is not known',
    ],
    ['more than a look-up', '  - {id: a, manual: x, when: "${case.since} > 1"}', 'steps[0].when: must be one look-up'],
    [
      'a value that the kind does not take',
      '  - {id: a, use: network.isolate, with: {hard: true}}',
      'own.yaml:4: steps[0].with.hard: is not known to network.isolate',
    ],
    ['neither use nor manual', '  - {id: a}', 'own.yaml:4: steps[0]: must have either use or manual'],
    ['both', '  - {id: a, use: network.isolate, manual: x}', 'own.yaml:4: steps[0]: must have either use or manual'],
    ['an unknown key', '  - {id: a, manual: x, onfailure: stop}', 'own.yaml:4: steps[0].onfailure: is not a known key'],
    [
      'a wrong word',
      '  - {id: a, use: network.isolate, on-failure: retry}',
      'own.yaml:4: steps[0].on-failure: must be one of stop, ask, continue',
    ],
  ])('%s is an error with its line', (_, steps, message, hint = '') => {
    const attempt = () => parse(`name: own\nsummary: Ours\nsteps:\n${steps}\n`)
    expect(attempt).toThrow(expect.objectContaining({ code: 'input', message: expect.stringContaining(message) }))
    expect(attempt).toThrow(
      expect.objectContaining({
        hints: expect.arrayContaining([...(hint === '' ? [] : [expect.stringContaining(hint)])]),
      }),
    )
  })

  test('all of them are told at once', () => {
    expect(() => parse('name: own\nsummary: Ours\nsteps:\n  - {id: a, use: x}\n  - {id: a, use: y}\n')).toThrow(
      /:4:[\s\S]*:5:[\s\S]*:5:/,
    )
  })
})

describe('a look-up', () => {
  const document = { case: { id: 'c', since: '2026' }, steps: { review: { output: { findings: [], records: 3 } } } }

  test('is a path and nothing more', () => {
    expect(resolve('${case.since}', document)).toBe('2026')
    expect(resolve('since ${case.since}, ${steps.review.output.records}', document)).toBe('since 2026, 3')
    expect(resolve({ a: ['${steps.review.output.records}'] }, document)).toEqual({ a: [3] })
    for (const text of ['${case.constructor.name}', '${case.__proto__}', '${steps.review.output.findings.length}']) {
      expect(resolve(text, document)).not.toBe('Object')
    }
    expect(resolve('${case.__proto__}', document)).toBeUndefined()
    expect(resolve('${case.toString}', document)).toBeUndefined()
  })

  test.each([
    ['', false],
    [[], false],
    [0, false],
    [undefined, false],
    [false, false],
    ['x', true],
    [[0], true],
    [1, true],
  ])('%j is %s', (value, truth) => {
    expect(isTrue(value)).toBe(truth)
  })
})
