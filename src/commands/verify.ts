import { Args, Flags } from '@oclif/core'
import { type CommandResult, IrCommand } from '../base-command.ts'
import { IrError } from '../errors.ts'
import { mayBeImage, verifyArtifact } from '../provenance/artifact.ts'
import { expectationsOf } from '../provenance/index.ts'
import { findServer } from '../registry/query.ts'
import { safe } from '../ui/safe-text.ts'

export default class Verify extends IrCommand {
  static override summary =
    'Provenance of a file or an image, against the registry entry of a server or explicit expectations.'
  static override description =
    'Code 0: verified. Code 4: invalid, or there is nothing to check it against. Needs no case, no registry, and no network but for oci://.'
  static override args = {
    file: Args.string({
      description: 'The file in hand; an OCI image layout (folder or tar); or oci://HOST/NAME@sha256:…',
      required: true,
    }),
  }
  static override flags = {
    server: Flags.string({
      description: 'Expect what the registry says of this server.',
      exclusive: ['digest', 'bundle'],
      env: 'MCP_IR_SERVER',
    }),
    digest: Flags.string({
      description: 'Expected digest: sha512-… or sha256-… in base64, or sha256: and hex.',
      helpValue: 'DIGEST',
      env: 'MCP_IR_DIGEST',
    }),
    bundle: Flags.string({
      description: "Sigstore bundle (0.1 to 0.3), or the npm registry's attestations of a version.",
      helpValue: 'FILE',
      env: 'MCP_IR_BUNDLE',
    }),
    'certificate-identity': Flags.string({
      description: 'Who must have signed it, exactly as in the certificate: a workflow, an e-mail address.',
      helpValue: 'NAME',
      dependsOn: ['certificate-oidc-issuer'],
      exclusive: ['key'],
      env: 'MCP_IR_CERTIFICATE_IDENTITY',
    }),
    'certificate-oidc-issuer': Flags.string({
      description: 'Who must have told the certificate authority so.',
      helpValue: 'URL',
      dependsOn: ['certificate-identity'],
      env: 'MCP_IR_CERTIFICATE_OIDC_ISSUER',
    }),
    key: Flags.string({
      description: 'Public key (PEM) that must have signed it.',
      helpValue: 'FILE',
      env: 'MCP_IR_KEY',
    }),
    'trusted-root': Flags.string({
      description: "Sigstore trusted root (JSON). Default: the public-good instance's, as shipped.",
      helpValue: 'FILE',
      env: 'MCP_IR_TRUSTED_ROOT',
    }),
    'insecure-ignore-tlog': Flags.boolean({
      description: 'Accept a signature that no transparency log knows.',
      env: 'MCP_IR_INSECURE_IGNORE_TLOG',
    }),
    'source-repository': Flags.string({
      description: 'Repository that it must have been built from.',
      helpValue: 'URL',
      env: 'MCP_IR_SOURCE_REPOSITORY',
    }),
  }

  protected async act(): Promise<CommandResult> {
    const { args, flags } = await this.parse(Verify)
    const context = await this.context(flags)
    const { server, digest, bundle, key } = flags
    const expected =
      server !== undefined
        ? expectationsOf(findServer(await context.registry(), server))
        : {
            integrity: digest,
            bundle,
            identity: flags['certificate-identity'],
            issuer: flags['certificate-oidc-issuer'],
            key,
            tlog: flags['insecure-ignore-tlog'] ? false : undefined,
            repository: flags['source-repository'],
          }
    const signer = key ?? flags['certificate-identity']
    const signing = signer ?? flags['source-repository']
    // Beside an image its registry or layout has the bundles; beside a file there is none.
    const found = signer !== undefined && bundle === undefined && (await mayBeImage(args.file))
    if (server === undefined && bundle === undefined && !found && (digest === undefined || signing !== undefined)) {
      throw new IrError('input', 'There is nothing to verify it against.', {
        hints: ['Add --server SERVER, --digest or --bundle; for an image --key or --certificate-identity.'],
      })
    }
    const trustedRoot = flags['trusted-root'] ?? expected.trustedRoot
    const verdict = await verifyArtifact(args.file, { ...expected, trustedRoot }, context.signal)
    return {
      status: verdict.state === 'verified' ? 'done' : 'refused',
      exitCode: verdict.state === 'verified' ? 0 : 4,
      result: { output: verdict },
      text: [
        `${verdict.state}: ${safe(args.file)}`,
        ...verdict.observed.map(({ claim, seen, holds }) => `  ${holds ? '✓' : '✗'} ${safe(claim)}: ${safe(seen)}`),
        ...verdict.reasons.map((reason) => `  → ${safe(reason, 1000)}`),
      ].join('\n'),
    }
  }
}
