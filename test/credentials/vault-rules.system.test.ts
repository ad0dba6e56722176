import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { grants, spokenOf } from '../../src/credentials/vault/rules.ts'
import { type Openbao, startOpenbao } from '../testbed/openbao.ts'
import { skipWithoutEmulators } from '../testbed/python.ts'

/** The same numbers in every run. */
function seeded(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state * 1664525 + 1013904223) % 2 ** 32
    return Math.floor((state / 2 ** 32) * below)
  }
}

describe.skipIf(skipWithoutEmulators('vault-rules'))('policies, by their text', () => {
  let bao: Openbao
  beforeAll(async () => {
    bao = await startOpenbao()
  })
  afterAll(() => bao.stop())

  it('grant what OpenBao says that they do, whatever rules stand beside each other', async () => {
    const random = seeded(7)
    const part = (): string => ['a', 'b', 'ab', '+'][random(4)] as string
    const words = ['read', 'list', 'create', 'update', 'deny']
    const paths = ['a', 'b', 'a/b', 'a/a', 'ab/b', 'a/b/a', 'b/b/b', 'a/ab/b'].map((path) => `secret/${path}`)
    for (let round = 0; round < 60; round++) {
      const texts = Array.from({ length: 2 }, () =>
        Array.from({ length: 1 + random(3) }, () => {
          const path = Array.from({ length: 1 + random(3) }, part).join('/')
          const may = [...new Set([words[random(5)], words[random(5)]])].map((word) => `"${word}"`).join(', ')
          const end = ['', '', '*', '/*'][random(4)] as string
          return `path "secret/${`${path}${end}`.replace('+*', '+/*')}" { capabilities = [${may}] }`
        }).join('\n'),
      )
      for (const [index, policy] of texts.entries()) await bao.ok('PUT', `sys/policies/acl/p${index}`, { policy })
      const body = { policies: ['p0', 'p1'], no_default_policy: true, ttl: '1m' }
      const { auth } = await bao.ok('POST', 'auth/token/create', body)
      const { data } = await bao.ok('POST', 'sys/capabilities-accessor', { accessor: auth.accessor, paths })
      const said = paths.map((path) => [path, (data[path] as string[]).filter((word) => word !== 'deny').sort()])
      expect(
        paths.map((path) => [path, [...grants(texts, path)].sort()]),
        texts.join('\n--\n'),
      ).toEqual(said)
      const spoken = spokenOf(texts, paths)
      expect(paths.filter((path) => grants(texts, path).size > 0 && !spoken.includes(path))).toEqual([])
    }
  })
})
