import type { Call, Json, JsonObject } from '../change.ts'
import { IrError } from '../errors.ts'
import type { CredentialState, CredentialTarget } from './port.ts'

/** Small words that adapters of credentials share. */

/** @throws IrError interrupted */
export function mayGoOn(call: Pick<Call<unknown>, 'signal'>): void {
  if (call.signal.aborted) throw new IrError('interrupted', 'Interrupted.')
}

export function field(value: Json | undefined, name: string): Json | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject)[name] : undefined
}

export function textField(value: Json | undefined, name: string): string {
  const found = field(value, name)
  if (typeof found !== 'string') throw new TypeError(`${name} is missing`)
  return found
}

/** The strings of a list; empty for what is none. */
export function words(value: Json | undefined): readonly string[] {
  return Array.isArray(value) ? value.filter((one): one is string => typeof one === 'string') : []
}

/** A system that cannot be asked is something to be told, not the end. */
export async function orError<T>(work: Promise<T>): Promise<T | IrError> {
  try {
    return await work
  } catch (error) {
    if (error instanceof IrError && error.code !== 'interrupted') return error
    throw error
  }
}

/** One argument for a shell. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

export function stateOf(
  { credential, sharedWith }: CredentialTarget,
  state: CredentialState['state'],
  proof: string,
): CredentialState {
  return { id: credential.id, kind: credential.kind, state, proof, sharedWith }
}

export function asJson(state: CredentialState): Json {
  return { ...state }
}
