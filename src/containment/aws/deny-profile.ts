import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import {
  AddRoleToInstanceProfileCommand,
  CreateInstanceProfileCommand,
  CreateRoleCommand,
  DeleteInstanceProfileCommand,
  DeleteRoleCommand,
  DeleteRolePolicyCommand,
  GetInstanceProfileCommand,
  GetRoleCommand,
  GetRolePolicyCommand,
  PutRolePolicyCommand,
  RemoveRoleFromInstanceProfileCommand,
} from '@aws-sdk/client-iam'
import { awsCode, awsError } from '../../aws/clients.ts'
import type { Call, Json } from '../../change.ts'
import type { Kind } from './action.ts'
import { clients, ending, groupName, type Reading, type Target } from './reading.ts'
import { gathered } from './together.ts'

/** An instance profile whose only role is denied everything: in the place of the one that an instance has. */

export interface DenyParams {
  name: string
}

type Naming = Pick<Reading, 'caseId' | 'target'>

/** Told by the case, as the plan must be the same whatever the case is called; the name of the profile is a hash of it. */
export const denyTarget = (call: Naming): string => `instance profile that denies everything, of ${groupName(call)}`

/** The same in every run of the case; IAM takes at most 64 characters. */
export function denyName(call: Naming): string {
  return `mcp-ir-deny-${createHash('sha256').update(groupName(call)).digest('hex').slice(0, 16)}`
}

export const isNamed = (arn: string, name: string): boolean => arn.endsWith(`/${name}`)

/**
 * By what is in it, not by its name: its only role is ours, and that is denied everything, which no other policy outweighs.
 */
export async function deniesAll(call: Reading, name: string): Promise<boolean> {
  return (await readDenial(call, name)) === true
}

const readDenial = gathered('Reading the profile that denies everything', 1, async (call, names) => {
  const [name = ''] = names
  const { iam } = clients(call)
  const [roles, { PolicyDocument }] = await Promise.all([
    rolesOf(call, name),
    orNone(iam.send(new GetRolePolicyCommand({ RoleName: name, PolicyName: policyName }), ending(call))),
  ])
  return new Map([[name, roles?.length === 1 && roles[0] === name && isDenyAll(PolicyDocument)]])
})

function isDenyAll(document = ''): boolean {
  try {
    return isDeepStrictEqual(JSON.parse(decodeURIComponent(document)), JSON.parse(denyAll))
  } catch {
    return false
  }
}

const policyName = 'mcp-ir-deny-everything'
const denyAll = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Deny', Action: '*', Resource: '*' }],
})
const trust = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { Service: 'ec2.amazonaws.com' }, Action: 'sts:AssumeRole' }],
})

/** Everything here goes by name, so that it can be sent again. */
export const denyProfile: Kind<DenyParams, unknown> = {
  async apply({ name }, call): Promise<Json> {
    const { iam } = clients(call)
    const unlessThere = (work: Promise<unknown>): Promise<unknown> =>
      work.catch((error) => {
        if (!/^EntityAlreadyExists/.test(awsCode(error) ?? '')) throw error
      })
    try {
      await unlessThere(
        iam.send(
          new CreateRoleCommand({
            RoleName: name,
            AssumeRolePolicyDocument: trust,
            Description: `mcp-ir ${call.caseId}: denied everything`,
          }),
        ),
      )
      // Before the profile, which without it would deny only for want of a permission.
      await iam.send(new PutRolePolicyCommand({ RoleName: name, PolicyName: policyName, PolicyDocument: denyAll }))
      await unlessThere(iam.send(new CreateInstanceProfileCommand({ InstanceProfileName: name })))
      for (const RoleName of (await rolesOf(call, name)) ?? []) {
        // Somebody else's: there is room for one.
        const other = { InstanceProfileName: name, RoleName }
        if (RoleName !== name) await orNone(iam.send(new RemoveRoleFromInstanceProfileCommand(other)))
      }
      await addRole(call, name)
      return { profile: name }
    } catch (error) {
      // It is an extra: without it the profiles are taken away instead of replaced.
      const known = awsError(error, 'Making a profile that denies everything')
      if (known.code === 'interrupted') throw known
      await remove(call, name).catch(() => {})
      return { profile: null, why: known.message }
    }
  },
  holds: ({ name }, call) => deniesAll(call, name),
  back: {
    drift: async () => [],
    async apply({ name }, _, call, output) {
      if (isMade(output)) await remove(call, name)
    },
    async holds({ name }, _, call, output) {
      if (!isMade(output)) return true
      const { iam } = clients(call)
      const left = await Promise.all([
        orNone(iam.send(new GetInstanceProfileCommand({ InstanceProfileName: name }))),
        orNone(iam.send(new GetRoleCommand({ RoleName: name }))),
      ])
      return left.every((one) => Object.keys(one).length === 0)
    },
  },
}

/** Whether the profile could be made, or was found to be there. */
function isMade(output: Json | undefined): boolean {
  if (output === undefined || output === null || typeof output !== 'object') return false
  return 'settled' in output || ('profile' in output && output.profile !== null)
}

async function remove(call: Reading, name: string): Promise<void> {
  const { iam } = clients(call)
  const names = { InstanceProfileName: name, RoleName: name }
  // Asked first: not everybody who speaks IAM takes it well to be told twice.
  if ((await rolesOf(call, name))?.includes(name) === true) {
    await orNone(iam.send(new RemoveRoleFromInstanceProfileCommand(names)))
  }
  await orNone(iam.send(new DeleteInstanceProfileCommand(names)))
  await orNone(iam.send(new DeleteRolePolicyCommand({ ...names, PolicyName: policyName })))
  await orNone(iam.send(new DeleteRoleCommand(names)))
}

/**
 * The SDK takes the refusal of a second role (LimitExceeded) for throttling and would wait on it: so it is sent once, and
 * after a lost answer it is asked whether the role is there.
 */
async function addRole(call: Call<Target>, name: string): Promise<void> {
  for (let tried = 1; ; tried++) {
    if (await hasRole(call, name)) return
    try {
      const names = { InstanceProfileName: name, RoleName: name }
      await clients(call).iamOnce.send(new AddRoleToInstanceProfileCommand(names))
      return
    } catch (error) {
      if (!awsError(error, 'Adding the role').ambiguous || tried === 3) throw error
    }
  }
}

async function hasRole(call: Call<Target>, name: string): Promise<boolean> {
  return (await rolesOf(call, name))?.includes(name) === true
}

/** Of a profile; undefined when there is no such one. */
async function rolesOf(call: Reading, name: string): Promise<string[] | undefined> {
  const asked = clients(call).iam.send(new GetInstanceProfileCommand({ InstanceProfileName: name }), ending(call))
  return (await orNone(asked)).InstanceProfile?.Roles?.flatMap(({ RoleName }) => RoleName ?? [])
}

/** What is not there is no error, neither when it is looked for nor when it is deleted. */
async function orNone<T>(asked: Promise<T>): Promise<Partial<T>> {
  try {
    return await asked
  } catch (error) {
    if (awsCode(error)?.startsWith('NoSuchEntity') !== true) throw error
    return {}
  }
}

/** Whether it was made in this run. */
export function wasMade(call: Call<Target>): boolean {
  const { changes, receipts } = call
  const change = changes.find(({ action, target }) => action === 'deny-profile' && target === denyTarget(call))
  return change !== undefined && isMade(receipts.get(change.id)?.output)
}
