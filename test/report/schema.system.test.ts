import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { reportJsonSchema } from '../../scripts/report-schema.ts'

// Reads all types of the project, which takes seconds: not for the unit tests.
it('the published schema of report.json is the one of the code', () => {
  const published = JSON.parse(readFileSync('schemas/report.json', 'utf8'))
  expect(published, 'run npm run report-schema').toEqual(JSON.parse(reportJsonSchema()))
})
