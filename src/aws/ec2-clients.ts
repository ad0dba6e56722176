import { AutoScalingClient } from '@aws-sdk/client-auto-scaling'
import { EC2Client } from '@aws-sdk/client-ec2'
import { ElasticLoadBalancingV2Client } from '@aws-sdk/client-elastic-load-balancing-v2'
import { IAMClient } from '@aws-sdk/client-iam'
import { type AwsScope, awsClient } from './clients.ts'

/** The clients that an EC2 deployment needs. `once` is for calls that would happen twice if they were repeated. */
export function ec2Clients({ region, role }: AwsScope, signal: AbortSignal) {
  const scope = { region, role }
  return {
    ec2: awsClient(EC2Client, scope, 'reads', signal),
    ec2Once: awsClient(EC2Client, scope, 'creates', signal),
    scaling: awsClient(AutoScalingClient, scope, 'reads', signal),
    scalingOnce: awsClient(AutoScalingClient, scope, 'creates', signal),
    balancing: awsClient(ElasticLoadBalancingV2Client, scope, 'reads', signal),
    iam: awsClient(IAMClient, scope, 'reads', signal),
    iamOnce: awsClient(IAMClient, scope, 'creates', signal),
  }
}
