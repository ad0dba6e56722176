import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { pack } from 'tar-stream'

/**
 * An npm tarball in memory: the files under `package/`, in the order given, with npm's fixed time, so that the same files
 * make the same bytes.
 * @param files path below `package/` to content
 */
export async function packNpm(files: Readonly<Record<string, string | Uint8Array>>): Promise<Buffer> {
  const archive = pack()
  // The moment that npm itself writes into its tarballs, so that they are reproducible.
  const mtime = new Date('1985-10-26T08:15:00.000Z')
  for (const [path, content] of Object.entries(files)) {
    archive.entry({ name: `package/${path}`, mode: 0o644, mtime }, Buffer.from(content as Uint8Array))
  }
  archive.finalize()
  const chunks: Uint8Array[] = []
  for await (const chunk of archive) chunks.push(chunk as Uint8Array)
  return await promisify(gzip)(Buffer.concat(chunks))
}
