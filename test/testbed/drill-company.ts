import { setTimeout as sleep } from 'node:timers/promises'
import { startCompany } from '../../src/drill/company.ts'

/** Starts a drill's company, says where, and then either leaves it standing and ends (`keep`) or waits to be killed. */
const company = await startCompany({
  now: () => new Date(),
  progress: () => {},
  signal: new AbortController().signal,
})
if (process.argv[2] === 'keep') await company.keep()
process.stdout.write(`${company.folder}\n`)
if (process.argv[2] !== 'keep') await sleep(60_000)
