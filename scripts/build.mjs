// One esbuild bundle with shared chunks: a command loads its own file and what it imports lazily, nothing else (start-up
// bound: docs/decisions/0002-start-up.md). Native packages stay outside.
import { readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { join } from 'node:path'
import { Plugin } from '@oclif/core'
import { build } from 'esbuild'

const files = (folder) =>
  readdirSync(folder).flatMap((name) => {
    const path = join(folder, name)
    return statSync(path).isDirectory() ? files(path) : path.endsWith('.ts') ? [path] : []
  })

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

const common = {
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

rmSync('dist', { recursive: true, force: true })
const commands = files('src/commands')
await build({
  ...common,
  entryPoints: ['src/main.ts', ...commands],
  outbase: 'src',
  outdir: 'dist',
  splitting: true,
  chunkNames: 'chunks/[name]-[hash]',
})

// The drill's processes: each a file of its own, as a server that is deployed would be.
const workers = files('src/drill/workers')
if (workers.length > 0) {
  await build({ ...common, entryPoints: workers, outbase: 'src', outdir: 'dist', define: { TAMPERED: 'false' } })
  await build({
    ...common,
    entryPoints: { 'drill/workers/mcp-server-tampered': 'src/drill/workers/mcp-server.ts' },
    outdir: 'dist',
    define: { TAMPERED: 'true' },
  })
}

writeFileSync('dist/package.json', '{"type":"module"}\n')
// What `oclif manifest` does, without its many dependencies: one command file is loaded per run instead of all.
rmSync('oclif.manifest.json', { force: true })
const plugin = new Plugin({
  errorOnManifestCreate: true,
  ignoreManifest: true,
  respectNoCacheDefault: true,
  root: process.cwd(),
  type: 'core',
})
await plugin.load()
writeFileSync('oclif.manifest.json', `${JSON.stringify(plugin.manifest)}\n`)
