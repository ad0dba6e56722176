import { createHash, generateKeyPairSync } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { packNpm } from '../archive/pack.ts'
import { signStatement, slsaStatement } from '../provenance/sign.ts'
import { codeRoot, ownExtension } from './processes.ts'

export const identifier = '@example/crm-mcp'
export const repository = 'https://git.example/crm/crm-mcp'

/** The programs of the server, each one self-contained file. */
export interface Programs {
  readonly approved: string
  readonly tampered: string
}

/** One npm package of the server. */
export interface Build {
  readonly version: string
  /** The tarball. */
  readonly file: string
  /** SHA-512 of the tarball, as SRI. */
  readonly integrity: string
  /** Path in the package to content. */
  readonly content: Readonly<Record<string, string>>
}

/** As the project's build left them in dist; in development they are bundled now. */
export async function loadPrograms(folder: string): Promise<Programs> {
  let from = join(codeRoot, 'drill', 'workers')
  if (ownExtension === '.ts') {
    from = join(folder, 'bundles')
    // A computed name: the bundler is a development dependency, which an installed mcp-ir does not have.
    const script = pathToFileURL(join(codeRoot, '..', 'scripts', 'drill-server.mjs')).href
    const { buildDrillServer } = (await import(script)) as { buildDrillServer: (folder: string) => Promise<void> }
    await buildDrillServer(from)
  }
  const [approved, tampered] = await Promise.all(
    ['mcp-server.js', 'mcp-server-tampered.js'].map((name) => readFile(join(from, name), 'utf8')),
  )
  return { approved: approved ?? '', tampered: tampered ?? '' }
}

/** Packs one version into `builds/`. */
export async function pack(folder: string, version: string, program: string, settings: object): Promise<Build> {
  const about = { name: identifier, version, type: 'module', bin: 'server.js', repository, license: 'UNLICENSED' }
  const content = {
    'package.json': `${JSON.stringify(about, null, 2)}\n`,
    'config.json': `${JSON.stringify(settings, null, 2)}\n`,
    'server.js': program,
  }
  const tarball = await packNpm(content)
  await mkdir(join(folder, 'builds'), { recursive: true, mode: 0o700 })
  const file = join(folder, 'builds', `crm-mcp-${version}.tgz`)
  await writeFile(file, tarball, { mode: 0o600 })
  return { version, file, content, integrity: `sha512-${createHash('sha512').update(tarball).digest('base64')}` }
}

/** Lays a package out as it is deployed. */
export async function unpackInto(folder: string, build: Build): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await Promise.all(
    Object.entries(build.content).map(([name, content]) => writeFile(join(folder, name), content, { mode: 0o600 })),
  )
}

/** Plays the company's release pipeline: signs where the build comes from with a key that nobody keeps. */
export async function release(
  folder: string,
  build: Build,
  commit: string,
): Promise<{ readonly attestations: string; readonly key: string }> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const sha512 = Buffer.from(build.integrity.slice('sha512-'.length), 'base64').toString('hex')
  const statement = slsaStatement({ identifier, version: build.version, sha512, repository, commit })
  const attestations = `${build.file}.json`
  const key = join(folder, 'keys', 'release.pub')
  await mkdir(join(folder, 'keys'), { recursive: true, mode: 0o700 })
  await writeFile(attestations, await signStatement(statement, privateKey), { mode: 0o600 })
  await writeFile(key, publicKey.export({ type: 'spki', format: 'pem' }), { mode: 0o600 })
  return { attestations, key }
}
