import type { Server } from './registry/port.ts'

/** What an adapter declares. `adapter` is its capability and kind: `containment/aws-ec2`. */
export interface Declared {
  readonly adapter: string
  readonly permissions: readonly string[]
}

interface Statement {
  readonly Sid: string
  readonly Effect: 'Allow'
  readonly Action: readonly string[]
  readonly Resource: string | readonly string[]
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string>>>>
}

export interface IamPolicy {
  readonly policy: { readonly Version: '2012-10-17'; readonly Statement: readonly Statement[] }
  /** As AWS counts them: without white space. */
  readonly characters: number
  /** Statements by their Sid, in as few policies as AWS takes; one list when all fit into one. */
  readonly parts: readonly (readonly string[])[]
  /** What is not as narrow as it could be, and why. */
  readonly notes: readonly string[]
}

/** Of a managed policy: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html */
const managedLimit = 6144

/** An IAM action, among permissions of other systems. */
export const isIamAction = (permission: string): boolean => /^[a-z0-9-]+:[A-Z]\w+$/.test(permission)

/** Knows no resource: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html */
const withoutResource = new Set(['iam:GetServiceLastAccessedDetails', 'iam:ListUsers', 'iam:ListRoles'])

/** Is about groups and policies, and the registry names none. */
const aboutOthers = new Set([
  'iam:GetPolicy',
  'iam:GetPolicyVersion',
  'iam:GetGroupPolicy',
  'iam:ListGroupPolicies',
  'iam:ListAttachedGroupPolicies',
])

/** Whether an action can be restricted to a user, a role or a secret. */
export const canBeNamed = (action: string): boolean =>
  /^(iam|secretsmanager):/.test(action) && !withoutResource.has(action) && !aboutOthers.has(action)

/**
 * The least policy of a responder, made from what the adapters declare: one statement for each adapter, and what hands on
 * rights of its own apart from it.
 *
 * @param servers whose deployments and credentials it is for; undefined: any that may come
 */
export function iamPolicy(declared: readonly Declared[], servers: readonly Server[] | undefined): IamPolicy {
  const adapters = declared
    .map(({ adapter, permissions }) => ({ adapter, actions: permissions.filter(isIamAction).sort() }))
    .filter(({ actions }) => actions.length > 0)
  const all = new Set(adapters.flatMap(({ actions }) => actions))
  const named = resourcesOf(servers)
  const assumed = [...new Set((servers ?? []).flatMap(({ deployments }) => deployments.flatMap(roleToAssume)))].sort()
  const statements: Statement[] = []
  const allow = (Sid: string, Action: readonly string[], Resource: Statement['Resource'] = '*'): void => {
    if (Action.length > 0 && Resource.length > 0) statements.push({ Sid, Effect: 'Allow', Action, Resource })
  }

  for (const { adapter, actions } of adapters) {
    const own = named[adapter]
    const narrowed = (action: string): boolean => own !== undefined && canBeNamed(action)
    const plain = actions.filter((action) => !handsOn.has(action))
    allow(
      sid(adapter),
      plain.filter((action) => !narrowed(action)),
    )
    allow(`${sid(adapter)}Named`, plain.filter(narrowed), own)
  }
  if (all.has('iam:PassRole')) {
    statements.push({
      Sid: 'GiveInstancesARole',
      Effect: 'Allow',
      Action: ['iam:PassRole'],
      Resource: '*',
      Condition: { StringEquals: { 'iam:PassedToService': 'ec2.amazonaws.com' } },
    })
  }
  if (all.has('sts:AssumeRole')) allow('AssumeDeploymentRoles', ['sts:AssumeRole'], assumed)
  allow('DoctorAsks', ['iam:SimulatePrincipalPolicy'])

  const policy = { Version: '2012-10-17', Statement: statements } as const
  const characters = length(policy)
  const parts = split(statements)
  return { policy, characters, parts, notes: [size(characters, parts), ...notes(all, servers, assumed)] }
}

/** How the names of all begin that containment makes in IAM: the role that is denied everything, and its profile. */
export const madeByUs = 'mcp-ir-'

/** Actions that pass other rights on, and so get a statement of their own. */
const handsOn = new Set(['iam:PassRole', 'sts:AssumeRole'])

/**
 * By adapter: ARNs of the users, roles, profiles and secrets that it is about, whatever their account, region and path;
 * nothing where it may be any.
 */
function resourcesOf(servers: readonly Server[] | undefined): Readonly<Record<string, readonly string[] | undefined>> {
  const partition = partitionOf(servers ?? [])
  const iam = (resource: string): string => `arn:${partition}:iam::*:${resource}`
  const own = [iam(`role/${madeByUs}*`), iam(`instance-profile/${madeByUs}*`)]
  if (servers === undefined) return { 'containment/aws-ec2': own }
  const names = {
    user: new Set<string>(),
    role: new Set<string>(),
    secret: new Set<string>(),
    place: new Set<string>(),
  }
  for (const { credentials, deliverTo } of servers) {
    for (const credential of credentials) {
      if (credential.kind === 'aws-iam-user') names.user.add(credential.user)
      if (credential.kind === 'aws-iam-role') names.role.add(credential.role)
      if (credential.kind === 'aws-secret') names.secret.add(credential.secret)
      if ('issuer' in credential && credential.issuer?.kind === 'aws-iam-user') names.user.add(credential.issuer.user)
    }
    // Where nothing else is said, a new value goes where the old one was.
    if (deliverTo?.kind === 'aws-secret') names.place.add(deliverTo.secret)
    else for (const secret of names.secret) names.place.add(secret)
  }
  const arns = (of: ReadonlySet<string>, write: (name: string) => readonly string[]): readonly string[] =>
    [...of].sort().flatMap((name) => (name.startsWith('arn:') ? [name] : write(name)))
  const principals = (kind: 'user' | 'role') =>
    arns(names[kind], (name) => [iam(`${kind}/${name}`), iam(`${kind}/*/${name}`)])
  // Secrets Manager puts six characters of its own behind the name.
  const secrets = (of: ReadonlySet<string>) =>
    arns(of, (name) => [`arn:${partition}:secretsmanager:*:*:secret:${name}-??????`])
  return {
    'containment/aws-ec2': own,
    'credentials/aws-iam-user': principals('user'),
    'credentials/aws-iam-role': principals('role'),
    'credentials/powers/aws-iam-user': principals('user'),
    'credentials/powers/aws-iam-role': principals('role'),
    'credentials/aws-secret': secrets(names.secret),
    'deliver-to/aws-secret': secrets(names.place),
  }
}

function partitionOf(servers: readonly Server[]): string {
  const regions = servers.flatMap(({ deployments }) =>
    deployments.flatMap((one) => (one.kind === 'aws-ec2' ? (one.region ?? []) : [])),
  )
  if (regions.some((region) => region.startsWith('cn-'))) return 'aws-cn'
  return regions.some((region) => region.startsWith('us-gov-')) ? 'aws-us-gov' : 'aws'
}

function roleToAssume(deployment: Server['deployments'][number]): readonly string[] {
  return deployment.kind === 'aws-ec2' && deployment.role !== undefined ? [deployment.role] : []
}

/** `containment/aws-ec2` is `ContainmentAwsEc2`: a Sid takes letters and digits only. */
function sid(adapter: string): string {
  return adapter
    .split(/[^A-Za-z0-9]+/)
    .map((word) => `${word.charAt(0).toUpperCase()}${word.slice(1)}`)
    .join('')
}

function length(policy: unknown): number {
  return JSON.stringify(policy).replace(/\s/g, '').length
}

/** In their order, as many to each policy as fit. One statement alone is never divided. */
function split(statements: readonly Statement[]): readonly (readonly string[])[] {
  const parts: Statement[][] = []
  for (const statement of statements) {
    const last = parts.at(-1)
    if (last !== undefined && length({ Version: '2012-10-17', Statement: [...last, statement] }) <= managedLimit) {
      last.push(statement)
    } else parts.push([statement])
  }
  return parts.map((part) => part.map(({ Sid }) => Sid))
}

function notes(
  actions: ReadonlySet<string>,
  servers: readonly Server[] | undefined,
  assumed: readonly string[],
): readonly string[] {
  const found = [
    'Resource is * where AWS knows no resource (Describe…), and where it is known only in the incident what will be touched (interfaces, groups, volumes). Conditions on tags would be taken away by whoever can alter the tags; aws:RequestedRegion can be added where only few regions are used.',
    'Attach it to a principal that no MCP server uses, and let it be assumed only for an incident: it can cut off what runs.',
  ]
  if (servers === undefined && [...actions].some((action) => /^iam:(Put|Create|Update)/.test(action))) {
    found.push(
      'No server is named, so that it puts policies on every role and user, and makes keys of every user: as much as an administrator may. With a server it is restricted to the roles and users that the registry names.',
    )
  }
  if (actions.has('iam:PassRole')) {
    found.push(
      'iam:PassRole is needed to give an instance the role that is denied everything, and its own one back (release). It is restricted to EC2; put the roles of your instances, which the registry does not know, and role/mcp-ir-* in place of *.',
    )
  }
  if ([...actions].some((action) => action.startsWith('secretsmanager:'))) {
    found.push(
      'Secrets under a key of your own in KMS also need kms:Decrypt and kms:GenerateDataKey on that key, which is not in here.',
    )
  }
  if (assumed.length > 0) {
    found.push(
      `What is about EC2 is done with ${assumed.join(', ')}: there the statements of the deployments are needed, too, and a trust policy that names the responder.`,
    )
  } else if (actions.has('sts:AssumeRole')) {
    found.push('sts:AssumeRole is left out: no deployment here names a role to assume.')
  }
  found.push(
    'DoctorAsks only lets the doctor ask what is permitted, without doing it; it may go, and the doctor then says that it could not ask.',
  )
  return found
}

function size(characters: number, parts: IamPolicy['parts']): string {
  if (parts.length === 1) return `${characters} of the ${managedLimit} characters that a managed policy may have.`
  const lists = parts.map((part) => part.join(' + ')).join('; ')
  return `${characters} characters, more than the ${managedLimit} of a managed policy: make ${parts.length} of it, with the statements ${lists}.`
}
