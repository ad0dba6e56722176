import { relative } from 'node:path'
import { dump } from 'js-yaml'
import { type Build, identifier, repository } from './builds.ts'
import { anchorFile } from './custody.ts'

/** What the company's registry says, as far as it differs from one drill to the next. All paths absolute. */
export interface RegistryFacts {
  readonly folder: string
  readonly server: string
  readonly approved: Build
  readonly attestations: string
  readonly key: string
  readonly commit: string
  readonly toolsDigest: string
  readonly knownGood: Date
  readonly url: string
  readonly pidFile: string
  readonly cwd: string
  readonly command: readonly string[]
  readonly authorizationServer: string
  readonly customersApi: string
  readonly clientId: string
  readonly clientSecretFile: string
  readonly tokenFile: string
  readonly delivered: string
}

/** `registry.yaml`, with paths relative to it. */
export function registryYaml(facts: RegistryFacts): string {
  const path = (file: string) => `./${relative(facts.folder, file)}`
  const entry = {
    name: facts.server,
    aliases: ['crm'],
    version: facts.approved.version,
    status: 'approved',
    owner: 'crm-team',
    criticality: 'normal',
    knownGood: facts.knownGood.toISOString(),
    package: {
      registryType: 'npm',
      identifier,
      version: facts.approved.version,
      integrity: facts.approved.integrity,
      path: path(facts.approved.file),
      attestations: path(facts.attestations),
      key: path(facts.key),
      tlog: false,
    },
    source: { repository, commit: facts.commit },
    capabilities: ['tools'],
    tools: { digest: facts.toolsDigest },
    deployments: [
      {
        id: 'prod',
        kind: 'local-process',
        pidFile: path(facts.pidFile),
        url: facts.url,
        command: facts.command,
        cwd: path(facts.cwd),
        watch: 2,
      },
    ],
    credentials: [
      {
        id: 'crm-api',
        kind: 'oauth',
        tokenEndpoint: `${facts.authorizationServer}/token`,
        revocationEndpoint: `${facts.authorizationServer}/revoke`,
        introspectionEndpoint: `${facts.authorizationServer}/introspect`,
        clientId: facts.clientId,
        clientSecretFile: path(facts.clientSecretFile),
        tokenFile: path(facts.tokenFile),
        probe: `${facts.customersApi}/me`,
      },
    ],
    deliverTo: { kind: 'file', path: path(facts.delivered) },
    reaches: [
      {
        system: 'customers-api',
        kind: 'http',
        via: 'crm-api',
        access: 'read-write',
        data: ['customer-pii', 'bank-details'],
        classification: 'restricted',
        owner: 'data-team',
      },
      { system: 'mail-relay', kind: 'smtp', via: 'crm-api', access: 'write', data: [], owner: 'office-it' },
    ],
    resources: [
      { tool: 'search_customers', access: 'read', resource: 'customers', system: 'customers-api' },
      { tool: 'get_customer', access: 'read', resource: 'customer:${params.id}', system: 'customers-api' },
      { tool: 'save_note', access: 'write', resource: 'customer:${params.id}', system: 'customers-api' },
    ],
    consumers: ['support-copilot', 'sales-agent'],
  }
  return `# The registry of the drill's company.\n${dump({ apiVersion: 'mcp-ir/v1', servers: [entry] }, { lineWidth: 120 })}`
}

/** `mcp-ir.yaml` */
export function configYaml(): string {
  return `# The configuration of the drill's company: mcp-ir --config ${'<this file>'} …\n${dump({
    registry: './registry.yaml',
    cases: './cases',
    invocations: { kind: 'files', path: './logs/gateway/*.ndjson', format: 'otel', writer: 'gateway' },
    duties: ['gdpr', 'nis2'],
    anchor: { kind: 'file', path: `./${anchorFile}` },
  })}`
}
