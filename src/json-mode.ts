/**
 * Whether the answer is to be one JSON object. Asked before the flags are parsed too, as an error in them is an answer.
 * What oclif takes for true in a variable is true here.
 */
export function wantsJson(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): boolean {
  const end = argv.indexOf('--')
  return (
    argv.slice(0, end === -1 ? undefined : end).includes('--json') || /^(1|true|y|yes)$/i.test(env.MCP_IR_JSON ?? '')
  )
}
