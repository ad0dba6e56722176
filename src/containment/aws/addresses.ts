import { AssociateAddressCommand, DisassociateAddressCommand } from '@aws-sdk/client-ec2'
import type { Kind } from './action.ts'
import type { Drafting } from './aims.ts'
import { allAddresses } from './read-network.ts'
import { clients, type Reading } from './reading.ts'

/**
 * Elastic IP addresses, where the deployment says `elasticIp: disassociate`: it ends the flows between this host and the
 * internet at once. The address stays the account's, so that it can be given back.
 */

interface AddressParams {
  allocation: string
  public: string
  eni: string
  /** The address of the interface that it belongs to. */
  private: string | null
}

export function addressAims({ world, aim }: Drafting): void {
  for (const {
    AllocationId,
    AssociationId = '',
    PublicIp = '',
    NetworkInterfaceId = '',
    PrivateIpAddress,
  } of world.addresses) {
    if (AllocationId === undefined) continue
    const params: AddressParams = {
      allocation: AllocationId,
      public: PublicIp,
      eni: NetworkInterfaceId,
      private: PrivateIpAddress ?? null,
    }
    aim('take-address', `elastic address ${params.public}`, {
      holds: false,
      claim: claim(params),
      seen: `associated with ${params.eni}`,
      summary: `Take ${params.public} off ${params.eni}, which ends its flows to the internet`,
      priority: 'best-effort',
      params,
      undo: { association: 'again' },
      command: `ec2 disassociate-address --association-id ${AssociationId}`,
    })
  }
}

const claim = ({ public: address, eni }: AddressParams): string => `${address} no longer leads to ${eni}`

export const takeAddress: Kind<AddressParams, unknown> = {
  claim,
  async apply(params, call) {
    const AssociationId = await associationNow(call, params)
    if (AssociationId !== undefined) await clients(call).ec2.send(new DisassociateAddressCommand({ AssociationId }))
    return undefined
  },
  holds: async (params, call) => (await associationNow(call, params)) === undefined,
  back: {
    async drift({ allocation, public: address, eni }, _, call) {
      const now = (await allAddresses(call)).find(({ AllocationId }) => AllocationId === allocation)
      if (now === undefined) return [`${address} is no longer of this account`]
      const other = now.NetworkInterfaceId
      return other === undefined || other === eni
        ? []
        : [`${address} leads to ${other} now, and would not be taken from it`]
    },
    async apply({ allocation, eni, private: PrivateIpAddress }, _, call) {
      // It is never taken away from whom somebody gave it meanwhile.
      await clients(call).ec2.send(
        new AssociateAddressCommand({
          AllocationId: allocation,
          NetworkInterfaceId: eni,
          ...(PrivateIpAddress === null ? {} : { PrivateIpAddress }),
          AllowReassociation: false,
        }),
      )
    },
    holds: async (params, _, call) => (await associationNow(call, params)) !== undefined,
  },
}

async function associationNow(call: Reading, { allocation, eni }: AddressParams): Promise<string | undefined> {
  return (await allAddresses(call)).find(
    ({ AllocationId, NetworkInterfaceId }) => AllocationId === allocation && NetworkInterfaceId === eni,
  )?.AssociationId
}
