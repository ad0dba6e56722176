import http from 'node:http'

/**
 * To import node:http makes Node look at all that it exports, and with that load its WebSocket: 40 ms of the start-up of whatever
 * talks HTTP. Asked for otherwise, it is the same module without.
 */
const lightHttp = {
  name: 'light-http',
  setup(building) {
    const late = new Set(['WebSocket', 'CloseEvent', 'MessageEvent'])
    const names = Object.keys(http).filter((name) => !late.has(name))
    building.onResolve({ filter: /^(node:)?http$/ }, ({ kind }) =>
      kind === 'require-call' ? undefined : { path: 'http', namespace: 'light' },
    )
    building.onLoad({ filter: /^http$/, namespace: 'light' }, () => ({
      contents: `const http = process.getBuiltinModule('node:http')
export default http
export const { ${names.join(', ')} } = http`,
    }))
  },
}

/** How all that we ship is bundled, and what `bench/` measures. */
export const bundling = {
  bundle: true,
  plugins: [lightHttp],
  platform: 'node',
  format: 'esm',
  target: 'node22',
  logLevel: 'warning',
  // ES modules first: only of them esbuild can leave out what nobody calls, which is most of an SDK.
  mainFields: ['module', 'main'],
  legalComments: 'none',
  minifySyntax: true,
  minifyWhitespace: true,
  // Error messages name their place: keep names.
  keepNames: false,
  banner: {
    js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
  },
  // The evaluator of IAM policies reads its data from files beside it, and its licence is not ours to bundle.
  // oclif reads TypeScript sources only in its development mode, which bin/dev.js does not use.
  external: ['@cloud-copilot/*', '@duckdb/node-api', '@duckdb/node-bindings*', 'typescript'],
}
