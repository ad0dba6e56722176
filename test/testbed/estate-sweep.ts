import { join } from 'node:path'
import { expect } from 'vitest'
import type { CredentialState } from '../../src/credentials/port.ts'
import { mcpIr, workplace } from './cli.ts'
import { startFaultProxy } from './fault-proxy.ts'
import { startOpenbao } from './openbao.ts'
import { startPostgres } from './postgres.ts'
import { makeVaultEstate } from './vault-estate.ts'

/** The same numbers in every run of a test. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1664525 + 1013904223) % 2 ** 32
    return state / 2 ** 32
  }
}

/**
 * Revokes and rotates that many credentials with the real command, through a Vault that throttles 30 % of the requests and cuts off 5 %, half of them
 * once they are done; killed (SIGKILL) that often on the way. Whatever happens, the end must be the same.
 */
export async function revokeAndRotateEstate(size: number, kills: number): Promise<void> {
  const [bao, postgres] = await Promise.all([startOpenbao(), startPostgres()])
  const proxy = await startFaultProxy(bao.url)
  try {
    const estate = await makeVaultEstate(bao, postgres, size)
    expect(await estate.living()).toHaveLength(size)
    const folder = workplace(estate.registry, `vault: {address: "${proxy.url}"}\n`)
    const env = {
      VAULT_TOKEN: bao.root,
      PGUSER: postgres.admin.user,
      PGPASSWORD: postgres.admin.password,
      MCP_IR_CONFIG: join(folder, 'mcp-ir.yaml'),
    }
    const random = seeded(size)
    proxy.fault = () => {
      const drawn = random()
      return drawn < 0.3 ? 'throttled' : drawn < 0.325 ? 'reset-before' : drawn < 0.35 ? 'reset-after' : undefined
    }
    /** Killed at random moments, then let through to its end. */
    const run = async (command: string, times: number) => {
      // How long it takes is not known beforehand: moments that double meet it early and late.
      for (let kill = 0, ms = 600; kill < times; kill++, ms *= 1 + random()) {
        let timer: NodeJS.Timeout | undefined
        const died = await mcpIr([command, 'io.acme/estate', '--yes', '--json'], {
          cwd: folder,
          env,
          started: (pid) => {
            timer = setTimeout(() => process.kill(pid, 'SIGKILL'), ms)
          },
        })
        clearTimeout(timer)
        if (died.signal === null) return died
      }
      return mcpIr([command, 'io.acme/estate', '--yes', '--json'], { cwd: folder, env })
    }

    const revoked = await run('revoke', kills)
    expect(revoked.stderr).not.toContain('canary')
    const credentials: readonly CredentialState[] = revoked.json.result?.output?.credentials ?? []
    expect(credentials.filter(({ state }) => state !== 'dead')).toEqual([])
    expect(credentials).toHaveLength(size)
    expect([0, 6]).toContain(revoked.code)
    proxy.fault = () => undefined
    expect(await estate.living()).toEqual([])

    proxy.fault = () => {
      const drawn = random()
      return drawn < 0.3 ? 'throttled' : drawn < 0.325 ? 'reset-before' : drawn < 0.35 ? 'reset-after' : undefined
    }
    const rotated = await run('rotate', Math.ceil(kills / 2))
    expect(rotated.json.status).not.toBe('error')
    const delivered = (await bao.ok('GET', 'secret/data/next/estate')).data.data as Record<string, string>
    expect(await estate.wronglyRotated(delivered)).toEqual([])
    expect(await estate.living()).toEqual([])

    const check = await mcpIr(['case', 'check', '--json'], { cwd: folder, env })
    expect(check.code).toBe(0)
  } finally {
    await Promise.all([proxy.stop(), bao.stop(), postgres.stop()])
  }
}
