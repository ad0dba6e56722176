import type { Problem } from '../../change.ts'
import { IrError } from '../../errors.ts'
import { safe } from '../../ui/safe-text.ts'
import { exclusively } from '../deliver.ts'
import type { Kept, Store, StoreCall } from '../store.ts'

/**
 * A secret that is one text, in a store without check-and-set: a JSON object with one key for each credential; or, without a
 * key, a value that is somebody's password as it is, or a JSON object that has it.
 */
export interface TextSecret {
  readonly name: string
  /** @returns undefined when there is none */
  read(): Promise<(Kept & { readonly text: string }) | undefined>
  /** @param before the version that this is made from; undefined when there is none */
  write(text: string, before: string | undefined): Promise<void>
}

type Json = Readonly<Record<string, unknown>>

/** The three things that a store does, for one whose secrets are texts. */
export function textSecrets(open: (call: StoreCall) => TextSecret, place: string): Pick<Store, 'put' | 'get'> {
  return {
    put: (key, secret, call) =>
      exclusively(place, async () => {
        const there = open(call)
        // What somebody else put at the same moment shows in what is read afterwards.
        for (let tried = 0; tried < 5; tried++) {
          const { version, value } = await currentOf(there, key)
          if (textAt(there, value, key) === secret) return { version }
          await there.write(merged(there, value, key, secret), version === undefined ? undefined : `${version}`)
        }
        throw new IrError(
          'partial',
          `${safe(there.name)} is written by somebody else all the time: nothing was delivered`,
        )
      }),
    async get(key, call) {
      const there = open(call)
      const { value, version } = await currentOf(there, key)
      const secret = textAt(there, value, key)
      return secret === undefined ? undefined : { secret, version }
    },
  }
}

/** Whether what is there could take another one: known before anything is issued. */
export async function checkText(secret: TextSecret, call: StoreCall): Promise<readonly Problem[]> {
  const key = call.target.replaces === undefined ? call.target.credential.id : call.target.replaces.field
  try {
    await currentOf(secret, key)
    return []
  } catch (error) {
    if (!(error instanceof IrError) || error.code !== 'input') throw error
    const [hint] = error.hints
    return [{ kind: 'input', message: error.message, ...(hint === undefined ? {} : { hint }) }]
  }
}

/** The one secret in a text: all of it, or the password in a JSON object. Undefined when there is none, or nothing says which it is. */
export function secretIn(text: string): string | undefined {
  const value = parsed(text)
  if (value === undefined) return text === '' ? undefined : text
  const name = passwordName(value)
  const found = name === undefined ? undefined : value[name]
  return typeof found === 'string' && found !== '' ? found : undefined
}

export function parsed(text: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined
  } catch {
    return undefined // plain text
  }
}

interface Current extends Kept {
  readonly value: Json | string | undefined
}

/** @throws IrError input when this key cannot be put into what is there */
async function currentOf(secret: TextSecret, key: string | undefined): Promise<Current> {
  const current = await secret.read()
  const value = current === undefined ? undefined : (parsed(current.text) ?? current.text)
  if (key !== undefined && typeof value === 'string')
    throw new IrError('input', `${safe(secret.name)} holds no JSON object, so that no key can be put into it`, {
      hints: ['Name another place to deliver to, or make its value {}'],
    })
  if (key === undefined && typeof value === 'object') passwordKey(secret, value)
  return { version: current?.version, value }
}

/** As AWS's own rotation functions have it, or the only one that there is. */
function passwordName(value: Json): string | undefined {
  if (typeof value.password === 'string') return 'password'
  const [only, another] = Object.keys(value)
  return another === undefined ? only : undefined
}

/** @throws IrError input */
function passwordKey({ name }: Pick<TextSecret, 'name'>, value: Json): string {
  const found = passwordName(value)
  if (found !== undefined) return found
  throw new IrError('input', `${safe(name)} holds JSON without password: which key holds the secret is not known`, {
    hints: ['Deliver new ones to a place of their own: deliverTo'],
  })
}

function textAt(
  secret: Pick<TextSecret, 'name'>,
  value: Current['value'],
  key: string | undefined,
): string | undefined {
  if (value === undefined) return undefined
  const name = typeof value === 'string' ? '' : (key ?? passwordKey(secret, value))
  const found = typeof value === 'string' ? value : Object.hasOwn(value, name) ? value[name] : undefined
  return typeof found === 'string' && found !== '' ? found : undefined
}

function merged(secret: TextSecret, value: Current['value'], key: string | undefined, text: string): string {
  if (typeof value === 'string' || (value === undefined && key === undefined)) return text
  return JSON.stringify({ ...value, [key ?? passwordKey(secret, value ?? {})]: text })
}
