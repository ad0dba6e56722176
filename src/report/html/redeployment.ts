import { type Html, html } from '../escape.ts'
import type { Report } from '../model.ts'
import { bullets, observations, proofStates, table, tag } from './parts.ts'

export function redeployment({ redeployment: rebuilt }: Report): Html {
  if (rebuilt === undefined) return html`<p>Nothing was redeployed in this case.</p>`
  const { verification } = rebuilt
  return html`<h3>Where the build comes from</h3>
${
  verification === undefined
    ? html`<p>The step recorded no verification of the build.</p>`
    : html`<p>${tag([verification.state === 'verified' ? 'good' : 'bad', verification.state])}${
        verification.sha256 !== undefined && html` SHA-256 <span class="mono">${verification.sha256}</span>`
      }</p>${verification.reasons.length > 0 && bullets(verification.reasons, '')}${
        verification.observed.length > 0 && observations('', verification.observed)
      }`
}
<h3>What runs now</h3>
${
  rebuilt.deployments.length === 0
    ? html`<p>Nothing was started.</p>`
    : table(
        '',
        [
          { label: 'Deployment' },
          { label: 'Version' },
          { label: 'Address' },
          { label: 'Tools served', kind: 'text' },
          { label: 'Digest of the tools', kind: 'hash' },
        ],
        rebuilt.deployments.map(({ deployment, version, url, tools, toolsDigest, state }) => [
          html`${deployment}${isVerdict(state) && html` ${tag(proofStates[state])}`}`,
          version,
          url ?? '–',
          tools.length === 0 ? '–' : tools.join(', '),
          html`<span class="mono">${toolsDigest}</span>`,
        ]),
      )
}
${rebuilt.exceptions.length > 0 && html`<h3>Exceptions that were made</h3>${bullets(rebuilt.exceptions, '')}`}
<h3>How the compromised deployment differs from the verified build</h3>
${bullets(rebuilt.tampered, 'The step recorded no comparison.')}`
}

function isVerdict(state: string): state is keyof typeof proofStates {
  return Object.hasOwn(proofStates, state)
}
