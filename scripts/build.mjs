// One esbuild bundle with shared chunks: a command loads its own file and what it imports lazily, nothing else (start-up
// bound: docs/decisions/0002-start-up.md). Native packages stay outside.
import { readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Plugin } from '@oclif/core'
import { build } from 'esbuild'
import { bundling } from './bundling.mjs'

const files = (folder) =>
  readdirSync(folder).flatMap((name) => {
    const path = join(folder, name)
    return statSync(path).isDirectory() ? files(path) : path.endsWith('.ts') ? [path] : []
  })

rmSync('dist', { recursive: true, force: true })
const commands = files('src/commands')
await build({
  ...bundling,
  entryPoints: ['src/main.ts', ...commands],
  outbase: 'src',
  outdir: 'dist',
  splitting: true,
  chunkNames: 'chunks/[name]-[hash]',
})

// The drill's processes: each a file of its own, as a server that is deployed would be.
const workers = files('src/drill/workers')
if (workers.length > 0) {
  await build({ ...bundling, entryPoints: workers, outbase: 'src', outdir: 'dist', define: { TAMPERED: 'false' } })
  await build({
    ...bundling,
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
