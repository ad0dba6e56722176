import type { Credential, Server } from '../registry/port.ts'
import type { CouldReach } from './port.ts'

export interface Reach {
  readonly couldReach: readonly CouldReach[]
  readonly owners: readonly string[]
  readonly gaps: readonly string[]
}

/** What the registry says that the server's credentials open. Nothing here was observed. */
export function reachOf(server: Server, servers: readonly Server[]): Reach {
  const others = servers.filter((other) => other.name !== server.name)
  const own = server.reaches.map((reach) => entry(reach, reach.via ?? 'not stated'))
  const covered = new Set(server.reaches.map((reach) => reach.via))
  const shared = server.credentials.flatMap((credential) => throughOthers(credential, others))
  const uncovered = server.credentials.filter(
    (credential) => !covered.has(credential.id) && !shared.some(({ through }) => through === credential.id),
  )
  const resources = resourceSystems(server)

  const gaps: string[] = []
  if (server.reaches.length === 0 && server.credentials.length === 0) {
    gaps.push(
      'The registry names neither credentials nor downstream systems of this server: what it could reach is not known.',
    )
  }
  for (const credential of uncovered) {
    gaps.push(
      `What the credential ${credential.id} opens is not in the registry (no reaches entry with via: ${credential.id}): all of it must be taken for reachable.`,
    )
  }
  const aws = server.credentials.filter((credential) => credential.kind.startsWith('aws-iam'))
  if (aws.length > 0) {
    gaps.push(
      `The effective AWS permissions of ${aws.map((credential) => credential.id).join(', ')} were not evaluated: only what the registry says is listed.`,
    )
  }
  return {
    couldReach: [
      ...own,
      ...shared.map(({ reach }) => reach),
      ...resources.filter((resource) => !own.some((reach) => reach.system === resource.system)),
      ...uncovered.map(credentialItself),
    ],
    owners: [
      ...new Set([
        server.owner,
        ...server.reaches.flatMap((reach) => reach.owner ?? []),
        ...shared.map(({ owner }) => owner),
      ]),
    ],
    gaps,
  }
}

function entry(reach: Server['reaches'][number], via: string): CouldReach {
  const { system, kind, access, data, classification, owner } = reach
  return {
    system,
    kind,
    via,
    access,
    data,
    ...(classification === undefined ? {} : { classification }),
    ...(owner === undefined ? {} : { owner }),
  }
}

/** What other servers reach with the very same secret, this one could reach with it as well. */
function throughOthers(credential: Credential, others: readonly Server[]) {
  return others.flatMap((other) =>
    other.credentials
      .filter((theirs) => sameSecret(credential, theirs))
      .flatMap((theirs) =>
        other.reaches
          .filter((reach) => reach.via === theirs.id)
          .map((reach) => ({
            reach: entry(reach, `${credential.id} (shared with ${other.name}, there ${theirs.id})`),
            through: credential.id,
            owner: reach.owner ?? other.owner,
          })),
      ),
  )
}

/** Whether both entries name one secret, whatever they call it. */
function sameSecret(a: Credential, b: Credential): boolean {
  const [first, second] = [secretOf(a), secretOf(b)]
  return first !== undefined && first === second
}

function secretOf(credential: Credential): string | undefined {
  const name = (...parts: readonly (string | number | undefined)[]) => JSON.stringify([credential.kind, ...parts])
  switch (credential.kind) {
    case 'aws-iam-role':
      return name(credential.role)
    case 'aws-iam-user':
      return name(credential.user)
    case 'vault-approle':
      return name(credential.mount, credential.role)
    case 'vault-token':
      return name(credential.accessor)
    case 'vault-entity':
      return name(credential.entity)
    case 'vault-database':
      return name(credential.mount, credential.role)
    case 'postgres':
      return name(credential.database.host, credential.database.port, credential.user)
    case 'vault-kv':
      return name(credential.mount, credential.path)
    case 'aws-secret':
      return name(credential.secret, credential.region)
    case 'azure-key-vault':
      return name(credential.vault, credential.secret)
    case 'oauth':
      return name(credential.tokenEndpoint, credential.clientId)
    case 'exec':
      return undefined
  }
}

/** A credential of which nobody wrote down what it opens is itself a thing within reach. */
function credentialItself(credential: Credential): CouldReach {
  return {
    system: `whatever ${credential.id} opens`,
    kind: credential.kind,
    via: credential.id,
    access: 'unknown',
    data: [],
  }
}

/** Systems that only the tools' resources name. */
function resourceSystems(server: Server): readonly CouldReach[] {
  const systems = [...new Set(server.resources.flatMap((resource) => resource.system ?? []))]
  return systems.map((system) => {
    const uses = server.resources.filter((resource) => resource.system === system)
    const access = [...new Set(uses.map((resource) => resource.access))].sort().join('-')
    return {
      system,
      kind: 'resource',
      via: [...new Set(uses.map((resource) => resource.tool))].join(', '),
      access,
      data: [],
    }
  })
}
