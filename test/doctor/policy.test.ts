import { describe, expect, it } from 'vitest'
import { type IamPolicy, iamPolicy } from '../../src/doctor-policy.ts'
import { type Server, serverSchema } from '../../src/registry/schema.ts'

const ec2 = {
  adapter: 'containment/aws-ec2',
  permissions: [
    'ec2:DescribeInstances',
    'autoscaling:DetachInstances',
    'iam:CreateRole',
    'iam:PassRole',
    'sts:AssumeRole',
    'a way to the registry',
  ],
}
const user = {
  adapter: 'credentials/aws-iam-user',
  permissions: ['sts:GetCallerIdentity', 'iam:CreateAccessKey', 'iam:GetServiceLastAccessedDetails'],
}
const role = { adapter: 'credentials/aws-iam-role', permissions: ['iam:PutRolePolicy'] }
const local = { adapter: 'containment/local-process', permissions: ['ptrace', 'kill: send signals'] }

function server(more: object = {}): Server {
  return serverSchema.parse({
    name: 'io.acme/crm',
    version: '1.0.0',
    status: 'approved',
    owner: 'o',
    package: { registryType: 'npm', identifier: 'crm', version: '1.0.0' },
    deployments: [{ id: 'prod', kind: 'aws-ec2', region: 'us-east-1', instances: ['i-1'] }],
    ...more,
  })
}

const statement = ({ policy }: IamPolicy, sid: string) => policy.Statement.find(({ Sid }) => Sid === sid)

describe('the least policy', () => {
  it('has a statement for each adapter that needs AWS, and nothing that is no action of IAM', () => {
    const made = iamPolicy([ec2, user, local], undefined)
    expect(made.policy.Version).toBe('2012-10-17')
    const sids = made.policy.Statement.map(({ Sid }) => Sid)
    expect(sids).toEqual([
      'ContainmentAwsEc2',
      'ContainmentAwsEc2Named',
      'CredentialsAwsIamUser',
      'GiveInstancesARole',
      'DoctorAsks',
    ])
    for (const sid of sids) expect(sid).toMatch(/^[A-Za-z0-9]+$/)
    expect(statement(made, 'ContainmentAwsEc2')).toEqual({
      Sid: 'ContainmentAwsEc2',
      Effect: 'Allow',
      Action: ['autoscaling:DetachInstances', 'ec2:DescribeInstances'],
      Resource: '*',
    })
    expect(JSON.stringify(made.policy)).not.toMatch(/ptrace|registry/)
  })

  it('passes roles to EC2 alone, and makes roles only under its own name', () => {
    const made = iamPolicy([ec2], undefined)
    expect(statement(made, 'GiveInstancesARole')).toMatchObject({
      Action: ['iam:PassRole'],
      Condition: { StringEquals: { 'iam:PassedToService': 'ec2.amazonaws.com' } },
    })
    expect(statement(made, 'ContainmentAwsEc2Named')).toMatchObject({
      Action: ['iam:CreateRole'],
      Resource: ['arn:aws:iam::*:role/mcp-ir-*', 'arn:aws:iam::*:instance-profile/mcp-ir-*'],
    })
  })

  it('is about the users and roles of the server, and says so where there is none', () => {
    const credentials = [
      { id: 'u', kind: 'aws-iam-user', user: 'crm' },
      { id: 'r', kind: 'aws-iam-role', role: 'arn:aws:iam::123456789012:role/mcp/crm' },
      { id: 'k', kind: 'aws-secret', secret: 's', issuer: { kind: 'aws-iam-user', user: 'mail' } },
    ]
    const made = iamPolicy([user, role], [server({ credentials })])
    expect(statement(made, 'CredentialsAwsIamUserNamed')).toMatchObject({
      Action: ['iam:CreateAccessKey'],
      Resource: [
        'arn:aws:iam::*:user/crm',
        'arn:aws:iam::*:user/*/crm',
        'arn:aws:iam::*:user/mail',
        'arn:aws:iam::*:user/*/mail',
      ],
    })
    // It takes no resource: AWS would permit nothing.
    expect(statement(made, 'CredentialsAwsIamUser')).toMatchObject({
      Action: ['iam:GetServiceLastAccessedDetails', 'sts:GetCallerIdentity'],
      Resource: '*',
    })
    expect(statement(made, 'CredentialsAwsIamRoleNamed')?.Resource).toEqual(['arn:aws:iam::123456789012:role/mcp/crm'])
    expect(made.notes.join()).not.toContain('administrator')
    expect(iamPolicy([user, role], undefined).notes.join()).toContain('administrator')
  })

  it('is about the secrets of the server, and the one that new values go to', () => {
    const values = { adapter: 'credentials/aws-secret', permissions: ['secretsmanager:RotateSecret'] }
    const store = { adapter: 'deliver-to/aws-secret', permissions: ['secretsmanager:PutSecretValue'] }
    const credentials = [{ id: 's', kind: 'aws-secret', secret: 'crm/api', region: 'us-east-1' }]
    const resources = (made: IamPolicy) => made.policy.Statement.slice(0, 2).map(({ Resource }) => Resource)
    const old = ['arn:aws:secretsmanager:*:*:secret:crm/api-??????']
    expect(resources(iamPolicy([values, store], [server({ credentials })]))).toEqual([old, old])
    const deliverTo = { kind: 'aws-secret', secret: 'crm/next' }
    const moved = iamPolicy([values, store], [server({ credentials, deliverTo })])
    expect(resources(moved)).toEqual([old, ['arn:aws:secretsmanager:*:*:secret:crm/next-??????']])
    expect(moved.notes.join()).toContain('kms:Decrypt')
  })

  it('assumes the roles that deployments name, and no other', () => {
    const there = 'arn:aws-cn:iam::210987654321:role/responder'
    const made = iamPolicy(
      [ec2],
      [server({ deployments: [{ id: 'cn', kind: 'aws-ec2', region: 'cn-north-1', role: there, instances: ['i-1'] }] })],
    )
    expect(statement(made, 'AssumeDeploymentRoles')).toMatchObject({ Action: ['sts:AssumeRole'], Resource: [there] })
    expect(statement(made, 'ContainmentAwsEc2Named')?.Resource).toContain('arn:aws-cn:iam::*:role/mcp-ir-*')
    expect(statement(iamPolicy([ec2], [server()]), 'AssumeDeploymentRoles')).toBeUndefined()
    expect(JSON.stringify(iamPolicy([ec2], undefined).policy)).not.toContain('sts:AssumeRole')
  })

  it('says how to divide it when it is longer than AWS takes', () => {
    const long = (adapter: string) => ({
      adapter,
      permissions: Array.from({ length: 90 }, (_, index) => `ec2:DescribeSomethingWithALongName${index}`),
    })
    const small = iamPolicy([ec2, user], undefined)
    expect(small.parts).toHaveLength(1)
    expect(small.characters).toBe(JSON.stringify(small.policy).length)
    const made = iamPolicy([long('containment/a'), long('containment/b')], undefined)
    expect(made.characters).toBeGreaterThan(6144)
    expect(made.parts).toEqual([['ContainmentA'], ['ContainmentB', 'DoctorAsks']])
    expect(made.notes[0]).toMatch(/more than the 6144.*ContainmentA; ContainmentB \+ DoctorAsks/)
  })
})
