import { expect, test } from 'vitest'
import { tree } from '../../src/ui/tree.ts'

test('merges paths into one tree, in their order', () => {
  const paths = [['db', 'lease a'], ['db', 'lease b', 'session 7'], ['db', 'lease b', 'session 8'], ['key']]
  expect(tree(paths)).toEqual(['db', '├─ lease a', '└─ lease b', '   ├─ session 7', '   └─ session 8', 'key'])
  expect(tree([])).toEqual([])
})

test('says how many there are beyond what can be read', () => {
  const lines = tree(Array.from({ length: 1000 }, (_, index) => ['db', `lease ${index}`, 'user']))
  expect(lines).toHaveLength(1 + 2 * 12 + 1)
  expect(lines.at(-1)).toBe('└─ and 988 more')
  expect(tree(Array.from({ length: 13 }, (_, index) => ['db', `lease ${index}`]))).toHaveLength(14)
})
