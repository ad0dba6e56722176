import { openRegularFile } from '../regular-file.ts'

/** The text of a file; undefined when it is larger than `limit` bytes. @throws IrError `input` when it cannot be read */
export async function readBounded(file: string, limit: number): Promise<string | undefined> {
  const handle = await openRegularFile(file)
  try {
    if ((await handle.stat()).size > limit) return undefined
    const chunks: Uint8Array[] = []
    let length = 0
    for await (const chunk of handle.createReadStream({ autoClose: false, end: limit })) {
      chunks.push(chunk)
      length += chunk.length
    }
    // It may have grown since it was measured.
    return length > limit ? undefined : Buffer.concat(chunks).toString('utf8')
  } finally {
    await handle.close()
  }
}
