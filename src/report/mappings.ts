import type { Mapping, Report } from './model.ts'
import { plural, utc } from './words.ts'

type Known = Omit<Report, 'mappings' | 'schema' | 'tlp' | 'redacted'>
type Entry = readonly [id: string, name: string, shown: (report: Known) => readonly (string | false | undefined)[]]

/**
 * Where this case belongs in what others count by: the categories of NIST SP 800-61r3 (those of CSF 2.0) and the OWASP MCP
 * Top 10. Only what the case itself shows; what it does not show has no mapping.
 */
export function buildMappings(report: Known): readonly Mapping[] {
  const map =
    (framework: Mapping['framework']) =>
    ([id, name, shown]: Entry): Mapping => ({
      framework,
      id,
      name,
      shown: shown(report).filter((text) => text !== undefined && text !== false),
    })
  return [...nist.map(map('NIST SP 800-61r3')), ...owasp.map(map('OWASP MCP Top 10:2025'))]
}

const nist: readonly Entry[] = [
  ['DE.AE', 'Detect: adverse event analysis', (report) => [at(report, 'detected'), at(report, 'declared')]],
  [
    'RS.MA',
    'Respond: incident management',
    ({ decisions, case: facts }) => [
      facts.playbooks.length > 0 && `Playbook ${facts.playbooks.join(', ')}`,
      decisions.length > 0 && plural(decisions.length, 'recorded decision'),
    ],
  ],
  [
    'RS.AN',
    'Respond: incident analysis',
    ({ review, blastRadius, evidence }) => [
      review !== undefined && `${plural(review.records, 'call')} reviewed`,
      blastRadius !== undefined && 'Blast radius computed',
      evidence.length > 0 && `${plural(evidence.length, 'piece')} of evidence, by hash`,
    ],
  ],
  [
    'RS.CO',
    'Respond: reporting and communication',
    ({ duties }) =>
      duties
        .flatMap(({ notices }) => notices)
        .map(({ label, sent }) => sent !== undefined && `${label}, sent ${utc(sent.at)}`),
  ],
  ['RS.MI', 'Respond: incident mitigation', (report) => [at(report, 'contained'), at(report, 'revoked')]],
  [
    'RC.RP',
    'Recover: recovery plan execution',
    (report) => [
      at(report, 'rotated'),
      at(report, 'recovered'),
      report.redeployment?.verification !== undefined &&
        `Provenance of the build: ${report.redeployment.verification.state}`,
    ],
  ],
]

const owasp: readonly Entry[] = [
  [
    'MCP01',
    'Token mismanagement and secret exposure',
    ({ credentials }) => [
      credentials.length > 0 && `${plural(credentials.length, 'credential')} in the hands of the compromised server`,
    ],
  ],
  [
    'MCP03',
    'Tool poisoning',
    ({ review }) => (review?.findings ?? []).filter(({ kind }) => kind === 'description').map(({ summary }) => summary),
  ],
  [
    'MCP04',
    'Software supply chain attacks and dependency tampering',
    ({ redeployment }) => [
      (redeployment?.tampered ?? []).some((line) => / (?:changed|added|removed): /.test(line)) &&
        'What ran differs from the verified build',
    ],
  ],
  [
    'MCP08',
    'Lack of audit and telemetry',
    ({ unseen }) => [unseen.gaps.length > 0 && `${plural(unseen.gaps.length, 'gap')} under “What could not be seen”`],
  ],
  [
    'MCP09',
    'Shadow MCP servers',
    ({ case: { server } }) => [
      server.local && 'No registry knew the server',
      !server.local && server.status !== 'approved' && `The registry has it as ${server.status}`,
    ],
  ],
]

function at({ times }: Known, key: Known['times'][number]['key']): string | undefined {
  const moment = times.find((time) => time.key === key)
  return moment?.at === undefined ? undefined : `${moment.label} ${utc(moment.at)}`
}
