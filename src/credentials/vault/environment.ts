/** A setting of the environment by the names that the command line tools use: VAULT_* first, BAO_* for OpenBao. */
export function environment(name: string): string | undefined {
  return process.env[`VAULT_${name}`] || process.env[`BAO_${name}`] || undefined
}
