import { createHash, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { packNpm } from '../../src/archive/pack.ts'
import { signStatement, slsaStatement } from '../../src/provenance/sign.ts'

export interface SignedBuild {
  readonly tarball: Buffer
  /** SRI. */
  readonly integrity: string
  readonly sha256: string
  readonly sha512: string
  /** PEM. */
  readonly publicKey: string
  readonly privateKey: KeyObject
  /** JSON text of a Sigstore bundle v0.3. */
  readonly bundle: string
  readonly identifier: string
  readonly version: string
  readonly repository: string
  readonly commit: string
}

export interface BuildOptions {
  readonly identifier?: string
  readonly version?: string
  readonly repository?: string
  readonly commit?: string
  readonly files?: Readonly<Record<string, string | Uint8Array>>
  readonly key?: KeyObject
  readonly keyType?: 'ec' | 'ed25519'
  /** Replaces the ordinary statement. */
  readonly statement?: (sha512: string) => unknown
}

/** What a release pipeline makes: a tarball, its digest, and a statement about it signed with the company's key. */
export async function signedBuild(options: BuildOptions = {}): Promise<SignedBuild> {
  const identifier = options.identifier ?? '@acme/crm-mcp'
  const version = options.version ?? '1.4.0'
  const repository = options.repository ?? 'https://github.com/acme/crm-mcp'
  const commit = options.commit ?? '34490b44db557f009617bcb92b8780f972c189ab'
  const tarball = await packNpm({
    'package.json': JSON.stringify({ name: identifier, version, type: 'module' }),
    ...options.files,
  })
  const hash = (algorithm: string, encoding: 'hex' | 'base64') => createHash(algorithm).update(tarball).digest(encoding)
  const sha512 = hash('sha512', 'hex')
  const privateKey = options.key ?? newKey(options.keyType ?? 'ec').privateKey
  const statement = options.statement?.(sha512) ?? slsaStatement({ identifier, version, sha512, repository, commit })
  return {
    tarball,
    integrity: `sha512-${hash('sha512', 'base64')}`,
    sha256: hash('sha256', 'hex'),
    sha512,
    publicKey: createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }) as string,
    privateKey,
    bundle: await signStatement(statement, privateKey),
    identifier,
    version,
    repository,
    commit,
  }
}

export function newKey(type: 'ec' | 'ed25519'): { privateKey: KeyObject; publicKey: KeyObject } {
  return type === 'ec' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('ed25519')
}

export interface BuildFiles {
  readonly tarball: string
  readonly bundle: string
  readonly key: string
}

/** Writes the three files of a build into a folder. */
export async function writeBuild(folder: string, build: SignedBuild, name = 'build'): Promise<BuildFiles> {
  const files = {
    tarball: join(folder, `${name}.tgz`),
    bundle: join(folder, `${name}.tgz.json`),
    key: join(folder, `${name}.pub`),
  }
  await writeFile(files.tarball, build.tarball)
  await writeFile(files.bundle, build.bundle)
  await writeFile(files.key, build.publicKey)
  return files
}
