import { describeServer } from '../mcp/client.ts'
import { toolsDigest } from '../mcp/tools-digest.ts'

/** What a server serves now, by the same code that compares it with the registry after a redeployment. */
export async function servedTools(url: string, signal: AbortSignal): Promise<Served> {
  const served = await describeServer(url, { signal, timeoutMs: 5000 })
  return { ...served, digest: toolsDigest(served) }
}

/** With their digest, as in the registry. */
export type Served = Awaited<ReturnType<typeof describeServer>> & { readonly digest: string }
