/** Words in the name of a tool that changes something. */
const changing = new Set(
  'add append apply approve archive assign book cancel close commit copy create delete deploy disable drop edit enable exec execute grant import insert invite invoke merge modify move patch pay post publish purge push put rename remove replace reset restart revoke rotate run save schedule send set share start stop submit terminate transfer trigger update upload upsert write'.split(
    ' ',
  ),
)

/** Words with which the name of a tool begins that only looks: what follows is what it looks at (`get_post`, `list_runs`). */
const looking = new Set(
  'check count describe fetch find get list load lookup peek query read search show view'.split(' '),
)

/** Whether its name says that a tool changes something. For tools of which nobody wrote down what they do. */
export function soundsChanging(tool: string): boolean {
  return soundsLike(tool) === 'changing'
}

/** What the name of a tool says that it does; undefined when it says neither. */
export function soundsLike(tool: string): 'changing' | 'looking' | undefined {
  const words = tool
    .slice(0, 200)
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^a-z]+/)
    .filter((word) => word !== '')
  if (looking.has(words[0] ?? '')) return 'looking'
  return words.some((word) => changing.has(word)) ? 'changing' : undefined
}
