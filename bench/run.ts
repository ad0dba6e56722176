/** `npm run bench` runs all; `npm run bench -- startup registry` runs some. Prints ratios, asserts nothing. */
import * as findings from './findings.ts'
import * as isolate from './isolate.ts'
import * as logs from './logs.ts'
import * as registry from './registry.ts'
import * as revoke from './revoke.ts'
import * as startup from './startup.ts'
import * as taint from './taint.ts'
import * as verify from './verify.ts'

const all = [startup, registry, taint, findings, logs, isolate, revoke, verify]
const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => !all.some((bench) => bench.name === name))
if (unknown.length > 0) {
  console.error(`No bench ${unknown.join(', ')}. There are: ${all.map(({ name }) => name).join(', ')}`)
  process.exitCode = 2
} else {
  for (const bench of all) {
    if (wanted.length === 0 || wanted.includes(bench.name)) await bench.run((line) => console.log(line))
  }
}
