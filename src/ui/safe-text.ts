// C0, DEL, C1, bidirectional controls, zero-width characters, line and paragraph separators, byte order mark, tag characters.
const unsafe = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]/gu

/**
 * Text that a suspect may have written, made inert for a terminal and readable for a person: every control, format and
 * bidirectional character becomes a visible escape, and what is longer than `limit` characters is cut and says so.
 */
export function safe(text: string, limit = 300): string {
  const cut = text.length > limit ? `${text.slice(0, limit)}… (${text.length} characters)` : text
  return cut.replace(unsafe, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`)
}
