import { createHash } from 'node:crypto'
import { basename } from 'node:path'
import { z } from 'zod'
import { readTarball } from '../../archive/npm-tarball.ts'
import { IrError } from '../../errors.ts'
import { readRegular } from '../../owned-file.ts'
import { safe } from '../../ui/safe-text.ts'
import type { Rebuild, Target } from './reading.ts'

/** What new instances are made of, out of the verified build: an image that it vouches for, or user data that is part of it. */

/** https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html: before it is encoded. */
const maxUserData = 16 * 1024
const maxManifest = 1024 ** 2

export interface Source {
  readonly image: string
  /** As it is given to the instances; undefined: the image alone is the build. */
  readonly userData?: Buffer
}

/**
 * @param region where the image must lie
 * @throws IrError refused when the build is not what was verified, or vouches for another image; input when this kind of
 * build says nothing of an instance
 */
export async function sourceOf(target: Target, rebuild: Rebuild, region: string, signal: AbortSignal): Promise<Source> {
  const { registryType } = target.server.package
  const { image, userData } = rebuild
  const { file } = target.artifact
  if (registryType === 'npm') {
    if (userData !== undefined)
      return { image, userData: withPins(await fromTarball(target, userData, signal), target) }
    throw new IrError('input', 'The registry does not say how an instance gets the npm package', {
      hints: [
        'redeploy.userData: a file in the package that installs and starts it, given to the instance as user data.',
      ],
    })
  }
  if (registryType !== 'file') {
    throw new IrError('input', `A build from ${registryType} says nothing of an EC2 instance`, {
      hints: ['Build an image and register its signed manifest (registryType: file), or name redeploy.command.'],
    })
  }
  const bytes = await verifiedBytes(target, userData === undefined ? maxManifest : maxUserData)
  if (userData === undefined) return { image: vouchedFor(bytes, image, region, file) }
  if (userData !== basename(file)) {
    throw new IrError('input', `redeploy.userData names ${safe(userData)}, and the build is ${safe(basename(file))}`, {
      hints: ['Of a plain file it is the name of that file; of an npm package, a file in it.'],
    })
  }
  return { image, userData: bytes }
}

/** It was verified before: it could have been exchanged since. */
async function verifiedBytes({ artifact }: Target, limit: number): Promise<Buffer> {
  const { bytes } = await readRegular(artifact.file, limit)
  if (createHash('sha256').update(bytes).digest('hex') === artifact.verdict.sha256) return Buffer.from(bytes)
  throw new IrError('refused', `${safe(artifact.file)} is no longer the file that was verified`)
}

async function fromTarball({ artifact }: Target, path: string, signal: AbortSignal): Promise<Buffer> {
  let found: Buffer | undefined
  // To the end, as only there its digest is known to be right.
  for await (const entry of readTarball(artifact.file, { sha256: artifact.verdict.sha256, signal })) {
    if (entry.kind !== 'file' || entry.path !== path) continue
    if (entry.size > maxUserData) throw tooLong(path)
    const chunks: Uint8Array[] = []
    for await (const chunk of entry.content) chunks.push(chunk)
    found = Buffer.concat(chunks)
  }
  if (found !== undefined) return found
  throw new IrError('input', `The package has no file ${safe(path)} (redeploy.userData)`)
}

/** A script cannot hold the digest of the package that it is part of: it is told what was verified, and fetches just that. */
function withPins(script: Buffer, { server, artifact }: Target): Buffer {
  const text = script.toString('latin1')
  if (!text.startsWith('#!')) return script
  const integrity = `sha512-${Buffer.from(artifact.verdict.sha512, 'hex').toString('base64')}`
  const pins = { MCP_PACKAGE: server.package.identifier, MCP_VERSION: server.package.version, MCP_INTEGRITY: integrity }
  const lines = Object.entries(pins).map(([name, value]) => `export ${name}='${value.replaceAll("'", "'\\''")}'\n`)
  const end = text.indexOf('\n')
  const [first, rest] = end === -1 ? [`${text}\n`, ''] : [text.slice(0, end + 1), text.slice(end + 1)]
  const told = Buffer.concat([Buffer.from(first, 'latin1'), Buffer.from(lines.join('')), Buffer.from(rest, 'latin1')])
  if (told.length > maxUserData) throw tooLong('redeploy.userData')
  return told
}

function tooLong(what: string): IrError {
  return new IrError('input', `${safe(what)} is too long for user data: EC2 takes ${maxUserData} bytes`)
}

/** https://developer.hashicorp.com/packer/docs/post-processors/manifest: `artifact_id` is `region:ami`, several with commas. */
const manifest = z.object({ builds: z.array(z.object({ artifact_id: z.string() })) })

function vouchedFor(bytes: Buffer, image: string, region: string, file: string): string {
  let parsed: unknown
  try {
    parsed = JSON.parse(bytes.toString('utf8'))
  } catch {
    // Told below, with what it should have been.
  }
  const { data } = manifest.safeParse(parsed)
  if (data === undefined) {
    throw new IrError('input', `${safe(file)} is no manifest of an image, as Packer writes it`, {
      hints: [`When it is to be user data: redeploy.userData: ${safe(basename(file))}`],
    })
  }
  const named = data.builds.flatMap(({ artifact_id: ids }) => ids.split(','))
  if (named.includes(`${region}:${image}`)) return image
  throw new IrError('refused', `The verified manifest does not name ${image} in ${region}`, {
    hints: [
      `It names: ${
        named
          .slice(0, 10)
          .map((one) => safe(one, 80))
          .join(', ') || 'none'
      }`,
    ],
  })
}
