import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { differences, told } from '../../src/deployment/difference.ts'
import { type ServedTool, toolsDigest } from '../../src/mcp/tools-digest.ts'

const tool = (more: object = {}): ServedTool => ({
  name: 'get_customer',
  description: 'Reads one customer of the company by its number and nothing else whatsoever.',
  inputSchema: { type: 'object', properties: { id: { type: 'string' } } },
  ...more,
})
const approved = { instructions: 'Be kind.', tools: [tool(), tool({ name: 'other' })] }

describe('what is served against what was approved', () => {
  test('one word of a description, with the words around it', () => {
    const served = {
      ...approved,
      tools: [
        tool({ description: tool().description?.toString().replace('number', 'password') }),
        tool({ name: 'other' }),
      ],
    }
    const found = differences(approved, served)
    expect(found).toMatchObject([{ tool: 'get_customer', field: 'description' }])
    expect(told(found)).toBe(
      'tool get_customer, description: approved "… customer of the company by its [number] and nothing else whatsoever.", served "… customer of the company by its [password] and nothing else whatsoever."',
    )
  })

  test('deep in a schema by its path; instructions; tools that came and went', () => {
    const served = {
      tools: [
        tool({ inputSchema: { type: 'object', properties: { id: { type: 'number' }, token: {} } } }),
        tool({ name: 'new' }),
      ],
    }
    expect(differences(approved, served).map(({ tool: name, field }) => [name, field])).toEqual([
      [undefined, 'instructions'],
      ['get_customer', 'inputSchema.properties.id.type'],
      ['get_customer', 'inputSchema.properties.token'],
      ['new', ''],
      ['other', ''],
    ])
    const text = told(differences(approved, served))
    expect(text).toContain('inputSchema.properties.id.type: approved "[string]", served "[number]"')
    expect(text).toContain('tool other: approved and not served')
  })

  test('what the digest does not cover is no difference', () => {
    expect(differences(approved, { ...approved, tools: [tool({ icons: [] }), tool({ name: 'other' })] })).toEqual([])
  })

  test('hostile text is told inert and short', () => {
    const served = {
      ...approved,
      tools: [tool({ description: `\u001b[2J\u202e${'x'.repeat(1e6)}` }), tool({ name: 'other' })],
    }
    const text = told(differences(approved, served))
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
    expect(text).not.toMatch(/[\u0000-\u001f\u202e]/)
    expect(text.length).toBeLessThan(2000)
  })

  test('there is a difference exactly when the digests differ', () => {
    const text = fc.constantFrom('', 'a', 'a b', 'a b c', '__proto__')
    const schema = fc.dictionary(text, fc.oneof(text, fc.dictionary(text, text), fc.array(text)))
    const one = fc.record(
      { name: fc.constantFrom('x', 'y'), description: text, inputSchema: schema },
      { requiredKeys: ['name'] },
    )
    const tools = fc.uniqueArray(one, { selector: ({ name }) => name, maxLength: 2 })
    fc.assert(
      fc.property(tools, tools, (before, after) => {
        const found = differences({ tools: before }, { tools: after })
        expect(found.length > 0).toBe(toolsDigest({ tools: before }) !== toolsDigest({ tools: after }))
      }),
    )
  })
})
