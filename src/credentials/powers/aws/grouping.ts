import type { Grant, Group, Opened } from '../port.ts'
import type { Allowed } from './evaluate.ts'

/**
 * What an action is good for, to somebody who stole the credential. AWS's own access level tells reading from changing; which
 * actions give more rights, and which outlive the credential, it does not tell: those are listed here.
 */

/**
 * Lead to more rights than the principal has: by granting them, by taking another identity, or by running code under one. After
 * Rhino Security Labs, "AWS IAM privilege escalation methods", and MITRE ATT&CK T1078.004, T1098, T1548, T1651. Beside these
 * every action of the level "Permissions management" (resource policies, grants, boundaries) is taken for one.
 */
const escalating = words(`
  iam: AddUserToGroup AddRoleToInstanceProfile AttachGroupPolicy AttachRolePolicy AttachUserPolicy CreateAccessKey
    CreateLoginProfile CreatePolicyVersion DeactivateMFADevice DeleteGroupPolicy DeleteRolePermissionsBoundary DeleteRolePolicy
    DeleteUserPermissionsBoundary DeleteUserPolicy DetachGroupPolicy DetachRolePolicy DetachUserPolicy PassRole PutGroupPolicy
    PutRolePermissionsBoundary PutRolePolicy PutUserPermissionsBoundary PutUserPolicy RemoveUserFromGroup ResetServiceSpecificCredential
    SetDefaultPolicyVersion UpdateAssumeRolePolicy UpdateLoginProfile CreateServiceLinkedRole
  sts: AssumeRole AssumeRoleWithSAML AssumeRoleWithWebIdentity AssumeRoot
  ec2: RunInstances RequestSpotInstances RequestSpotFleet AssociateIamInstanceProfile ReplaceIamInstanceProfileAssociation
    ModifyInstanceAttribute CreateLaunchTemplate CreateLaunchTemplateVersion
  ec2-instance-connect: SendSSHPublicKey SendSerialConsoleSSHPublicKey OpenTunnel
  ssm: SendCommand StartSession ResumeSession CreateAssociation UpdateAssociation StartAutomationExecution CreateDocument
    UpdateDocument UpdateDocumentDefaultVersion
  lambda: CreateFunction UpdateFunctionCode UpdateFunctionConfiguration CreateEventSourceMapping UpdateEventSourceMapping
    PublishLayerVersion
  ecs: RunTask StartTask ExecuteCommand RegisterTaskDefinition CreateService UpdateService
  eks: CreateAccessEntry AssociateAccessPolicy UpdateAccessEntry
  autoscaling: CreateLaunchConfiguration CreateAutoScalingGroup UpdateAutoScalingGroup
  cloudformation: CreateStack UpdateStack CreateChangeSet ExecuteChangeSet CreateStackSet UpdateStackSet CreateStackInstances
    SetStackPolicy
  codebuild: CreateProject UpdateProject StartBuild StartBuildBatch
  codepipeline: CreatePipeline UpdatePipeline
  glue: CreateDevEndpoint UpdateDevEndpoint CreateJob UpdateJob CreateSession RunStatement
  sagemaker: CreateNotebookInstance UpdateNotebookInstance CreatePresignedNotebookInstanceUrl CreatePresignedDomainUrl
    CreateTrainingJob CreateProcessingJob CreateNotebookInstanceLifecycleConfig UpdateNotebookInstanceLifecycleConfig
  datapipeline: CreatePipeline PutPipelineDefinition ActivatePipeline
  states: CreateStateMachine UpdateStateMachine
  apprunner: CreateService UpdateService
  batch: RegisterJobDefinition SubmitJob
  bedrock-agentcore: CreateCodeInterpreter InvokeCodeInterpreter
  organizations: AttachPolicy DetachPolicy UpdatePolicy LeaveOrganization
  cognito-identity: SetIdentityPoolRoles GetCredentialsForIdentity GetOpenIdToken
  identitystore: CreateGroupMembership
`)

/** Leave something behind that works without the credential: MITRE ATT&CK T1098, T1136.003, T1525, T1546, T1556. */
const persisting = words(`
  iam: AddClientIDToOpenIDConnectProvider CreateAccessKey CreateLoginProfile CreateOpenIDConnectProvider CreateRole
    CreateSAMLProvider CreateServiceSpecificCredential CreateUser CreateVirtualMFADevice EnableMFADevice ResetServiceSpecificCredential
    UpdateAccessKey UpdateAssumeRolePolicy UpdateLoginProfile UpdateOpenIDConnectProviderThumbprint UpdateSAMLProvider
    UploadSSHPublicKey UploadSigningCertificate UploadServerCertificate UpdateServiceSpecificCredential UpdateSSHPublicKey
    UpdateSigningCertificate
  sts: GetFederationToken GetSessionToken
  rolesanywhere: CreateTrustAnchor CreateProfile UpdateTrustAnchor UpdateProfile EnableTrustAnchor EnableProfile
  lambda: AddPermission AddLayerVersionPermission CreateFunction UpdateFunctionCode UpdateFunctionConfiguration
    CreateFunctionUrlConfig UpdateFunctionUrlConfig CreateEventSourceMapping PublishLayerVersion
  ec2: CreateKeyPair ImportKeyPair RunInstances CreateLaunchTemplateVersion ModifyInstanceAttribute ModifyImageAttribute
    ModifySnapshotAttribute AuthorizeSecurityGroupIngress CreateVpcPeeringConnection AcceptVpcPeeringConnection
    CreateVpnConnection CreateClientVpnEndpoint
  ec2-instance-connect: SendSSHPublicKey SendSerialConsoleSSHPublicKey
  events: PutRule PutTargets PutPermission
  scheduler: CreateSchedule UpdateSchedule
  ssm: CreateAssociation UpdateAssociation CreateActivation CreateDocument UpdateDocument ModifyDocumentPermission
  ecr: PutImage SetRepositoryPolicy BatchDeleteImage
  ecs: RegisterTaskDefinition CreateService UpdateService
  codebuild: CreateWebhook UpdateProject
  cloudformation: CreateStack UpdateStack CreateStackSet
  autoscaling: CreateLaunchConfiguration CreateAutoScalingGroup
  kms: CreateGrant PutKeyPolicy
  secretsmanager: PutResourcePolicy
  s3: PutBucketPolicy PutBucketAcl PutObjectAcl PutReplicationConfiguration ReplicateObject
  sns: AddPermission Subscribe
  sqs: AddPermission
  rds: ModifyDBInstance ModifyDBCluster CreateDBSnapshot ModifyDBSnapshotAttribute
  organizations: CreateAccount InviteAccountToOrganization EnableAWSServiceAccess RegisterDelegatedAdministrator
  sso: CreateAccountAssignment PutInlinePolicyToPermissionSet AttachManagedPolicyToPermissionSet CreatePermissionSet
  identitystore: CreateUser CreateGroupMembership
  cognito-idp: AdminCreateUser AdminSetUserPassword
  eks: CreateAccessEntry
  lightsail: DownloadDefaultKeyPair CreateKeyPair ImportKeyPair
`)

/** What a thief of data takes first; listed before the others. */
const telling = words(`
  secretsmanager: GetSecretValue BatchGetSecretValue
  ssm: GetParameter GetParameters GetParametersByPath
  s3: GetObject ListBucket PutObject DeleteObject ListAllMyBuckets DeleteBucket
  dynamodb: GetItem Query Scan BatchGetItem PutItem UpdateItem DeleteItem DeleteTable ExportTableToPointInTime
  kms: Decrypt ScheduleKeyDeletion
  rds-data: ExecuteStatement BatchExecuteStatement
  athena: GetQueryResults StartQueryExecution
  redshift-data: ExecuteStatement GetStatementResult
  logs: GetLogEvents FilterLogEvents StartQuery DeleteLogGroup
  sqs: ReceiveMessage SendMessage PurgeQueue
  sns: Publish
  ses: SendEmail SendRawEmail
  lambda: GetFunction InvokeFunction DeleteFunction
  ec2: DescribeInstances DescribeInstanceAttribute GetPasswordData GetConsoleOutput TerminateInstances StopInstances
  ebs: GetSnapshotBlock
  ecr: BatchGetImage GetAuthorizationToken
  cloudtrail: StopLogging DeleteTrail PutEventSelectors
  guardduty: DeleteDetector
  bedrock: InvokeModel
  iam: PassRole CreateAccessKey AttachUserPolicy AttachRolePolicy PutUserPolicy PutRolePolicy CreateUser
  sts: AssumeRole
`)

/** `kms:Decrypt` is a write by AWS's levels; what it does is read. So is whatever runs a query. */
const reading = words(`
  kms: Decrypt ReEncryptFrom
  rds-data: ExecuteStatement BatchExecuteStatement ExecuteSql
  redshift-data: ExecuteStatement BatchExecuteStatement
  athena: StartQueryExecution
  logs: StartQuery
  sqs: ReceiveMessage
  dynamodb: PartiQLSelect ExportTableToPointInTime
  rds: DownloadDBLogFilePortion
`)

/** Where a query may as well change something. */
const alsoChanging = words(`
  rds-data: ExecuteStatement BatchExecuteStatement ExecuteSql
  redshift-data: ExecuteStatement BatchExecuteStatement
  athena: StartQueryExecution
`)

export function groupsOf(action: string, level: string): readonly Group[] {
  const groups: Group[] = []
  const reads = /^(Read|List)$/.test(level) || reading.has(action)
  if (reads) groups.push('read data')
  const escalates = escalating.has(action) || level.includes('Permissions management')
  const persists = persisting.has(action)
  if (alsoChanging.has(action) || (!reads && !escalates && !persists)) groups.push('change')
  if (escalates) groups.push('escalate')
  if (persists) groups.push('persist')
  return groups
}

/** Actions that one entry lists. */
const longest = 200

/** The worst group first; in each, what depends on nothing first. */
export function grantsOf(allowed: readonly Allowed[]): readonly Grant[] {
  const entries = new Map<string, Omit<Grant, 'actions'> & { actions: string[] }>()
  for (const { action, level, resources, except, condition } of allowed) {
    for (const group of groupsOf(action, level)) {
      const key = JSON.stringify([group, resources, except, condition ?? null])
      const entry = entries.get(key) ?? {
        group,
        actions: [],
        resources,
        ...(except.length === 0 ? {} : { except }),
        conditional: condition !== undefined,
        ...(condition === undefined ? {} : { condition }),
      }
      entry.actions.push(action)
      entries.set(key, entry)
    }
  }
  const order: readonly Group[] = ['escalate', 'persist', 'read data', 'change']
  return [...entries.values()]
    .sort(
      (a, b) =>
        order.indexOf(a.group) - order.indexOf(b.group) ||
        Number(a.conditional) - Number(b.conditional) ||
        b.actions.length - a.actions.length ||
        compare(JSON.stringify(a), JSON.stringify(b)),
    )
    .map(({ actions, ...entry }) => {
      const ordered = actions.sort((a, b) => Number(telling.has(b)) - Number(telling.has(a)) || compare(a, b))
      const more = ordered.length - longest
      return { ...entry, actions: ordered.slice(0, longest), ...(more > 0 ? { more } : {}) }
    })
}

/** `admin`: may give itself whatever it lacks. */
export function accessOf(allowed: readonly Allowed[]): Opened['access'] {
  const free = allowed.filter(({ condition, resources }) => condition === undefined && resources.includes('*'))
  if (free.some(({ action }) => administrating.has(action))) return 'admin'
  const groups = new Set(allowed.flatMap(({ action, level }) => groupsOf(action, level)))
  if (groups.size === 0) return 'none'
  const reads = groups.has('read data')
  const changes = groups.has('change') || groups.has('escalate') || groups.has('persist')
  return reads && changes ? 'read-write' : reads ? 'read' : 'write'
}

const administrating = words('iam: PutUserPolicy PutRolePolicy AttachUserPolicy AttachRolePolicy CreatePolicyVersion')

/** `service: Action Action …`, a service a line, which may go on in the next. */
function words(text: string): ReadonlySet<string> {
  const found = new Set<string>()
  let service = ''
  for (const word of text.trim().split(/\s+/)) {
    if (word.endsWith(':')) service = word.slice(0, -1)
    else found.add(`${service}:${word}`)
  }
  return found
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
