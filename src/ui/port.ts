/**
 * The terminal. Data goes to stdout (`write`), narration to stderr (`say`). Whatever comes from outside is escaped by the
 * caller with `safe` before it gets here; the tables do it themselves.
 */
export interface Ui {
  /** Whether a person can be asked: stdin and stderr are terminals and neither `--json` nor `--yes` was given. */
  readonly interactive: boolean
  readonly write: (text: string) => void
  readonly say: (text: string) => void
  /** Runs `work` with a progress line that shows how long it takes; `update` changes its text. */
  readonly task: <T>(label: string, work: (update: (text: string) => void) => Promise<T>) => Promise<T>
  readonly ask: Prompts
}

/** Questions to the responder. Each has a flag that answers it; without a terminal they throw IrError consent naming it. */
export interface Prompts {
  confirm(question: string, options?: { default?: boolean }): Promise<boolean>
  /** Consent to something irreversible: the responder types `expected`. */
  typed(question: string, expected: string): Promise<boolean>
  /** Empty string when left open. */
  text(question: string, options?: { default?: string }): Promise<string>
  select<V>(question: string, choices: readonly { name: string; value: V; description?: string }[]): Promise<V>
}
