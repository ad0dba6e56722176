import { expect, it } from 'vitest'
import type { Credentials, CredentialTarget } from '../../src/credentials/port.ts'
import { type Stored, type StoredValue, storedCredential } from '../../src/credentials/stored.ts'
import { IrError } from '../../src/errors.ts'
import type { CredentialOf } from '../../src/registry/port.ts'
import { callFor } from '../contracts/credentials.ts'

const credential: CredentialOf<'vault-kv'> = { id: 'api-key', kind: 'vault-kv', mount: 'secret', path: 'crm' }
const target: CredentialTarget<typeof credential> = { server: 'io.acme/crm', credential, sharedWith: [] }

it('is revoked at its issuer, whatever has become of the place that keeps it', async () => {
  let held: unknown
  const store: StoredValue = {
    permissions: [],
    check: async () => [{ kind: 'input', message: 'there is nothing at secret/crm' }],
    held: () => Promise.reject(new IrError('denied', 'may not be read')),
    planRetire: async () => [],
    look: async () => ({ observed: [], residue: [] }),
    name: () => 'the value',
    actions: {},
  }
  const change = { id: 'c', action: 'revoke', target: 'key', summary: '', after: [], breaks: [] }
  const issuer = {
    permissions: [],
    check: async () => [],
    plan: async (call: { target: CredentialTarget }) => {
      held = await call.target.held?.(new AbortController().signal)
      return [{ ...change, effect: 'irreversible', priority: 'essential' }]
    },
    actions: { revoke: {} },
  } as unknown as Credentials
  const adapter = storedCredential(store as StoredValue<Stored>, { adapter: issuer, target })
  expect(await adapter.check(callFor(target, 'revoke'))).toEqual([
    { kind: 'warning', message: 'there is nothing at secret/crm' },
  ])
  expect(await adapter.plan(callFor(target, 'revoke'))).toMatchObject([{ action: 'issuer: revoke' }])
  expect(held).toEqual([])
  // A new one needs a place that works.
  expect(await adapter.check(callFor(target, 'rotate'))).toMatchObject([{ kind: 'input' }])
})
