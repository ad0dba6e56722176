import { createHash } from 'node:crypto'
import {
  CreateSecretCommand,
  DescribeSecretCommand,
  GetSecretValueCommand,
  PutSecretValueCommand,
  paginateListSecretVersionIds,
  RotateSecretCommand,
  SecretsManagerClient,
  UpdateSecretVersionStageCommand,
} from '@aws-sdk/client-secrets-manager'
import { awsClient, awsCode, awsError } from '../../aws/clients.ts'
import { IrError } from '../../errors.ts'
import { safe } from '../../ui/safe-text.ts'
import type { StoreCall } from '../store.ts'

/** One secret of AWS Secrets Manager. Every change carries a token or sets a state, so that it may be sent twice. */
export interface AwsSecret {
  /** As the registry has it: name or ARN. */
  readonly id: string
  /** @returns undefined when there is none */
  describe(): Promise<Described | undefined>
  /** @returns undefined when there is no such version, or it has no value. @throws IrError input when it is binary */
  read(which: { readonly stage: string } | { readonly version: string }): Promise<Value | undefined>
  /** A new current version. */
  put(text: string, token: string): Promise<void>
  create(text: string, token: string): Promise<void>
  /** Moves a staging label, or takes it away where `to` is not given. */
  label(stage: string, move: { readonly from?: string | undefined; readonly to?: string | undefined }): Promise<void>
  rotate(token: string): Promise<void>
  /** When a version was made. */
  createdAt(version: string): Promise<Date | undefined>
}

interface Value {
  readonly text: string
  readonly version: string
}

export interface Described {
  readonly name: string
  readonly arn: string
  readonly deleted: Date | undefined
  /** Set up to be rotated: its function, or the service that owns the secret. */
  readonly rotatedBy: string | undefined
  /** Another region, whose copy this is. */
  readonly primaryRegion: string | undefined
  /** Staging labels of each version that has any. */
  readonly versions: ReadonlyMap<string, readonly string[]>
}

export interface AwsSecretPlace {
  readonly secret: string
  readonly region?: string | undefined
}

export function openSecret(place: AwsSecretPlace, call: Pick<StoreCall, 'target' | 'signal'>): AwsSecret {
  const { secret: id } = place
  const region = place.region ?? regionOf(id) ?? call.target.aws?.region
  const client = awsClient(SecretsManagerClient, { region }, 'reads', call.signal)
  const options = { abortSignal: call.signal }
  const name = safe(id, 200)

  return {
    id,

    async describe() {
      const found = await asked(`Looking at secret ${name}`, true, () =>
        client.send(new DescribeSecretCommand({ SecretId: id }), options),
      )
      if (found === undefined) return undefined
      const here = regionOf(found.ARN ?? '')
      return {
        name: found.Name ?? id,
        arn: found.ARN ?? '',
        deleted: found.DeletedDate,
        rotatedBy: found.RotationEnabled === true ? found.RotationLambdaARN || found.OwningService || 'AWS' : undefined,
        primaryRegion: found.PrimaryRegion === here ? undefined : found.PrimaryRegion,
        versions: new Map(Object.entries(found.VersionIdsToStages ?? {})),
      }
    },

    async read(which) {
      const by = 'stage' in which ? { VersionStage: which.stage } : { VersionId: which.version }
      const found = await asked(`Reading secret ${name}`, true, () =>
        client.send(new GetSecretValueCommand({ SecretId: id, ...by }), options),
      )
      if (found === undefined) return undefined
      if (found.SecretString === undefined)
        throw new IrError('input', `Secret ${name} is binary: such values cannot be replaced or tried`)
      return { text: found.SecretString, version: found.VersionId ?? '' }
    },

    async put(text, token) {
      await asked(`Putting a new value into secret ${name}`, false, () =>
        client.send(
          new PutSecretValueCommand({ SecretId: id, SecretString: text, ClientRequestToken: token }),
          options,
        ),
      )
    },

    async create(text, token) {
      await asked(`Creating secret ${name}`, false, () =>
        client.send(new CreateSecretCommand({ Name: id, SecretString: text, ClientRequestToken: token }), options),
      )
    },

    async label(stage, { from, to }) {
      await asked(`Moving label ${stage} of secret ${name}`, false, () =>
        client.send(
          new UpdateSecretVersionStageCommand({
            SecretId: id,
            VersionStage: stage,
            RemoveFromVersionId: from,
            MoveToVersionId: to,
          }),
          options,
        ),
      )
    },

    async rotate(token) {
      await asked(`Rotating secret ${name}`, false, () =>
        client.send(new RotateSecretCommand({ SecretId: id, ClientRequestToken: token }), options),
      )
    },

    async createdAt(version) {
      const pages = paginateListSecretVersionIds({ client }, { SecretId: id, IncludeDeprecated: true }, options)
      return await asked(`Listing the versions of secret ${name}`, false, async () => {
        for await (const { Versions } of pages) {
          const found = Versions?.find(({ VersionId }) => VersionId === version)
          if (found !== undefined) return found.CreatedDate
        }
        return undefined
      })
    },
  }
}

/** Names one request in the form that AWS wants: sent twice with the same content it is one. */
export function requestToken(...parts: readonly string[]): string {
  const hash = createHash('sha256').update(JSON.stringify(parts)).digest('hex')
  return [hash.slice(0, 8), hash.slice(8, 12), hash.slice(12, 16), hash.slice(16, 20), hash.slice(20, 32)].join('-')
}

function regionOf(arn: string): string | undefined {
  return /^arn:[^:]*:secretsmanager:([^:]+):/.exec(arn)?.[1]
}

function asked<T>(what: string, absent: true, work: () => Promise<T>): Promise<T | undefined>
function asked<T>(what: string, absent: false, work: () => Promise<T>): Promise<T>
async function asked<T>(what: string, absent: boolean, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    const code = awsCode(error)
    if (absent && code === 'ResourceNotFoundException') return undefined
    const known = awsError(error, what)
    // What a service says of a value that it does not take may hold that value.
    if (known.code === 'partial') throw new IrError('partial', `${what} failed (${safe(code ?? 'unknown', 80)})`)
    throw known
  }
}
