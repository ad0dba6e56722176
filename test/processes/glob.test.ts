import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { matches } from '../../src/processes/glob.ts'

describe('command patterns', () => {
  it.each([
    ['*crm-mcp*', 'node /srv/crm-mcp/server.js', true],
    ['*crm-mcp*', 'node /srv/crm/server.js', false],
    ['node *', 'node a\nb', true],
    ['node', 'node server.js', false],
    ['node ?.js', 'node a.js', true],
    ['node ?.js', 'node ab.js', false],
    ['*.js', 'a.js.js', true],
    ['', '', true],
    ['*', '', true],
    ['?', '', false],
    // What would mean something in a regular expression means itself.
    ['.*', 'xyz', false],
    ['node (a|b)+$', 'node (a|b)+$', true],
    ['[ab]', 'a', false],
  ])('%j and %j: %s', (pattern, text, expected) => {
    expect(matches(pattern, text)).toBe(expected)
  })

  it('agrees with the plain definition', () => {
    const plain = (pattern: string, text: string): boolean => {
      if (pattern === '') return text === ''
      if (pattern[0] === '*') return plain(pattern.slice(1), text) || (text !== '' && plain(pattern, text.slice(1)))
      return text !== '' && (pattern[0] === '?' || pattern[0] === text[0]) && plain(pattern.slice(1), text.slice(1))
    }
    const few = (letters: string): fc.Arbitrary<string> =>
      fc.array(fc.constantFrom(...letters), { maxLength: 7 }).map((list) => list.join(''))
    fc.assert(fc.property(few('ab*?'), few('ab'), (pattern, text) => matches(pattern, text) === plain(pattern, text)))
  })

  it('does not run away on a hostile text', () => {
    expect(matches(`${'*a'.repeat(50)}*b`, 'a'.repeat(20_000))).toBe(false)
  })
})
