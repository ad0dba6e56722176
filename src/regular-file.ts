import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { IrError, systemCode } from './errors.ts'
import { safe } from './ui/safe-text.ts'

/**
 * Opens a regular file for reading; a FIFO or device never blocks it.
 * @throws IrError `input` when it is missing, unreadable or no regular file
 */
export async function openRegularFile(file: string): Promise<FileHandle> {
  let handle: FileHandle
  try {
    handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    const code = systemCode(error)
    const why = code === 'ENOENT' ? 'does not exist' : code === 'EACCES' ? 'may not be read' : 'cannot be opened'
    throw new IrError('input', `${safe(file)} ${why}`, { cause: error })
  }
  try {
    if ((await handle.stat()).isFile()) return handle
  } catch (error) {
    await handle.close()
    throw error
  }
  await handle.close()
  throw new IrError('input', `${safe(file)} is not a regular file`)
}
