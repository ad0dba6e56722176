/** A registry may name a user or a role by its ARN; a name alone leaves the account open. */
export function named(given: string): { readonly name: string; readonly account: string | undefined } {
  if (!given.startsWith('arn:')) return { name: given, account: undefined }
  return { name: given.split('/').at(-1) ?? given, account: given.split(':')[4] }
}
