import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { IrError, systemCode } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import { archiveFiles } from './archive.ts'
import { type CaseFiles, caseFiles } from './files.ts'
import { caseFolder } from './find.ts'

/**
 * The files to check: of a case by its id (also one that is too damaged to read), or of an export, by path.
 * @throws IrError input when there is no such case or file
 */
export async function whereToCheck(
  cases: string,
  named: string | undefined,
  signal: AbortSignal,
): Promise<{ readonly place: string; readonly files: CaseFiles }> {
  // A case id has neither.
  if (named === undefined || !/[./]/.test(named)) {
    const place = await caseFolder(cases, named)
    return { place, files: await caseFiles(place) }
  }
  const place = resolve(named)
  const files = (await isFolder(place)) ? await caseFiles(place) : await archiveFiles(place, signal)
  return { place, files }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory()
  } catch (error) {
    throw new IrError('input', `${safe(path)} cannot be read (${systemCode(error) ?? 'unknown error'}).`, {
      cause: error,
    })
  }
}
