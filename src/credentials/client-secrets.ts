import { z } from 'zod'
import type { Server } from '../registry/port.ts'
import { safe } from '../ui/safe-text.ts'
import { keyOf } from './deliver.ts'
import type { CredentialState } from './port.ts'

/** What of the output of network.isolate (containment/mcp-client-config.ts) is read here. */
const isolation = z.object({
  clients: z
    .array(
      z.object({
        // Null where the file could not be looked at.
        detail: z
          .object({
            file: z.string(),
            secrets: z
              .array(z.object({ entry: z.string(), name: z.string(), where: z.string() }))
              // Isolated by an older version, or released.
              .default([]),
          })
          .nullable(),
      }),
    )
    .default([]),
})

/**
 * The secrets that stood in the entries which isolation took out of client configurations: alive, as whoever could read
 * such a file has them, and nobody knows here what they open. By name, never by value. One for each file, as two files
 * may hold different values under one name.
 *
 * @param output of the last network.isolate of the case, as `CaseView.output` gives it
 */
export function clientSecrets(
  output: unknown,
  { name: server, credentials }: Pick<Server, 'name' | 'credentials'>,
): readonly CredentialState[] {
  const read = isolation.safeParse(output)
  if (!read.success) return []
  const found = read.data.clients.flatMap(({ detail }) =>
    (detail?.secrets ?? []).map(({ entry, name, where }): CredentialState => {
      const known = credentials.find(({ id }) => keyOf(id) === keyOf(name))
      const same = known === undefined ? '' : `; it may be ${known.id}, but the value was not compared`
      return {
        id: `${safe(name, 80)} in ${safe(entry, 120)} of ${safe(detail?.file ?? '')}`,
        kind: 'client-config',
        state: 'alive',
        proof: `it stood in a client's configuration (${safe(where, 20)}) for ${safe(server)}: whoever could read that has it, and only its issuer can end it${same}`,
        sharedWith: [],
      }
    }),
  )
  // An entry that somebody put back is there twice: as what was taken out, and as what stands.
  return [...new Map(found.map((one) => [one.id, one])).values()]
}
