/** The little of DER that certificates and timestamps of a test need. */
export type Der = Buffer

export function tlv(tag: number, ...contents: readonly Uint8Array[]): Der {
  const content = Buffer.concat(contents)
  const bytes: number[] = []
  for (let rest = content.length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256)
  const length = content.length < 0x80 ? [content.length] : [0x80 | bytes.length, ...bytes]
  return Buffer.concat([Buffer.from([tag, ...length]), content])
}

export const sequence = (...parts: readonly Uint8Array[]): Der => tlv(0x30, ...parts)
export const setOf = (...parts: readonly Uint8Array[]): Der => tlv(0x31, ...parts)
export const octets = (bytes: Uint8Array): Der => tlv(0x04, bytes)
export const bits = (bytes: Uint8Array, unused = 0): Der => tlv(0x03, Buffer.from([unused]), bytes)
export const utf8 = (text: string): Der => tlv(0x0c, Buffer.from(text))
export const yes = tlv(0x01, Buffer.from([0xff]))
/** `[number]`, constructed. */
export const tagged = (number: number, ...parts: readonly Uint8Array[]): Der => tlv(0xa0 | number, ...parts)

export function integer(value: number | Uint8Array): Der {
  const bytes = typeof value === 'number' ? Buffer.from([value]) : Buffer.from(value)
  return tlv(0x02, (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes)
}

export function oid(dotted: string): Der {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number)
  const bytes = [first * 40 + second]
  for (const part of rest) {
    const groups = [part & 0x7f]
    for (let left = part >>> 7; left > 0; left >>>= 7) groups.unshift((left & 0x7f) | 0x80)
    bytes.push(...groups)
  }
  return tlv(0x06, Buffer.from(bytes))
}

export function time(moment: Date): Der {
  const text = moment.toISOString().replace(/[-:T]|\.\d+/g, '')
  return tlv(0x18, Buffer.from(text))
}
