import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

/** The command line is a promise to users: a change of it is a decision, seen in a diff. */
test('commands, arguments and flags are the promised ones', async () => {
  const manifest = JSON.parse(
    readFileSync(fileURLToPath(new URL('../../oclif.manifest.json', import.meta.url)), 'utf8'),
  )
  const commands = Object.values<{ id: string; args: object; flags: Record<string, { env?: string; type: string }> }>(
    manifest.commands,
  )
  const lines = commands
    .sort((a, b) => a.id.localeCompare(b.id))
    .flatMap(({ id, args, flags }) => [
      [id.replaceAll(':', ' '), ...Object.keys(args).map((name) => `[${name}]`)].join(' '),
      ...Object.entries(flags)
        .sort(([a], [b]) => a.localeCompare(b))
        .map(
          ([name, { env, type }]) =>
            `  --${name}${type === 'boolean' ? '' : '='}${env === undefined ? '' : `  (${env})`}`,
        ),
    ])
  await expect(`${lines.join('\n')}\n`).toMatchFileSnapshot('interface.snapshot.txt')
})
