import { describe, expect, it } from 'vitest'
import type { BlastRadius } from '../../src/blast-radius/port.ts'
import { answerText } from '../../src/ui/answers.ts'
import { hostile } from '../report/hostile.ts'
import { radiusOf } from '../report/radius.ts'

const radius = (t?: (plain: string) => string): BlastRadius => ({
  ...radiusOf(5, t),
  couldReach: [
    ...radiusOf(5, t).couldReach,
    {
      system: 'AWS account 123456789012',
      kind: 'aws',
      via: 'role',
      way: ['role'],
      access: 'read-write',
      data: [],
      permissions: [
        {
          group: 'escalate',
          actions: ['iam:PassRole', 'iam:CreateAccessKey', 'lambda:CreateFunction'],
          resources: ['*'],
          conditional: true,
          condition: 'aws:MultiFactorAuthPresent is true',
        },
        {
          group: 'read data',
          actions: Array.from({ length: 200 }, (_, index) => `s3:Get${index}`),
          more: 40,
          resources: ['arn:aws:s3:::crm/*'],
          except: ['arn:aws:s3:::crm/hr/*'],
          conditional: false,
        },
      ],
    },
  ],
  left: [
    { caller: 'support-copilot', calls: 1100, rows: 50_000, bytes: 11_000_000 },
    { caller: 'eve', calls: 1 },
  ],
  gaps: [
    'Credentials that were stolen and used directly leave no invocation: only the logs of the downstream systems show that.',
  ],
})

describe('a blast radius on the terminal', () => {
  it('says what may be done where, for what, on what and under which condition; and what left', () => {
    const text = answerText('blast-radius.compute', radius(), undefined)
    expect(text).toContain('In AWS account 123456789012, by way of role, it may:')
    expect(text).toMatch(/^escalate +iam:PassRole, iam:CreateAccessKey, +\* +aws:MultiFactorAuthPresent is true/m)
    expect(text).toMatch(/s3:Get5\s+and\s+234 more/)
    expect(text).toMatch(/arn:aws:s3:::crm\/\*, but not/)
    expect(text).toMatch(/^support-copilot +1,100 +50,000 +11,000,000$/m)
    expect(text).toMatch(/^eve +1 +– +–$/m)
  })

  it.each([80, 100, 140])('keeps to %i columns', (columns) => {
    const lines = answerText('blast-radius.compute', radius(), columns).split('\n')
    const long = lines.filter((line) => line.length > columns && !/^(Exposed|Suspect|Hubs|In )/.test(line))
    expect(long).toEqual([])
  })

  it('is inert, whatever was written', () => {
    for (const text of hostile) {
      const shown = answerText(
        'blast-radius.compute',
        radius((plain) => `${text} ${plain}`),
        100,
      )
      expect(shown).not.toMatch(/[^\P{C}\n]/u)
    }
  })
})
