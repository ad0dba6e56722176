import { safe } from '../ui/safe-text.ts'

/**
 * What a company's program wrote for people, without the secrets that are known here, and without words that look like one:
 * it knows secrets that we do not.
 */
export function scrubbed(text: string, secrets: readonly string[], limit = 300): string {
  let clean = text
  for (const form of secrets.flatMap(formsOf)) clean = clean.replaceAll(form, '[secret]')
  return safe(clean.replace(/[\w+=~-]{12,}/g, (word) => (looksRandom(word) ? '[…]' : word)).trim(), limit)
}

/** As it is, and as programs write it in JSON, in a URL or in a header; of one over several lines each line. */
function formsOf(secret: string): readonly string[] {
  const bytes = Buffer.from(secret)
  const forms = [
    secret,
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret),
    bytes.toString('base64').replace(/=+$/, ''),
    bytes.toString('base64url'),
    bytes.toString('hex'),
    ...secret.split(/[\r\n\0]+/).filter((line) => line.length >= 6),
  ]
  return [...new Set(forms)].filter((form) => form !== '').sort((a, b) => b.length - a.length)
}

function looksRandom(word: string): boolean {
  return /\d/.test(word) && /[A-Za-z]/.test(word)
}
