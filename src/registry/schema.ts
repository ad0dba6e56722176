import { timestampTag } from 'js-yaml'
import { z } from 'zod'
import { path, url } from '../schema-parts.ts'

/**
 * The registry of MCP servers, `apiVersion: mcp-ir/v1`. Every key of every kind is accepted from the start;
 * a kind whose adapter does not exist yet is reported by `doctor` and stops only the step that needs it.
 */

/** A name that ends up in case ids, file names and tags of ours. */
const id = z
  .string()
  .min(1)
  .max(200)
  .regex(/^[^\p{C}\p{Zl}\p{Zp}]*$/u, 'must not contain control characters')

/**
 * A moment as RFC 3339 or YAML writes it; a date alone is its midnight in UTC. Becomes RFC 3339 UTC with milliseconds.
 * A time without a zone is refused: taking it for UTC would move the window by hours without a word.
 */
const instant = z.string().transform((text, context) => {
  const wrong = (message: string) => {
    context.addIssue({ code: 'custom', message })
    return z.NEVER
  }
  const date = timestampTag.resolve(text, true, '')
  if (!(date instanceof Date) || Number.isNaN(date.getTime()))
    return wrong('must be a moment such as 2026-11-20T08:00:00Z')
  if (/:\d\d(?:\.\d*)?$/.test(text) && !/[+-]\d\d?:\d\d$/.test(text))
    return wrong('has no time zone: write it as 2026-11-20T08:00:00Z or with an offset such as +01:00')
  return date.toISOString()
})

const command = z.array(z.string().min(1)).min(1)

const databaseSchema = z.strictObject({
  engine: z.enum(['postgres']),
  host: z.string().min(1),
  port: z.int().min(1).max(65535).default(5432),
  name: z.string().min(1),
  adminRole: z.string().min(1).optional(),
})

const issuerSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('exec'), command }),
  z.strictObject({ kind: z.literal('postgres'), user: z.string().min(1), database: databaseSchema }),
  z.strictObject({ kind: z.literal('aws-iam-user'), user: z.string().min(1) }),
  z.strictObject({
    kind: z.literal('oauth'),
    tokenEndpoint: url,
    revocationEndpoint: url.optional(),
    introspectionEndpoint: url.optional(),
    clientId: z.string().min(1),
    clientSecretFile: path.optional(),
  }),
])

const credentialSchema = z.discriminatedUnion('kind', [
  z.strictObject({ id, kind: z.literal('aws-iam-role'), role: z.string().min(1) }),
  z.strictObject({ id, kind: z.literal('aws-iam-user'), user: z.string().min(1) }),
  z.strictObject({ id, kind: z.literal('vault-approle'), mount: z.string().min(1), role: z.string().min(1) }),
  z.strictObject({ id, kind: z.literal('vault-token'), accessor: z.string().min(1) }),
  z.strictObject({ id, kind: z.literal('vault-entity'), entity: z.string().min(1) }),
  z.strictObject({
    id,
    kind: z.literal('vault-database'),
    mount: z.string().min(1),
    role: z.string().min(1),
    database: databaseSchema.optional(),
  }),
  z.strictObject({ id, kind: z.literal('postgres'), user: z.string().min(1), database: databaseSchema }),
  z.strictObject({
    id,
    kind: z.literal('vault-kv'),
    mount: z.string().min(1),
    path: z.string().min(1),
    fields: z.array(z.string().min(1)).optional(),
    issuer: issuerSchema.optional(),
  }),
  z.strictObject({
    id,
    kind: z.literal('aws-secret'),
    secret: z.string().min(1),
    region: z.string().min(1).optional(),
    issuer: issuerSchema.optional(),
  }),
  z.strictObject({
    id,
    kind: z.literal('azure-key-vault'),
    vault: url,
    secret: z.string().min(1),
    issuer: issuerSchema.optional(),
  }),
  z.strictObject({
    id,
    kind: z.literal('oauth'),
    tokenEndpoint: url,
    revocationEndpoint: url.optional(),
    introspectionEndpoint: url.optional(),
    clientId: z.string().min(1),
    clientSecretFile: path.optional(),
    tokenFile: path.optional(),
    probe: url.optional(),
  }),
  z.strictObject({ id, kind: z.literal('exec'), command }),
])

/** Of a new server that is put in a deployment's place, in seconds. */
const proof = {
  /** How long it may take until it answers. */
  startWithin: z.int().min(1).max(86_400).optional(),
  /** How long it is watched until it counts as healthy. */
  watch: z.int().min(0).max(86_400).optional(),
}

/** How a new server is put in the place of an EC2 deployment. */
const ec2Redeploy = z
  .strictObject({
    /** The company's own pipeline does it all, whatever else is named. */
    command: command.optional(),
    /** What new instances boot from. */
    image: z
      .string()
      .regex(/^ami-[0-9a-f]{8,17}$/, 'must be the id of an image such as ami-0123456789abcdef0')
      .optional(),
    /** A file of the build that becomes their user data; without it the build is the manifest of the image. */
    userData: z.string().min(1).optional(),
    securityGroups: z
      .array(z.string().regex(/^sg-[0-9a-f]{8,17}$/, 'must be the id of a security group such as sg-0123456789abcdef0'))
      .min(1)
      .optional(),
    instanceProfile: z.string().min(1).optional(),
    /** ARNs of target groups that a single new instance is registered with; an auto scaling group does that itself. */
    targetGroups: z.array(z.string().min(1)).optional(),
  })
  .refine(
    (d) =>
      d.command !== undefined ||
      (d.image !== undefined && d.securityGroups !== undefined && d.instanceProfile !== undefined),
    { message: 'says too little: give image, securityGroups and instanceProfile, or command' },
  )

const deploymentSchema = z.discriminatedUnion('kind', [
  z
    .strictObject({
      id,
      kind: z.literal('aws-ec2'),
      region: z.string().min(1).optional(),
      role: z.string().min(1).optional(),
      instances: z.array(z.string().min(1)).min(1).optional(),
      tags: z.record(z.string(), z.string()).optional(),
      autoScalingGroup: z.string().min(1).optional(),
      launchTemplate: z.string().min(1).optional(),
      cut: z.enum(['auto', 'groups', 'hop', 'nacl']).default('auto'),
      elasticIp: z.enum(['keep', 'disassociate']).optional(),
      allow: z.array(z.string().min(1)).default([]),
      url: url.optional(),
      ...proof,
      redeploy: ec2Redeploy.optional(),
    })
    .refine((d) => d.instances !== undefined || d.tags !== undefined || d.autoScalingGroup !== undefined, {
      message: 'names no target: give instances, tags or autoScalingGroup',
    }),
  z
    .strictObject({
      id,
      kind: z.literal('local-process'),
      pidFile: path.optional(),
      url: url.optional(),
      match: z.strictObject({ command: z.string().min(1) }).optional(),
      /** Only in case-local entries that `--target pid:…` writes. */
      pid: z.int().positive().optional(),
      command: command.optional(),
      cwd: path.optional(),
      ...proof,
      redeploy: z.strictObject({ command }).optional(),
    })
    .refine((d) => d.pidFile !== undefined || d.url !== undefined || d.match !== undefined || d.pid !== undefined, {
      message: 'names no target: give pidFile, url or match',
    }),
])

const deliverToSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('vault-kv'), mount: z.string().min(1), path: z.string().min(1) }),
  z.strictObject({ kind: z.literal('aws-secret'), secret: z.string().min(1), region: z.string().min(1).optional() }),
  z.strictObject({ kind: z.literal('azure-key-vault'), vault: url, secret: z.string().min(1) }),
  z.strictObject({ kind: z.literal('file'), path }),
])

export const serverSchema = z.strictObject({
  name: id,
  aliases: z.array(z.string().min(1)).default([]),
  version: z.string().min(1),
  status: z.enum(['proposed', 'approved', 'suspended', 'retired']),
  owner: z.string().min(1),
  criticality: z.enum(['normal', 'high']).default('normal'),
  knownGood: instant.optional(),
  package: z.strictObject({
    registryType: z.enum(['npm', 'pypi', 'oci', 'mcpb', 'file']),
    identifier: z.string().min(1),
    version: z.string().min(1),
    integrity: z.string().min(1).optional(),
    path: path.optional(),
    attestations: path.optional(),
    key: path.optional(),
    /** Sigstore trusted root (JSON) of an instance of one's own, instead of the shipped one. */
    trustedRoot: path.optional(),
    /** `false`: this organisation has no transparency log for its key; the named exception. */
    tlog: z.boolean().optional(),
  }),
  source: z
    .strictObject({
      repository: z.string().min(1).optional(),
      commit: z.string().min(1).optional(),
      issuer: z.string().min(1).optional(),
      identity: z.string().min(1).optional(),
      builder: z.string().min(1).optional(),
    })
    .optional(),
  capabilities: z.array(z.string()).default([]),
  tools: z
    .strictObject({
      digest: z.string().regex(/^sha256-[A-Za-z0-9+/]{43}=$/, 'must be sha256- followed by 44 characters of base64'),
      /** What the digest was made from, as JSON: so that a difference can be told word by word. */
      document: path.optional(),
    })
    .optional(),
  deployments: z.array(deploymentSchema),
  clients: z.array(path).default([]),
  credentials: z.array(credentialSchema).default([]),
  deliverTo: deliverToSchema.optional(),
  reaches: z
    .array(
      z.strictObject({
        system: z.string().min(1),
        kind: z.string().min(1),
        via: z.string().min(1).optional(),
        access: z.enum(['read', 'write', 'read-write', 'admin']),
        data: z.array(z.string()).default([]),
        classification: z.string().min(1).optional(),
        owner: z.string().min(1).optional(),
      }),
    )
    .default([]),
  resources: z
    .array(
      z.strictObject({
        tool: z.string().min(1),
        access: z.enum(['read', 'write']),
        resource: z.string().min(1),
        system: z.string().min(1).optional(),
      }),
    )
    .default([]),
  consumers: z.array(z.string().min(1)).default([]),
})

export const registrySchema = z.strictObject({
  apiVersion: z.literal('mcp-ir/v1').optional(),
  servers: z.array(serverSchema),
})

export type Server = z.infer<typeof serverSchema>
export type Deployment = Server['deployments'][number]
export type DeploymentOf<K extends Deployment['kind']> = Extract<Deployment, { kind: K }>
export type Credential = Server['credentials'][number]
export type CredentialOf<K extends Credential['kind']> = Extract<Credential, { kind: K }>
export type DeliverTo = NonNullable<Server['deliverTo']>
