import type { KeyObject } from 'node:crypto'
import { createPublicKey } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Anchoring } from './anchor/anchoring.ts'
import { openCase, type StoredCase } from './case/case.ts'
import { checkCase } from './case/check.ts'
import type { Events } from './case/events.ts'
import { writeAtomically } from './case/evidence.ts'
import { caseFiles, sealName } from './case/files.ts'
import { keyId, sealText } from './case/seal.ts'
import type { Context } from './context.ts'
import { IrError } from './errors.ts'
import { reportOf } from './report/step.ts'

export interface SealResult {
  /** SHA-256 of the public key (DER), hex. */
  readonly key: string
  readonly head: { readonly seq: number; readonly hash: string }
  readonly file: string
  readonly files: number
  readonly problems: readonly Pick<IrError, 'code' | 'message' | 'hints'>[]
}

/** @throws IrError refused when this case, as it stands, is not one to seal with this key */
export async function checkSealable(found: StoredCase, privateKey: KeyObject): Promise<void> {
  refuseState(found, privateKey)
  await refuseDamage(found.id, found.folder)
}

function refuseState({ id, folder, state, lines }: StoredCase, privateKey: KeyObject): void {
  if (existsSync(join(folder, sealName)))
    throw new IrError(
      'refused',
      `Case ${id} was sealed already${state.sealedAt === undefined ? '' : ` at ${state.sealedAt}`}.`,
      {
        hints: ['`mcp-ir case check` looks whether it is still as it was then.'],
      },
    )
  const begun = lines.findLast(({ kind }) => kind === 'case.sealed')
  const key = keyId(createPublicKey(privateKey))
  if (begun?.kind === 'case.sealed' && begun.data.key !== key)
    throw new IrError('refused', `Sealing case ${id} was begun with another key (${begun.data.key}).`, {
      hints: ['Finish it with that one: its name is in the journal, which is not written again.'],
    })
}

async function refuseDamage(id: string, folder: string): Promise<void> {
  const { damage } = await checkCase(folder, { sealing: true })
  if (damage.length === 0) return
  throw new IrError(
    'refused',
    [`Case ${id} is damaged, and is not sealed so:`, ...damage.map(({ place, what }) => `- ${place} ${what}`)].join(
      '\n',
    ),
  )
}

/**
 * Ends a case for good: it is closed where it was open, the journal's last line says with which key, the reports are made again
 * from it, and the seal is written over all of it. Killed at any instant, the same call finishes it.
 * @param closed what is journalled where the case is open still
 * @throws IrError as `checkSealable` and `openCase`
 */
export async function sealCase(
  context: Context,
  found: StoredCase,
  privateKey: KeyObject,
  closed: Events['case.closed'],
  takeOver: boolean,
): Promise<SealResult> {
  refuseState(found, privateKey)
  const { by, now } = context
  const { folder } = found
  const incident = openCase(folder, { by, now, takeOver, sealing: true })
  try {
    const { journal } = incident
    // Only now, as a line that a crash tore was set aside when the case was opened.
    await refuseDamage(incident.id, folder)
    const key = keyId(createPublicKey(privateKey))
    if (incident.state().closedAt === undefined) journal.append('case.closed', closed)
    // Taking over the lock of the one that was cut short is journalled, and so ends what it had begun.
    const before = journal.lines.at(-1)
    const last = before?.kind === 'case.sealed' ? before : journal.append('case.sealed', { key })
    if (last.kind !== 'case.sealed') throw new TypeError('the last line is the one that was written')
    const report = await reportOf({ folder, lines: journal.lines }, context.config)
    report.write()
    const files = await caseFiles(folder)
    const sealing = {
      case: incident.id,
      server: incident.state().server.name,
      tool: `mcp-ir ${context.version}`,
      last,
    }
    const file = join(folder, sealName)
    writeAtomically(file, await sealText(sealing, files, privateKey))
    const anchoring = new Anchoring(context)
    await anchoring.atEnd(incident)
    return {
      key,
      head: { seq: last.seq, hash: last.hash },
      file,
      files: files.paths.length,
      problems: anchoring.problems.map(({ code, message, hints }) => ({ code, message, hints })),
    }
  } finally {
    incident.close()
  }
}
