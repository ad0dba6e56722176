import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import type { ServedTool, ServedTools } from './tools-digest.ts'

/** What an MCP server says of itself. Every string in it was written by the server: hostile until escaped. */
export interface ServerDescription extends ServedTools {
  readonly serverInfo: { readonly name: string; readonly version: string }
}

export interface DescribeOptions {
  readonly signal: AbortSignal
  /** For all of it: handshake and every page. */
  readonly timeoutMs: number
}

/** Bytes of all answers together, after decompression. */
const maxBytes = 8 * 1024 ** 2
const maxPages = 200
const maxTools = 5000

/**
 * MCP handshake over streamable HTTP, then all pages of `tools/list`, then good-bye. Calls no tool.
 * @throws IrError `unreachable` when there is no MCP answer in time; `refused` when the answer breaks the protocol or its
 * bounds; `interrupted` when `signal` was aborted
 */
export async function describeServer(url: string, options: DescribeOptions): Promise<ServerDescription> {
  const [{ Client }, { StreamableHTTPClientTransport }, { ErrorCode, McpError, ResultSchema }] = await Promise.all([
    import('@modelcontextprotocol/sdk/client/index.js'),
    import('@modelcontextprotocol/sdk/client/streamableHttp.js'),
    import('@modelcontextprotocol/sdk/types.js'),
  ])
  const deadline = AbortSignal.timeout(options.timeoutMs)
  const tooMuch = new AbortController()
  const signal = AbortSignal.any([options.signal, deadline, tooMuch.signal])
  const transport = new StreamableHTTPClientTransport(new URL(url), {
    fetch: boundedFetch(signal, tooMuch),
    reconnectionOptions: {
      maxRetries: 0,
      initialReconnectionDelay: 1000,
      maxReconnectionDelay: 1000,
      reconnectionDelayGrowFactor: 1,
    },
  })
  const client = new Client({ name: 'mcp-ir', version: '1' })
  const request = { signal, timeout: options.timeoutMs, maxTotalTimeout: options.timeoutMs }
  try {
    // The SDK's own types contradict exactOptionalPropertyTypes: sessionId may be undefined.
    await client.connect(transport as Parameters<typeof client.connect>[0], request)
    const tools: ServedTool[] = []
    const cursors = new Set<string>()
    let cursor: string | undefined
    do {
      // Not client.listTools(): it drops what its schema does not know, and compiles schemas that the server wrote.
      const page: Record<string, unknown> = await client
        .request({ method: 'tools/list', params: cursor === undefined ? {} : { cursor } }, ResultSchema, request)
        .catch((error: unknown) => {
          if (error instanceof McpError && error.code === ErrorCode.MethodNotFound) return { tools: [] }
          throw error
        })
      tools.push(...pageOfTools(page.tools))
      cursor = nextCursor(page.nextCursor, cursors)
      if (tools.length > maxTools) throw broken(`serves more than ${maxTools} tools`)
    } while (cursor !== undefined)
    const { name, version } = client.getServerVersion() ?? { name: '', version: '' }
    const instructions = client.getInstructions()
    return { serverInfo: { name, version }, ...(instructions === undefined ? {} : { instructions }), tools }
  } catch (error) {
    throw translate(tooMuch.signal.aborted ? tooMuch.signal.reason : error, url, options, deadline)
  } finally {
    await good(client, transport)
  }
}

function pageOfTools(value: unknown): ServedTool[] {
  if (!Array.isArray(value)) throw broken('answers tools/list without tools')
  for (const tool of value) {
    if (typeof tool !== 'object' || tool === null || typeof tool.name !== 'string')
      throw broken('serves a tool without a name')
  }
  return value as ServedTool[]
}

function nextCursor(value: unknown, seen: Set<string>): string | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'string' || seen.has(value)) throw broken('answers tools/list with pages that go in circles')
  seen.add(value)
  if (seen.size >= maxPages) throw broken(`answers tools/list with more than ${maxPages} pages`)
  return value
}

/**
 * fetch that ends with `signal` and never hands on more than `maxBytes` in all. What goes wrong within an event stream the
 * SDK only notes and waits on: hence `tooMuch`.
 */
function boundedFetch(signal: AbortSignal, tooMuch: AbortController): typeof fetch {
  let left = maxBytes
  return async (input, init) => {
    const signals = init?.signal == null ? [signal] : [signal, init.signal]
    const response = await fetch(input, { ...init, signal: AbortSignal.any(signals) })
    if (!response.ok || response.body === null) return response
    const counted = response.body.pipeThrough(
      new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, controller) {
          left -= chunk.byteLength
          if (left >= 0) return controller.enqueue(chunk)
          tooMuch.abort(broken(`answers with more than ${maxBytes} bytes`))
          controller.error(tooMuch.signal.reason)
        },
      }),
    )
    return new Response(counted, {
      status: response.status,
      statusText: response.statusText,
      headers: response.headers,
    })
  }
}

/** Ends the session where the server keeps one; that it does not answer any more is no error here. */
async function good(
  client: { close(): Promise<void> },
  transport: { terminateSession(): Promise<void> },
): Promise<void> {
  await transport.terminateSession().catch(() => undefined)
  await client.close().catch(() => undefined)
}

function broken(what: string): IrError {
  return new IrError('refused', `The server ${what}`)
}

function translate(error: unknown, url: string, options: DescribeOptions, deadline: AbortSignal): IrError {
  if (options.signal.aborted) return new IrError('interrupted', 'Interrupted', { cause: error })
  for (let cause = error; cause instanceof Error; cause = cause.cause) if (cause instanceof IrError) return cause
  if (deadline.aborted) {
    return new IrError('unreachable', `${url} gave no MCP answer within ${options.timeoutMs} ms`, { cause: error })
  }
  const why =
    error instanceof Error ? (error.cause instanceof Error ? error.cause.message : error.message) : 'no answer'
  return new IrError('unreachable', `${url} does not speak MCP: ${safe(why, 160)}`, { cause: error })
}
