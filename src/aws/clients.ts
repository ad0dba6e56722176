import { fromTemporaryCredentials } from '@aws-sdk/credential-providers'
import { IrError, type IrErrorOptions, systemCode } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'

/**
 * How every AWS adapter makes its clients. Credentials, profile, endpoint and proxy come from the SDK's own chain
 * (AWS_PROFILE, AWS_ENDPOINT_URL …): nothing of that is read here.
 */

export interface AwsScope {
  /** Undefined: by the SDK's own chain. */
  readonly region?: string | undefined
  /** ARN of the role to assume, for what lives in another account. */
  readonly role?: string | undefined
}

/**
 * `reads`: also for changes that set a state and can be repeated; it is sent again. Not in one of the SDK's own modes: of 100
 * calls, 8 at once, with 30 % throttled at random, all are answered after 3 s this way, after 25 s in its standard and after
 * 100 s in its adaptive mode, which holds back what would have got through. The runner bounds the calls.
 * `creates`: what would happen twice when it is repeated. Only a call that was throttled, and so surely did not happen,
 * is sent again; for all else the action's `settle` decides (the SDK's own retry after a lost response creates twice).
 */
export type AwsMode = 'reads' | 'creates'

/** What the constructors of all SDK clients have in common. */
// biome-ignore lint/suspicious/noExplicitAny: the configuration of each SDK client is a type of its own
type ClientClass<C> = new (config: any) => C

/** One set of clients for one command, as its signal is one per command: role sessions and connections are shared. */
const made = new WeakMap<AbortSignal, Map<string, unknown>>()

/** A client of this class for this scope; made once per `signal`, which is the one of the adapter's `Call`. */
export function awsClient<C>(type: ClientClass<C>, scope: AwsScope, mode: AwsMode, signal: AbortSignal): C {
  const clients = made.get(signal) ?? new Map<string, unknown>()
  made.set(signal, clients)
  const key = JSON.stringify([type.name, scope.region ?? null, scope.role ?? null, mode])
  const known = clients.get(key) as C | undefined
  if (known !== undefined) return known
  const client = new type(awsConfig(scope, mode))
  clients.set(key, client)
  return client
}

/** Configuration for the constructor of any SDK client. */
export function awsConfig({ region, role }: AwsScope, mode: AwsMode): Record<string, unknown> {
  return {
    ...(region === undefined ? {} : { region }),
    ...(role === undefined
      ? {}
      : {
          credentials: fromTemporaryCredentials({
            params: { RoleArn: role, RoleSessionName: 'mcp-ir' },
            ...(region === undefined ? {} : { clientConfig: { region } }),
          }),
        }),
    retryStrategy: mode === 'reads' ? unlessRefused : onlyThrottled,
    // Without the last one a call that is never answered is only warned about.
    requestHandler: { connectionTimeout: 5_000, requestTimeout: 30_000, throwOnRequestTimeout: true },
  }
}

const tries = 12
/** Where nobody listens or no such host is known: a service that starts again is met, and a mistyped address told within three seconds. */
const triesWithoutHost = 6
const noHost = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH'])

/** Once a call has taken this long, tries among it, it is not tried again: nobody waits for a dead endpoint twelve times. */
const patienceMs = 60_000

interface RetryToken {
  readonly since: number
  getRetryCount(): number
  getRetryDelay(): number
}

/**
 * The SDK's interface of a retry strategy (`RetryStrategyV2` of @smithy/types), delays in milliseconds. Its own waits up to
 * 20 s before it tries again: of many calls one after the other, some would wait that long, and a cut with them.
 */
function retrying(mode: string, again: (errorType: string) => boolean) {
  return {
    mode,
    acquireInitialRetryToken: async (): Promise<RetryToken> => retryToken(0, Date.now()),
    refreshRetryTokenForRetry: async (
      token: RetryToken,
      { errorType, error }: { readonly errorType: string; readonly error?: unknown },
    ): Promise<RetryToken> => {
      const count = token.getRetryCount() + 1
      const most = noHost.has(systemCode(error) ?? '') ? triesWithoutHost : tries
      if (!again(errorType) || count >= most || Date.now() - token.since >= patienceMs)
        throw new Error('not to be tried again')
      return retryToken(count, token.since)
    },
    recordSuccess: (): void => {},
  }
}

const unlessRefused = retrying('unless-refused', (errorType) => errorType !== 'CLIENT_ERROR')
const onlyThrottled = retrying('only-throttled', (errorType) => errorType === 'THROTTLING')

function retryToken(count: number, since: number): RetryToken {
  // Spread, so that parallel calls that were throttled together do not come back together.
  const delay = count === 0 ? 0 : Math.min(2_000, 50 * 2 ** count) * (0.5 + Math.random() / 2)
  return { since, getRetryCount: () => count, getRetryDelay: () => Math.round(delay) }
}

interface WithMiddleware {
  readonly middlewareStack: {
    // biome-ignore lint/suspicious/noExplicitAny: generic over every command's input and output
    add(middleware: (next: any) => (args: any) => Promise<any>, options: { step: 'deserialize'; name: string }): void
  }
}

/**
 * Reads the server's clock from every response of this client from now on.
 *
 * @returns what it was at the last response, to the second; undefined before the first one
 */
export function serverClock(client: WithMiddleware): () => Date | undefined {
  let last: Date | undefined
  client.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args)
      const date = new Date(result.response?.headers?.date ?? Number.NaN)
      if (!Number.isNaN(date.getTime())) last = date
      return result
    },
    { step: 'deserialize', name: `mcpIrServerClock${Math.random().toString(36).slice(2)}` },
  )
  return () => last
}

const denied = new Set([
  'UnauthorizedOperation',
  'AccessDenied',
  'AccessDeniedException',
  'AuthFailure',
  'InvalidClientTokenId',
  'UnrecognizedClientException',
  'SignatureDoesNotMatch',
  'ExpiredToken',
  'ExpiredTokenException',
  'OptInRequired',
  'Blocked',
])

const throttled =
  /^(Throttl|RequestLimitExceeded|TooManyRequests|RequestThrottled|SlowDown|BandwidthLimit|EC2ThrottledException|PriorRequestNotComplete|ResourceContention|ScalingActivityInProgress)/

/** The vendor's error code (`InvalidGroup.NotFound` …), or undefined. */
export function awsCode(error: unknown): string | undefined {
  return error instanceof Error ? error.name : undefined
}

/** ` from 127.0.0.1:4566`: who was asked, where the system's error says it; empty otherwise. */
function from(error: Error): string {
  const { hostname, address, port } = error as { hostname?: unknown; address?: unknown; port?: unknown }
  const host = typeof address === 'string' ? address : hostname
  if (typeof host !== 'string') return ''
  return ` from ${safe(host, 200)}${typeof port === 'number' ? `:${port}` : ''}`
}

/**
 * The error of an SDK call in our words: `denied` when it was not permitted, `unreachable` when there was no proper answer
 * (ambiguous: it may have happened), `partial` for all that the service refused. Nothing of the error object but its code
 * and the service's sentence is carried on.
 *
 * @param what was attempted, as the start of a sentence: `Creating the isolation group`
 */
export function awsError(error: unknown, what: string, options: IrErrorOptions = {}): IrError {
  if (error instanceof IrError) return error
  if (!(error instanceof Error)) return new IrError('partial', `${what} failed.`, options)
  const code = error.name
  const status = (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode
  if (code === 'AbortError') return new IrError('interrupted', `${what} was interrupted.`)
  if (code === 'CredentialsProviderError' || code === 'TokenProviderError') {
    return new IrError('denied', `${what} failed: no usable AWS credentials were found.`, {
      hints: ['Log in (aws sso login, AWS_PROFILE=…), then run the same again.'],
      // The chain's own words when none of its providers was set up; an expired login reads otherwise.
      unconfigured: /from any providers/.test(error.message),
      ...options,
    })
  }
  if (/^Region is missing/.test(error.message)) {
    return new IrError('input', `${what} failed: no AWS region is named.`, {
      hints: ['Set region in the deployment, aws.region in the configuration, or AWS_REGION.'],
      ...options,
    })
  }
  if (denied.has(code)) return new IrError('denied', `${what} is not permitted (${code}).`, options)
  if (throttled.test(code) || status === 429) {
    return new IrError('unreachable', `${what} was throttled (${code}).`, { ambiguous: true, ...options })
  }
  if (status === undefined || status >= 500) {
    const system = (error as { code?: unknown }).code
    const seen = typeof system === 'string' ? system : code
    return new IrError('unreachable', `${what}: no proper answer${from(error)} (${safe(seen, 60)}).`, {
      ambiguous: true,
      ...(noHost.has(seen)
        ? { hints: ['Are AWS_ENDPOINT_URL (and endpoint_url of the profile), the region and the proxy right?'] }
        : {}),
      ...options,
    })
  }
  return new IrError('partial', `${what} failed: ${safe(error.message, 300)} (${safe(code, 80)}).`, options)
}
