/**
 * The only two ways in which text gets into a query. Everything that a log, a registry or a flag holds is bound as a parameter
 * instead; these are for what cannot be bound: names of our own temporary files and field paths from the configuration.
 */

/** A string literal. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

/** A quoted name. */
export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
