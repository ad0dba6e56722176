import type { BlastRadius, CouldReach, Suspect } from '../../src/blast-radius/port.ts'

const access = ['read', 'write', 'read-write', 'admin'] as const
const at = (index: number) => new Date(Date.UTC(2026, 10, 20, 10) + index * 1000).toISOString()

/**
 * A blast radius whose drawings have about so many boxes each.
 * @param t what is made of every name
 */
export function radiusOf(boxes: number, t: (plain: string) => string = (plain) => plain): BlastRadius {
  const few = boxes <= 10
  const couldReach = Array.from({ length: few ? 3 : Math.round(boxes * 0.8) }, (_, index): CouldReach => {
    const own = t(`credential-${index % (few ? 2 : Math.ceil(boxes / 6))}`)
    const way =
      index % 4 === 3 ? [own, t(`Vault secret/data/team-${index}`), t(`smtp-key of io.acme/billing-${index}`)] : [own]
    return {
      system: t(`system-${index}.prod.eu-central-1.acme.example`),
      kind: 'database',
      via: way.join(' → '),
      way,
      access: access[index % access.length] ?? 'read',
      data: index % 3 === 0 ? [t('customer-pii')] : [],
      ...(index % 5 === 0 ? { classification: 'restricted', owner: t('data-team') } : {}),
    }
  })
  const contexts = few ? 1 : Math.round(boxes / 3)
  const suspect = Array.from({ length: few ? 3 : boxes * 2 }, (_, index): Suspect => {
    const second = index % 5 === 4
    const context = t(`session ${second ? 'bob' : 'ann'}-${index % contexts}`)
    return {
      record: t(`r${index}`),
      server: t(
        `io.acme/${['mail', 'billing', 'wiki', 'notes', 'erp'][index % 5]}-${index % (few ? 2 : Math.ceil(boxes / 4))}`,
      ),
      tool: t('send'),
      at: at(index),
      hop: second ? 2 : 1,
      by: index % 7 === 6 ? 'inferred' : 'session',
      chain: second ? [t('r-own'), t(`r${index - 1}`), t(`r${index}`)] : [t('r-own'), t(`r${index}`)],
      context,
      ...(second ? { resource: t(`note:${index} in notes-db`) } : {}),
    }
  })
  return {
    window: { since: at(0), until: at(86_400) },
    couldReach,
    didReach: couldReach.slice(0, few ? 2 : 60).map(({ system, data }, index) => ({
      system,
      coverage: (['accessed', 'not-seen', 'no-visibility'] as const)[index % 3] ?? 'accessed',
      calls: index % 3 === 0 ? 1200 : 0,
      rows: index % 3 === 0 ? 168_213 : 0,
      bytes: index % 3 === 0 ? 97_812_334 : 0,
      data,
    })),
    left: [],
    exposed: [],
    suspect,
    hubs: few ? [] : [{ context: t('account svc-agents'), kind: 'account', contexts: 40_000, calls: 81_224 }],
    worst: suspect.slice(0, 50).map(({ record }) => ({ record, why: 'changes something' })),
    dataClasses: [t('customer-pii')],
    owners: [t('data-team')],
    gaps: [],
  }
}
