/** What an answer is put into when nobody gives memory for it. */
const first = 16 << 10

/** Memory into which an answer is put, piece by piece: what was given while that suffices, and more from then on. */
export class Room {
  readonly #longest: number
  #into: Buffer
  #size = 0

  /** @param longest bytes */
  constructor(longest: number, given: Buffer = Buffer.allocUnsafeSlow(first)) {
    this.#longest = longest
    this.#into = given
  }

  /** @returns whether it still fits below the longest that is taken */
  add(piece: Buffer): boolean {
    const size = this.#size + piece.length
    if (size > this.#longest) return false
    if (size > this.#into.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(size, this.#into.length * 2))
      this.#into.copy(larger, 0, 0, this.#size)
      this.#into = larger
    }
    piece.copy(this.#into, this.#size)
    this.#size = size
    return true
  }

  get bytes(): Buffer {
    return this.#into.subarray(0, this.#size)
  }
}
