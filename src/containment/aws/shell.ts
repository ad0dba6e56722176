/** For a shell: names of auto scaling groups may hold anything. */
export function quote(text: string): string {
  return /^[\w.:/@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
