import { SecretClient, type SecretClientOptions, type SecretProperties } from '@azure/keyvault-secrets'
import { IrError } from '../../errors.ts'
import { safe } from '../../ui/safe-text.ts'
import type { StoreCall } from '../store.ts'

/** One secret of Azure Key Vault. */
export interface KeyVaultSecret {
  /** `https://acme.vault.azure.net/secrets/mail` */
  readonly url: string
  /** The newest version, or this one. @returns undefined when there is none, or it is disabled */
  read(version?: string): Promise<{ readonly text: string; readonly version: string } | undefined>
  /** Newest first; empty when there is no such secret. */
  versions(): Promise<readonly KeyVaultVersion[]>
  /** A new version, which is the newest one then; what describes the secret is taken over from the one before. */
  write(text: string): Promise<void>
  enable(version: string, enabled: boolean): Promise<void>
}

interface KeyVaultVersion {
  readonly version: string
  readonly enabled: boolean
  /** It belongs to a certificate, and changes with that one alone. */
  readonly managed: boolean
}

export interface KeyVaultPlace {
  readonly vault: string
  readonly secret: string
}

/** How the vault is talked to; a test brings its own. */
export interface KeyVaultSettings {
  readonly credential?: ConstructorParameters<typeof SecretClient>[1]
  readonly client?: SecretClientOptions
}

/** @throws IrError input when the vault is not one that a token may be sent to */
export async function openKeyVault(
  place: KeyVaultPlace,
  call: Pick<StoreCall, 'signal'>,
  settings: KeyVaultSettings = {},
): Promise<KeyVaultSecret> {
  const { vault, secret: name } = place
  if (new URL(vault).protocol !== 'https:')
    throw new IrError('input', `${safe(vault)} is not https: no token is sent there`)
  if (!/^[0-9A-Za-z-]{1,127}$/.test(name))
    throw new IrError('input', `${safe(name)} is no name of a secret in Key Vault: letters, digits and - alone`)
  // By the variables of Azure, a managed identity or the command line tools' login, in the library's own order.
  const credential = settings.credential ?? new (await import('@azure/identity')).DefaultAzureCredential()
  const client = new SecretClient(vault, credential, { retryOptions: { maxRetries: 4 }, ...settings.client })
  const options = { abortSignal: call.signal }
  const what = `secret ${safe(name)} in ${new URL(vault).host}`

  const all = async (): Promise<SecretProperties[]> => {
    const found: SecretProperties[] = []
    for await (const one of client.listPropertiesOfSecretVersions(name, options)) found.push(one)
    return found.sort((a, b) => (b.createdOn?.getTime() ?? 0) - (a.createdOn?.getTime() ?? 0))
  }
  const read: KeyVaultSecret['read'] = (version) =>
    orAbsent(`Reading ${what}`, async () => {
      const { value, properties } = await client.getSecret(name, {
        ...options,
        ...(version === undefined ? {} : { version }),
      })
      return value === undefined ? undefined : { text: value, version: properties.version ?? '' }
    })
  return {
    url: `${vault.replace(/\/+$/, '')}/secrets/${name}`,

    read,

    async versions() {
      const found = (await orAbsent(`Listing the versions of ${what}`, all)) ?? []
      const versions = found.map((one) => ({
        version: one.version ?? '',
        enabled: one.enabled !== false,
        managed: one.managed === true || one.certificateKeyId !== undefined,
      }))
      // Two that were made in the same second have the same date.
      const current = versions.length === 0 ? undefined : (await read())?.version
      return versions.sort((a, b) => Number(b.version === current) - Number(a.version === current))
    },

    write: (text) =>
      asked(`Putting a new version of ${what}`, async () => {
        // The newest by the vault's own word: two of the same second have the same date.
        const before = (await orAbsent(`Reading ${what}`, () => client.getSecret(name, options)))?.properties
        await client.setSecret(name, text, {
          ...options,
          ...(before?.contentType === undefined ? {} : { contentType: before.contentType }),
          ...(before?.tags === undefined ? {} : { tags: before.tags }),
        })
      }),

    enable: (version, enabled) =>
      asked(`${enabled ? 'Enabling' : 'Disabling'} a version of ${what}`, async () => {
        await client.updateSecretProperties(name, version, { ...options, enabled })
      }),
  }
}

async function orAbsent<T>(what: string, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    const { status, code } = aboutOf(error)
    // A version that is disabled is answered with 403 and a code of its own.
    if (status === 404 || code === 'SecretDisabled') return undefined
    throw asIrError(error, what)
  }
}

async function asked<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw asIrError(error, what)
  }
}

/** With nothing of what the library's error carries, which is the request with its value, too. */
function asIrError(error: unknown, what: string): IrError {
  if (error instanceof IrError) return error
  const { name, status, code } = aboutOf(error)
  if (name === 'AbortError') return new IrError('interrupted', `${what} was interrupted.`, { ambiguous: true })
  if (/Credential|Authentication/.test(name))
    return new IrError('denied', `${what} failed: no usable Azure login was found.`, {
      hints: ['Log in (az login, or AZURE_TENANT_ID, AZURE_CLIENT_ID …), then run the same again.'],
    })
  // The library sends no token to who asks for one of somebody else.
  if (status === undefined && error instanceof Error && /challenge/i.test(error.message))
    return new IrError('refused', `${what} failed: it asks for a login that is not one of its own place.`)
  const seen = safe(code ?? `${status ?? 'no answer'}`, 60)
  if (status === 401 || status === 403) return new IrError('denied', `${what} is not permitted (${seen}).`)
  if (status === undefined || status === 429 || status >= 500)
    return new IrError('unreachable', `${what}: no proper answer (${seen}).`, { ambiguous: true })
  return new IrError(status === 400 ? 'input' : 'partial', `${what} failed (${seen}).`)
}

function aboutOf(error: unknown): { name: string; status: number | undefined; code: string | undefined } {
  const { name, statusCode, code, details } = error as {
    name?: string
    statusCode?: number
    code?: string
    details?: { error?: { code?: string; innerError?: { code?: string } } }
  }
  return {
    name: name ?? '',
    status: statusCode,
    code: details?.error?.innerError?.code ?? details?.error?.code ?? code,
  }
}
