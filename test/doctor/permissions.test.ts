import { readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { declaredBy } from '../../src/doctor-adapters.ts'
import { isIamAction } from '../../src/doctor-policy.ts'

const src = fileURLToPath(new URL('../../src', import.meta.url))

/** How the services of the SDK's packages are called in policies. */
const services: Readonly<Record<string, string>> = {
  'auto-scaling': 'autoscaling',
  ec2: 'ec2',
  'elastic-load-balancing-v2': 'elasticloadbalancing',
  iam: 'iam',
  organizations: 'organizations',
  'secrets-manager': 'secretsmanager',
  ssm: 'ssm',
  sts: 'sts',
}

/** Needed beside the actions themselves; what needs them is tried in permissions.system.test.ts. */
const besides = new Set(['iam:PassRole', 'sts:AssumeRole'])

/** Actions of the commands and paginators that a file, and all of ours that it imports, take from the SDK. */
function imported(file: string, seen = new Set<string>()): Set<string> {
  const found = new Set<string>()
  if (seen.has(file)) return found
  seen.add(file)
  const text = readFileSync(file, 'utf8')
  const fixed = /^(?:import|export) (?!type )(?:\{([^}]*)\}|[^'"{}]*) from '([^']+)'/gm
  const lazy = /= await import\('(\.[^']+|@aws-sdk[^']+)'\)/g
  const modules = [...text.matchAll(fixed)].map(([, names = '', from = '']) => ({ names, from }))
  for (const [, from = ''] of text.matchAll(lazy)) {
    // The bundle gives of a package that is imported lazily nothing but its default export.
    expect(from, `${file} imports it lazily: by a module of ours`).not.toMatch(/^@aws-sdk/)
    modules.push({ names: '', from })
  }
  for (const { names, from } of modules) {
    if (from.startsWith('.')) for (const one of imported(resolve(dirname(file), from), seen)) found.add(one)
    const client = /^@aws-sdk\/client-(.+)$/.exec(from)?.[1]
    if (client === undefined) continue
    expect(services, `how ${from} is called in a policy`).toHaveProperty([client])
    for (const name of names.split(',').map((each) => each.trim())) {
      const action = /^(\w+)Command$/.exec(name)?.[1] ?? /^paginate(\w+)$/.exec(name)?.[1]
      if (action !== undefined) found.add(`${services[client]}:${action}`)
    }
  }
  return found
}

/** What values in Secrets Manager need, and what delivering to it needs, share their calls. */
const together: Readonly<Record<string, string>> = { 'deliver-to/aws-secret': 'credentials/aws-secret' }
const adapters = new Map<string, string[]>()
for (const { adapter, permissions } of await declaredBy(undefined)) {
  const name = together[adapter] ?? adapter
  const actions = permissions.filter(isIamAction)
  if (actions.length > 0) adapters.set(name, [...(adapters.get(name) ?? []), ...actions])
}

describe('the permissions that AWS adapters declare', () => {
  it('are found', () => {
    expect([...adapters.keys()]).toEqual(
      expect.arrayContaining(['containment/aws-ec2', 'credentials/aws-iam-role', 'credentials/aws-iam-user']),
    )
  })

  for (const [adapter, declared] of adapters) {
    it(`are those of the calls in the code of ${adapter}, no more and no less`, () => {
      const called = imported(join(src, `${adapter}.ts`))
      expect({
        'called and not declared': [...called].filter((action) => !declared.includes(action)),
        'declared and not called': declared.filter((action) => !called.has(action) && !besides.has(action)),
      }).toEqual({ 'called and not declared': [], 'declared and not called': [] })
    })
  }
})
