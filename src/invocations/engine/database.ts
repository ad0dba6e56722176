import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DuckDBConnection, DuckDBInstance, DuckDBValue } from '@duckdb/node-api'
import { IrError } from '../../errors.ts'
import { macros } from './extract.ts'

/** Whatever the log holds, DuckDB stays below this and goes to the disk for more: its tables lie in memory as long as they fit. */
const memory = '512MB'

export type Parameters = Readonly<Record<string, string | bigint | number | readonly string[]>>
export type Row = Readonly<Record<string, string | number | boolean | null>>

const threads = Math.max(2, Math.min(4, availableParallelism()))

/** One DuckDB for one reading of a log, with a private folder that goes with it. */
export class Database {
  readonly folder: string
  readonly #instance: DuckDBInstance
  readonly #connection: DuckDBConnection
  readonly #api: typeof import('@duckdb/node-api')
  #threads = threads

  private constructor(
    folder: string,
    api: typeof import('@duckdb/node-api'),
    instance: DuckDBInstance,
    connection: DuckDBConnection,
  ) {
    this.folder = folder
    this.#api = api
    this.#instance = instance
    this.#connection = connection
  }

  static async open(): Promise<Database> {
    // 150 ms: only once a log is really read.
    const api = await import('@duckdb/node-api')
    const folder = await mkdtemp(join(tmpdir(), 'mcp-ir-log-'))
    try {
      const instance = await api.DuckDBInstance.create(':memory:', {
        memory_limit: memory,
        threads: String(threads),
        temp_directory: join(folder, 'spill'),
        // Nothing is fetched from anywhere: all that is needed is built in.
        autoinstall_known_extensions: 'false',
        autoload_known_extensions: 'false',
      })
      const connection = await instance.connect()
      const database = new Database(folder, api, instance, connection)
      await database.run(`SET TimeZone = 'UTC'`)
      for (const macro of macros) await database.run(macro)
      return database
    } catch (error) {
      await rm(folder, { recursive: true, force: true })
      throw error
    }
  }

  async run(sql: string, parameters: Parameters = {}): Promise<void> {
    await this.#connection.run(sql, this.#values(sql, parameters), this.#types(sql, parameters))
  }

  /**
   * An INSERT whose rows get the order of their source. DuckDB does that with several threads where all parts of a query keep the
   * order (its plan then has a batch insert), which joins do not.
   */
  async insertInOrder(sql: string, parameters: Parameters): Promise<void> {
    const plan = await this.rows(`EXPLAIN ${sql}`, parameters)
    const keepsOrder = plan.some((row) => String(row.explain_value).includes('BATCH_INSERT'))
    if (!keepsOrder) await this.run('SET threads = 1')
    try {
      await this.run(sql, parameters)
    } finally {
      if (!keepsOrder) await this.run(`SET threads = ${this.#threads}`)
    }
  }

  /** From here on one query uses one thread, and so holds less at once. */
  async slowDown(): Promise<void> {
    this.#threads = 1
    await this.run('SET threads = 1')
  }

  /** All rows of a small result; whole numbers as numbers. */
  async rows(sql: string, parameters: Parameters = {}): Promise<readonly Row[]> {
    const reader = await this.#connection.runAndReadAll(
      sql,
      this.#values(sql, parameters),
      this.#types(sql, parameters),
    )
    return reader
      .getRowObjects()
      .map((row) => Object.fromEntries(Object.entries(row).map(([key, value]) => [key, plain(value)])))
  }

  /** A result of any size, column by column, a piece at a time. */
  async *pieces(sql: string): AsyncGenerator<readonly (readonly DuckDBValue[])[]> {
    const result = await this.#connection.stream(sql)
    for (
      let chunk = await result.fetchChunk();
      chunk !== null && chunk.rowCount > 0;
      chunk = await result.fetchChunk()
    ) {
      yield chunk.getColumns()
    }
  }

  /** Adds rows to a table, on a connection of its own: the caller may be in the middle of a result. */
  async append<T>(
    table: string,
    fill: (add: (row: readonly (bigint | string | boolean | undefined)[]) => void) => Promise<T>,
  ): Promise<T> {
    const connection = await this.#instance.connect()
    try {
      const appender = await connection.createAppender(table)
      const result = await fill((row) => {
        for (const value of row) {
          if (value === undefined) appender.appendNull()
          else if (typeof value === 'bigint') appender.appendBigInt(value)
          else if (typeof value === 'boolean') appender.appendBoolean(value)
          else appender.appendVarchar(value)
        }
        appender.endRow()
      })
      appender.closeSync()
      return result
    } finally {
      connection.closeSync()
    }
  }

  /** Runs work that Ctrl-C can end. @throws IrError interrupted, or unreachable when DuckDB gives up */
  async interruptible<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const stop = () => this.#connection.interrupt()
    signal.addEventListener('abort', stop, { once: true })
    try {
      signal.throwIfAborted()
      return await work()
    } catch (error) {
      if (signal.aborted) throw new IrError('interrupted', 'Reading the invocation log was interrupted.')
      throw error
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }

  async close(): Promise<void> {
    this.#connection.closeSync()
    this.#instance.closeSync()
    await rm(this.folder, { recursive: true, force: true })
  }

  // A statement must be given exactly the parameters that occur in it.
  #used(sql: string, parameters: Parameters) {
    return Object.entries(parameters).filter(([name]) => sql.includes(`$${name}`))
  }

  #values(sql: string, parameters: Parameters): Record<string, DuckDBValue> {
    return Object.fromEntries(
      this.#used(sql, parameters).map(([name, value]) => [
        name,
        typeof value === 'object' ? this.#api.listValue([...value]) : value,
      ]),
    )
  }

  #types(sql: string, parameters: Parameters) {
    const { BIGINT, DOUBLE, LIST, VARCHAR } = this.#api
    return Object.fromEntries(
      this.#used(sql, parameters).map(([name, value]) => [
        name,
        typeof value === 'object'
          ? LIST(VARCHAR)
          : typeof value === 'string'
            ? VARCHAR
            : typeof value === 'bigint'
              ? BIGINT
              : DOUBLE,
      ]),
    )
  }
}

function plain(value: DuckDBValue): string | number | boolean | null {
  if (typeof value === 'bigint') return Number(value)
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value
  return null
}

/** What DuckDB says went wrong, without anything that it read: its messages quote values. */
export function kindOfFailure(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  if (/no space left/i.test(message)) return 'no space is left on the device'
  return /^[A-Z][A-Za-z ]{2,40}(?= Error:)/.exec(message)?.[0].toLowerCase() ?? 'unknown'
}
