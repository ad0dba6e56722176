// Writes playbooks/schema.json from the code; a test compares them.
import { writeFileSync } from 'node:fs'
import { playbookJsonSchema } from '../src/playbook/load.ts'

writeFileSync('playbooks/schema.json', `${JSON.stringify(playbookJsonSchema(), undefined, 2)}\n`)
