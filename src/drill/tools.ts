import { describeServer } from '../mcp/client.ts'
import { toolsDigest } from '../mcp/tools-digest.ts'

/** What a server serves now, by the same code that compares it with the registry after a redeployment. */
export async function servedTools(url: string, signal: AbortSignal): Promise<string> {
  return toolsDigest(await describeServer(url, { signal, timeoutMs: 5000 }))
}
