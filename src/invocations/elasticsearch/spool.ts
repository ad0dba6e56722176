import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Json } from '../../elasticsearch/client.ts'
import { IrError } from '../../errors.ts'
import type { Page } from './cut.ts'
import type { View } from './view.ts'

export interface Fetched {
  /** One for each slice that was read at once; those that got nothing are left out. */
  readonly files: readonly string[]
  readonly records: number
  /** Why it ended before its end. */
  readonly failure: IrError | undefined
}

/** Puts every record that a query finds into NDJSON files of ours, as they come. */
export class Spool {
  readonly #folder: string
  #made = 0

  constructor(folder: string) {
    this.#folder = folder
  }

  /** @throws IrError for everything but a cluster that stops answering half way: then what there is by then is handed back */
  async fetch(view: View, query: Json): Promise<Fetched> {
    const files = new Map<number, { readonly path: string; readonly handle: FileHandle }>()
    let records = 0
    let failure: IrError | undefined
    const write = async ({ bytes, count }: Page, slice: number) => {
      const file = files.get(slice) ?? (await this.#file())
      files.set(slice, file)
      await file.handle.writeFile(bytes)
      records += count
    }
    try {
      await view.each(query, write)
    } catch (error) {
      if (!(error instanceof IrError) || error.code !== 'unreachable') throw error
      failure = error
    } finally {
      for (const { handle } of files.values()) await handle.close()
    }
    return { files: [...files.values()].map(({ path }) => path), records, failure }
  }

  /** One page. */
  async keep({ bytes, count }: Page): Promise<string[]> {
    if (count === 0) return []
    const { path, handle } = await this.#file()
    try {
      await handle.writeFile(bytes)
    } finally {
      await handle.close()
    }
    return [path]
  }

  async #file(): Promise<{ path: string; handle: FileHandle }> {
    this.#made += 1
    const path = join(this.#folder, `fetched-${this.#made}.ndjson`)
    return { path, handle: await open(path, 'wx', 0o600) }
  }
}
