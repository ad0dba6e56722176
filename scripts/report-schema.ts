import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { createGenerator } from 'ts-json-schema-generator'

/** `schemas/report.json` as the types of the report say it: their comments are its descriptions. A test compares the two. */
export function reportJsonSchema(): string {
  const { $schema, definitions, ...report } = createGenerator({
    path: 'src/report/model.ts',
    type: 'Report',
    tsconfig: 'tsconfig.json',
    topRef: false,
    additionalProperties: false,
    sortProps: false,
    // The lint has checked them.
    skipTypeCheck: true,
  }).createSchema('Report')
  const title = 'report.json of mcp-ir, version 1'
  return `${JSON.stringify({ $schema, title, ...report, definitions }, undefined, 2)}\n`
}

if (process.argv[1] === resolve('scripts/report-schema.ts')) writeFileSync('schemas/report.json', reportJsonSchema())
