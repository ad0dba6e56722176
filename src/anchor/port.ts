import type { JsonObject } from '../change.ts'

/** The end of a journal at some moment. As every line holds the hash of the one before, it vouches for all up to it. */
export interface Head {
  /** Id of the case. */
  readonly case: string
  readonly seq: number
  /** SHA-256 of the line, hex. */
  readonly hash: string
  /** When the line was written, by the clock of the host that wrote it. */
  readonly at: string
}

/** What an anchor answered, kept in the case folder (`anchors.ndjson`). Never secret. */
interface Receipt {
  readonly head: Head
  readonly receipt: JsonObject
}

/** A head that is known off the host. */
export interface KnownHead extends Head {
  /** When it was taken in, by a clock that is not this host's. */
  readonly seenAt?: string
}

interface Known {
  readonly heads: readonly KnownHead[]
  /** Proofs that do not hold, in plain words. */
  readonly wrong: readonly string[]
}

/** A place off this host, where whoever can write the journal cannot change what was put there. */
export interface Anchor {
  /** Where that is, for people. */
  readonly name: string
  /**
   * Puts a head there. The same head again is no error.
   * @throws IrError unreachable or denied when it could not be put there; refused when another head of the same line is
   * there already; interrupted
   */
  put(head: Head, signal: AbortSignal): Promise<JsonObject>
  /**
   * Every head of a case that is there.
   * @param receipts what `put` answered: all that there is where the place itself keeps nothing
   * @throws IrError unreachable or denied
   */
  known(caseId: string, receipts: readonly Receipt[], signal: AbortSignal): Promise<Known>
}
