import { networkInterfaces } from 'node:os'
import type { Instance, NetworkInterface } from '@aws-sdk/client-ec2'
import type { Problem } from '../../change.ts'
import { safe } from '../../ui/safe-text.ts'
import type { Caller } from './place.ts'
import type { World } from './world.ts'

/** What is never cut off without being asked for: the responder's own machine, and nodes that others' pods run on. */

export function refusals(world: World, caller: Caller): Problem[] {
  const problems: Problem[] = []
  const macs = new Set(
    Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ mac, address }) => `${mac} ${address}`)),
  )
  for (const { InstanceId = '' } of world.instances) {
    const interfaces = world.interfaces.filter(({ Attachment }) => Attachment?.InstanceId === InstanceId)
    const here = interfaces.some(({ MacAddress, PrivateIpAddress }) => macs.has(`${MacAddress} ${PrivateIpAddress}`))
    if (here || (caller.arn.includes(':assumed-role/') && caller.arn.endsWith(`/${InstanceId}`))) {
      problems.push({
        kind: 'refused',
        message: `${InstanceId} is the instance that this command runs on.`,
        hint: 'Run it from somewhere else, or you cut yourself off.',
      })
    }
  }
  return problems
}

/** Kubernetes worker nodes: with the node, everybody's pods on it would go. */
export function nodes(world: World, kind: 'refused' | 'warning'): Problem[] {
  return world.instances.flatMap((instance): Problem[] => {
    const node = kubernetes(instance, world.interfaces)
    if (node === undefined) return []
    const own = world.interfaces.filter(({ Attachment }) => Attachment?.InstanceId === instance.InstanceId)
    const pods = own.flatMap(({ PrivateIpAddresses, Ipv4Prefixes }) => [
      ...(PrivateIpAddresses ?? []).flatMap(({ Primary, PrivateIpAddress }) =>
        Primary === true ? [] : (PrivateIpAddress ?? []),
      ),
      ...(Ipv4Prefixes ?? []).flatMap(({ Ipv4Prefix }) => Ipv4Prefix ?? []),
    ])
    const whose = pods.length === 0 ? 'all pods on it' : `all pods on it (addresses ${pods.join(', ')})`
    const message = `${instance.InstanceId} is a Kubernetes worker node (${safe(node)}): ${whose} would be cut off, not only this server.`
    return [
      {
        kind,
        message,
        hint: 'Isolate the pod with a network policy, or drain and cordon the node first; --force-node cuts the node off all the same.',
      },
    ]
  })
}

/** By what it is seen to be a worker node. */
function kubernetes(instance: Instance, interfaces: readonly NetworkInterface[]): string | undefined {
  const tag = instance.Tags?.find(
    ({ Key }) =>
      Key?.startsWith('kubernetes.io/cluster/') || Key === 'eks:cluster-name' || Key === 'aws:eks:cluster-name',
  )?.Key
  const eni = interfaces.find(
    ({ Attachment, Description }) =>
      Attachment?.InstanceId === instance.InstanceId && Description?.startsWith('aws-K8S-') === true,
  )
  return tag === undefined ? eni?.Description : `tag ${tag}`
}
