import { IrError } from '../errors.ts'
import { safe } from '../ui/safe-text.ts'
import { listCases, type StoredCase } from './case.ts'

/**
 * The case of that id; without one the only open case, else the only case.
 * @throws IrError input naming the choices; refused when the journal of the named one is damaged
 */
export async function findCase(cases: string, id: string | undefined): Promise<StoredCase> {
  const all = await listCases(cases)
  if (id !== undefined) {
    const found = all.cases.find((one) => one.id === id)
    if (found !== undefined) return found
    const damaged = all.damaged.find(({ folder }) => folder.endsWith(`/${id}`))
    if (damaged !== undefined) throw damaged.error
    throw new IrError('input', `There is no case ${safe(id, 80)} in ${safe(cases)}.`, {
      hints: ['`mcp-ir case list` shows them.'],
    })
  }
  const open = all.cases.filter((one) => one.state.closedAt === undefined)
  const [only, another] = open.length > 0 ? open : all.cases
  if (only === undefined) {
    throw new IrError('input', `There is no case in ${safe(cases)}.`, { hints: ['`mcp-ir isolate SERVER` opens one.'] })
  }
  if (another !== undefined) {
    throw new IrError('input', 'There are several cases.', {
      hints: [`Name one: ${(open.length > 0 ? open : all.cases).map((one) => one.id).join(', ')}`],
    })
  }
  return only
}

/** Folder of a case, also of one that is too damaged to read. @throws IrError input */
export async function caseFolder(cases: string, id: string | undefined): Promise<string> {
  const all = await listCases(cases)
  const damaged = all.damaged.filter(({ folder }) => id === undefined || folder.endsWith(`/${id}`))
  const [only] = damaged
  if (only !== undefined && (id !== undefined || (damaged.length === 1 && all.cases.length === 0))) return only.folder
  return (await findCase(cases, id)).folder
}
