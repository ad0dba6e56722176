import type { AllowedConditionExpression } from '@cloud-copilot/iam-simulate'

/** A condition as the evaluator gives it, in words; `and` binds closer than `or`. */
export function conditionWords(expression: AllowedConditionExpression): string {
  switch (expression.conditionType) {
    case 'always':
      return 'always'
    case 'never':
      return 'never'
    case 'sessionName':
      return `the name of the session is ${list(expression.sessionName)}`
    case 'condition':
      return leaf(expression.op, expression.key, expression.values)
    case 'group': {
      const parts = [...new Set(expression.conditions.map((part) => nested(part, expression.operator)))]
      return parts.join(` ${expression.operator} `)
    }
  }
}

function nested(part: AllowedConditionExpression, operator: 'and' | 'or'): string {
  const words = conditionWords(part)
  return part.conditionType === 'group' && part.operator !== operator ? `(${words})` : words
}

/** By the name of the operator, in small letters and without its prefix and suffix. */
const operators: Readonly<Record<string, string>> = {
  stringequals: 'is',
  stringequalsignorecase: 'is',
  stringnotequals: 'is not',
  stringnotequalsignorecase: 'is not',
  stringlike: 'is like',
  stringnotlike: 'is not like',
  arnequals: 'is',
  arnlike: 'is like',
  arnnotequals: 'is not',
  arnnotlike: 'is not like',
  numericequals: 'is',
  numericnotequals: 'is not',
  numericlessthan: 'is less than',
  numericlessthanequals: 'is at most',
  numericgreaterthan: 'is more than',
  numericgreaterthanequals: 'is at least',
  dateequals: 'is',
  datenotequals: 'is not',
  datelessthan: 'is before',
  datelessthanequals: 'is not after',
  dategreaterthan: 'is after',
  dategreaterthanequals: 'is not before',
  bool: 'is',
  binaryequals: 'is',
  binarynotequals: 'is not',
  ipaddress: 'is in',
  notipaddress: 'is not in',
}

function leaf(op: string, key: string, given: readonly string[] | string): string {
  const values = typeof given === 'string' ? [given] : given
  const [, prefix = '', name = '', exists] = /^(?:(\w+):)?(\w+?)(IfExists)?$/i.exec(op) ?? []
  const base = name.toLowerCase()
  if (base === 'null') return values[0]?.toLowerCase() === 'true' ? `${key} is missing` : `${key} is there`
  const which = { forallvalues: 'every one of ', foranyvalue: 'one of ' }[prefix.toLowerCase()] ?? ''
  const words = operators[base] ?? `${op} (not known here)`
  const some = words.includes('not') ? list(values, 'and') : list(values)
  return `${which}${key} ${words} ${some}${exists === undefined ? '' : ', where it is given'}`
}

function list(values: readonly string[], word = 'or'): string {
  return values.length < 2 ? (values[0] ?? 'nothing') : `${values.slice(0, -1).join(', ')} ${word} ${values.at(-1)}`
}
