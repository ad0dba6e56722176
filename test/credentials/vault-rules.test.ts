import { describe, expect, it } from 'vitest'
import { grants, mayRead, spokenOf } from '../../src/credentials/vault/rules.ts'

const path = 'secret/data/mcp/crm/next'
const rule = (of: string, ...words: string[]): string =>
  `path "${of}" {\n  capabilities = [${words.map((word) => `"${word}"`).join(', ')}]\n}\n`
describe('whether a policy lets somebody read a path', () => {
  it.each([
    ['the very path', rule(path, 'read')],
    ['a prefix', rule('secret/data/mcp/*', 'list', 'read')],
    ['a prefix within a word', rule('secret/data/m*', 'read')],
    ['everything', rule('*', 'sudo')],
    ['one part whatever it is', rule('secret/data/+/crm/next', 'read')],
    ['a template, which could become anything', rule('secret/data/{{identity.entity.name}}/crm/next', 'read')],
    ['the old key', `path "${path}" { policy = "write" }`],
    ['JSON', JSON.stringify({ path: { [path]: { capabilities: ['read'] } } })],
    ['a rule with blocks in it', `path "${path}" { allowed_parameters = { "a" = ["}"] }\n capabilities = ["read"] }`],
    [
      'a rule after one that denies something else',
      `${rule('secret/data/mcp/other', 'deny')}${rule('secret/*', 'read')}`,
    ],
    [
      'a wildcard that denies, as the longer rule wins',
      `${rule('secret/*', 'deny')}${rule('secret/data/mcp/*', 'read')}`,
    ],
  ])('it does: %s', (_, policy) => {
    expect(mayRead([policy], path)).toBe(true)
  })

  it.each([
    ['nothing', ''],
    ['another path', rule('secret/data/mcp/crm/next2', 'read')],
    ['the folder above', rule('secret/data/mcp/crm', 'read')],
    ['a longer path', rule('secret/data/mcp/crm/next/*', 'read')],
    ['other rights', rule(path, 'list', 'create')],
    ['one part too few', rule('secret/data/+/next', 'read')],
    ['deny', rule('*', 'deny')],
    [
      'a shorter rule, where a longer one gives less',
      `${rule('secret/*', 'read')}${rule('secret/data/mcp/*', 'list')}`,
    ],
    [
      'a wildcard in the middle, where one at the end is closer',
      `${rule('secret/+/mcp/crm/next', 'read')}${rule('secret/data/mcp/crm/*', 'list')}`,
    ],
    ['deny in the same rule of another policy', `${rule('secret/data/*', 'read')}${rule('secret/data/*', 'deny')}`],
    ['deny of just this', `${rule('secret/*', 'read')}${rule(path, 'deny')}`],
    ['a comment', `# ${rule(path, 'read').replaceAll('\n', ' ')}\n/* ${rule(path, 'read')} */`],
  ])('it does not: %s', (_, policy) => {
    expect(mayRead([policy], path)).toBe(false)
  })
})

it('what may be made is told by all policies together', () => {
  const own = rule('auth/approle/role/billing/secret-id', 'create', 'update')
  const secretId = 'auth/approle/role/billing/secret-id'
  const mayMake = (policies: readonly string[], of: string): boolean => grants(policies, of).has('update')
  expect(mayMake([rule(path, 'read'), own], secretId)).toBe(true)
  expect(mayMake([rule('auth/approle/role/+/secret-id', 'update')], secretId)).toBe(true)
  expect(mayMake([own, rule(secretId, 'deny')], secretId)).toBe(false)
  expect(mayMake([rule(path, 'read')], secretId)).toBe(false)
  expect(mayMake([rule(secretId, 'read', 'list')], secretId)).toBe(false)
})

it('a policy speaks of what any of its rules could match, and of nothing else', () => {
  const speaksOf = (policies: readonly string[], of: string): boolean => spokenOf(policies, [path, of]).includes(of)
  expect(speaksOf([rule('auth/*', 'deny')], 'auth/token/create')).toBe(true)
  expect(speaksOf([rule('/auth/token/create', 'deny')], 'auth/token/create')).toBe(true)
  expect(speaksOf([rule('auth/+/create', 'deny')], 'auth/token/create')).toBe(true)
  expect(speaksOf([rule('auth/{{identity.entity.name}}/create', 'read')], 'auth/token/create')).toBe(true)
  expect(speaksOf(['path "auth\\u002ftoken/create" { capabilities = ["update"] }'], 'auth/token/create')).toBe(true)
  expect(speaksOf([rule('secret/*', 'read'), rule('auth/token/lookup-self', 'read')], 'auth/token/create')).toBe(false)
})
