/** The import rule (docs/decisions/0001-structure.md). */
const capabilities = 'containment|credentials|invocations|blast-radius|provenance|deployment|report|anchor'
const inside = `^src/(${capabilities})/`

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'no-orphans',
      severity: 'error',
      from: { orphan: true, pathNot: ['^src/drill/workers/', '^src/commands/', '\\.d\\.ts$'] },
      to: {},
    },
    {
      name: 'ports-are-types',
      comment: 'A port imports nothing of ours but types.',
      severity: 'error',
      from: { path: '^src/.*/port\\.ts$' },
      to: { path: '^src/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'adapters-only-by-their-index',
      comment: 'Nobody imports an adapter but its index.ts, lazily.',
      severity: 'error',
      from: {
        path: '^src/',
        pathNot: ['^src/(containment|credentials|credentials/powers|deployment|invocations|anchor)/index\\.ts$'],
      },
      to: {
        path: '^src/(containment|deployment)/(local-process|aws-ec2|mcp-client-config|exec)\\.ts$|^src/credentials/(oauth|exec|postgres|aws-[a-z-]+|vault-[a-z]+|azure-key-vault)\\.ts$|^src/invocations/(files|elasticsearch)\\.ts$|^src/credentials/powers/(aws-[a-z-]+|vault)\\.ts$|^src/anchor/(file|exec|rfc3161|elasticsearch)\\.ts$',
      },
    },
    {
      name: 'playbook-and-case-know-no-adapter',
      severity: 'error',
      from: { path: '^src/(playbook|case)/' },
      to: { path: inside },
    },
    {
      name: 'capabilities-share-types',
      comment: "Capabilities share only types of each other's ports, and data through the case.",
      severity: 'error',
      from: { path: inside },
      to: {
        path: inside,
        pathNot: ['^src/$1/', '^src/(provenance|invocations|credentials/powers)/index\\.ts$'],
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'commands-hold-no-adapter',
      severity: 'error',
      from: { path: '^src/commands/' },
      to: {
        path: inside,
        pathNot: [
          '^src/provenance/(index|artifact)\\.ts$',
          '^src/report/step\\.ts$',
          '^src/anchor/(anchoring|check|receipts)\\.ts$',
        ],
      },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: 'specify',
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { extensions: ['.ts', '.js'] },
  },
}
