import { describe, expect, it } from 'vitest'
import { mayRead } from '../../src/credentials/stores/vault-policy.ts'

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
    expect(mayRead(policy, path)).toBe(true)
  })

  it.each([
    ['nothing', ''],
    ['another path', rule('secret/data/mcp/crm/next2', 'read')],
    ['the folder above', rule('secret/data/mcp/crm', 'read')],
    ['a longer path', rule('secret/data/mcp/crm/next/*', 'read')],
    ['other rights', rule(path, 'list', 'create')],
    ['one part too few', rule('secret/data/+/next', 'read')],
    ['deny', rule('*', 'deny')],
    ['deny of just this', `${rule('secret/*', 'read')}${rule(path, 'deny')}`],
    ['a comment', `# ${rule(path, 'read').replaceAll('\n', ' ')}\n/* ${rule(path, 'read')} */`],
  ])('it does not: %s', (_, policy) => {
    expect(mayRead(policy, path)).toBe(false)
  })
})
