import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const entry = fileURLToPath(new URL('../src/drill/workers/mcp-server.ts', import.meta.url))

/**
 * Builds the drill's MCP server twice, each into one file that needs nothing else: `mcp-server.js`, the approved 1.4.0, and
 * `mcp-server-tampered.js`, the 1.4.1 of the attacker. The drill packs them into npm tarballs.
 */
export async function buildDrillServer(folder) {
  const one = (name, tampered) =>
    build({
      entryPoints: [entry],
      outfile: `${folder}/${name}.js`,
      bundle: true,
      platform: 'node',
      target: 'node22',
      format: 'esm',
      // So that nothing of the tampered half is left in the approved build.
      minifySyntax: true,
      define: { TAMPERED: String(tampered) },
      // CommonJS dependencies require Node's own modules.
      banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
      logLevel: 'warning',
    })
  await Promise.all([one('mcp-server', false), one('mcp-server-tampered', true)])
}
