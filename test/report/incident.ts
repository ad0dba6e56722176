import type { Events } from '../../src/case/events.ts'
import type { Change, Observation } from '../../src/change.ts'
import type { Server } from '../../src/registry/port.ts'
import { buildReport, type Wanted } from '../../src/report/build.ts'
import type { CaseRecord } from '../../src/report/facts.ts'
import { JournalBuilder } from '../testbed/journal-builder.ts'

/** The report of a record, with every clock unless another wish is given. */
export function reportOn(record: CaseRecord, wanted: Partial<Wanted> = {}) {
  return buildReport(record, { tlp: 'amber+strict', duties: ['gdpr', 'nis2', 'dora'], ...wanted })
}

/** A whole incident as a journal: isolated, revoked, rotated, reviewed, rebuilt. `text` may make every outside string hostile. */
export function incident(text: (plain: string) => string = (plain) => plain): JournalBuilder {
  const t = text
  const journal = new JournalBuilder('2026-11-23T02:11:08.114Z')
  journal.add('case.opened', opened(t))
  journal.after(210).add('playbook.started', {
    playbook: 'compromise',
    steps: ['declare', 'isolate', 'revoke', 'rotate', 'review', 'blast-radius', 'redeploy', 'report'].map((id) => ({
      id,
      use: id,
    })),
  })
  journal
    .after(18_000)
    .add('note', { kind: 'aware', text: t('SOC called the duty officer'), at: '2026-11-23T01:58:00.000Z' })
    .add('note', { kind: 'detected', text: t('Egress alert on crm-mcp'), at: '2026-11-23T01:31:00.000Z' })
  journal.after(400).add(
    'manual.answered',
    {
      question: 'Who is in command, when did we become aware, is it criminal, cross-border?',
      answer: t('Dana commands; police case to be opened; EU data subjects likely'),
    },
    'declare',
  )

  operationStep(journal, t, {
    step: 'isolate',
    use: 'network.isolate',
    key: 'dev',
    adapter: 'containment/local-process',
    intent: 'isolate',
    changes: [
      change(t, 'c-stop', 'stop', 'pid 4711 and 2 descendants', 'Stop the process tree of io.acme/crm (SIGSTOP)', {
        breaks: [t('support-copilot'), t('sales-agent')],
      }),
      change(t, 'c-sup', 'hold-supervisor', 'pm2 crm', 'Keep pm2 from restarting it', {
        priority: 'best-effort',
        command: t('pm2 stop crm'),
      }),
    ],
    fail: { id: 'c-sup', error: t('pm2 answers to user deploy only'), command: t('sudo -u deploy pm2 stop crm') },
    observed: [
      { claim: t('all 3 processes are stopped'), seen: t('T, T, T in /proc/PID/stat'), holds: true },
      { claim: t('CPU time stands still'), seen: '0 ticks in 500 ms', holds: true },
      { claim: t('the URL answers no MCP request'), seen: t('time-out after 2000 ms'), holds: true },
    ],
    residue: [t('connections that were open before stay open until their peers time out')],
    limits: [t('a stopped process keeps its sockets and memory')],
    state: 'partial',
    open: [t('hold-supervisor pm2 crm: pm2 answers to user deploy only')],
    took: 2400,
  })
  journal.add(
    'manual.skipped',
    { question: 'Start the clocks: owner, CISO, DPO', reason: t('Dana does it by phone') },
    'notify',
  )
  operationStep(journal, t, {
    step: 'revoke',
    use: 'credentials.revoke',
    key: 'ledger',
    adapter: 'credentials/oauth',
    intent: 'revoke',
    changes: [
      change(t, 'c-rev', 'revoke-token', 'ledger', 'Revoke the OAuth token of ledger (RFC 7009)', {
        effect: 'irreversible',
      }),
    ],
    settled: true,
    observed: [
      { claim: t('the old token is inactive by its issuer'), seen: 'active: false', holds: true },
      { claim: t('the downstream refuses the old token'), seen: t('HTTP 401'), holds: true },
      { claim: t('refresh token is refused'), seen: t('HTTP 200, still accepted'), holds: false },
    ],
    state: 'residual',
    residue: [t('refresh token may live until 2026-11-24T00:00:00Z')],
    took: 900,
    output: {
      credentials: [
        {
          id: t('ledger'),
          kind: 'oauth',
          state: 'dead',
          proof: t('probed: HTTP 401'),
          sharedWith: [t('io.acme/billing')],
        },
        { id: t('legacy-key'), kind: 'vault-kv', state: 'alive', proof: t('no issuer is named'), sharedWith: [] },
        {
          id: t('role'),
          kind: 'aws-iam-role',
          state: 'expires',
          proof: t('sessions denied'),
          until: '2026-11-23T03:11:00.000Z',
          sharedWith: [],
        },
      ],
    },
  })
  operationStep(journal, t, {
    step: 'rotate',
    use: 'credentials.rotate',
    key: 'ledger',
    adapter: 'credentials/oauth',
    intent: 'rotate',
    changes: [change(t, 'c-rot', 'issue-token', 'ledger', 'Issue a new OAuth token for ledger', { effect: 'creates' })],
    observed: [{ claim: t('the new token is accepted'), seen: 'HTTP 200', holds: true }],
    state: 'done',
    took: 700,
    output: {
      credentials: [
        {
          id: t('ledger'),
          kind: 'oauth',
          state: 'dead',
          proof: t('new one accepted: HTTP 200'),
          sharedWith: [],
          delivered: { kind: 'file', path: t('/srv/mcp/run/next.env') },
        },
      ],
    },
  })
  readingStep(journal, 'review', 'invocations.review', review(t), 1300)
  readingStep(journal, 'blast-radius', 'blast-radius.compute', blastRadius(t), 800)
  journal.add('interrupted', { during: t('deployment.redeploy') })
  journal.after(60_000).add('lock.taken-over', {
    from: { host: t('laptop'), pid: 5123, by: t('alice@laptop') },
    why: t('that process is gone'),
  })
  journal.add('journal.torn', { bytes: 37, evidence: 'cd'.repeat(32) })
  journal.add('registry.accepted', {
    file: t('/srv/mcp/registry.yaml'),
    hash: 'ef'.repeat(32),
    server: server(t),
    difference: [t('owner: crm-team → platform-team')],
  })
  operationStep(journal, t, {
    step: 'redeploy',
    use: 'deployment.redeploy',
    key: 'dev',
    adapter: 'deployment/local-process',
    intent: 'redeploy',
    changes: [
      change(t, 'c-kill', 'end-suspect', 'pid 4711', 'End the suspect, which holds port 7001', {
        effect: 'irreversible',
      }),
      change(t, 'c-start', 'start', 'crm 2.4.1', 'Start the verified build', { effect: 'creates' }),
    ],
    observed: [
      { claim: t('it serves the approved tools'), seen: t('sha256-47DEQpj8HBSa'), holds: true },
      { claim: t('the compromised digest is not what runs'), seen: '8f3c…', holds: true },
    ],
    state: 'done',
    took: 5200,
    output: {
      deployments: [
        {
          deployment: t('dev'),
          version: t('2.4.1'),
          toolsDigest: 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=',
          tools: [t('search_customers'), t('save_note')],
          url: t('http://127.0.0.1:7001/mcp'),
          state: 'verified',
          tampered: {
            folder: t('/srv/mcp/crm'),
            changed: [t('server.js')],
            removed: [],
            added: [t('lib/telemetry.js')],
            same: 41,
            cut: false,
          },
        },
      ],
      artifact: {
        file: t('/srv/mcp/builds/crm-mcp-2.4.1.tgz'),
        verdict: {
          state: 'verified',
          sha256: '12'.repeat(32),
          sha512: '34'.repeat(64),
          observed: [
            { claim: t('SHA-512 is the registry’s'), seen: 'sha512-VjvG2IfM…', holds: true },
            { claim: t('DSSE envelope signed by the release key'), seen: t('release.pub'), holds: true },
          ],
          reasons: [],
        },
      },
      rootCause: t('the build server was compromised, the source was not'),
    },
  })
  journal
    .after(4000)
    .add('note', { kind: 'decision', text: t('Keep the old folder for forensics\nDo not clean it'), at: journal.now })
    .add('manual.open', { question: 'Tell the data protection officer' }, 'tell-dpo')
  return journal
}

export function opened(t: (plain: string) => string = (plain) => plain): Events['case.opened'] {
  return {
    case: '20261123-io-acme-crm-4f2a',
    server: server(t),
    local: false,
    registry: { file: t('/srv/mcp/registry.yaml'), hash: 'ab'.repeat(32) },
    tool: 'mcp-ir 0.1.0',
    host: t('laptop'),
    identities: [t('local user alice (uid 1000)')],
    since: '2026-11-20T00:00:00.000Z',
    sinceFrom: 'knownGood',
    clocks: [{ server: t('http://127.0.0.1:9200'), offsetMs: -340 }],
  }
}

function server(t: (plain: string) => string): Server {
  return {
    name: t('io.acme/crm'),
    aliases: [],
    version: t('2.4.1'),
    status: 'approved',
    owner: t('crm-team'),
    criticality: 'high',
    knownGood: '2026-11-20T00:00:00.000Z',
    package: { registryType: 'npm', identifier: t('@acme/crm-mcp'), version: t('2.4.1') },
    capabilities: ['tools'],
    deployments: [{ id: t('dev'), kind: 'local-process', url: 'http://127.0.0.1:7001/mcp' }],
    clients: [],
    credentials: [
      { id: t('ledger'), kind: 'oauth', tokenEndpoint: 'https://auth.acme.example/token', clientId: t('crm-mcp') },
      { id: t('legacy-key'), kind: 'vault-kv', mount: 'secret', path: 'mcp/crm/legacy' },
      { id: t('role'), kind: 'aws-iam-role', role: 'crm-mcp' },
      { id: t('badge'), kind: 'exec', command: ['./issuers/badge-system.sh'] },
    ],
    reaches: [],
    resources: [],
    consumers: [],
  }
}

function change(
  t: (plain: string) => string,
  id: string,
  action: string,
  target: string,
  summary: string,
  more: Partial<Change>,
): Change {
  return {
    id,
    action,
    target: t(target),
    summary: t(summary),
    effect: 'reversible',
    priority: 'essential',
    after: [],
    breaks: [],
    facts: { host: t('laptop') },
    ...more,
  }
}

interface OperationStep {
  readonly step: string
  readonly use: string
  readonly key: string
  readonly adapter: string
  readonly intent: string
  readonly changes: readonly Change[]
  readonly observed: readonly Observation[]
  readonly fail?: { readonly id: string; readonly error: string; readonly command: string }
  readonly settled?: boolean
  readonly residue?: readonly string[]
  readonly limits?: readonly string[]
  readonly open?: readonly string[]
  readonly state: 'done' | 'residual' | 'partial'
  readonly took: number
  readonly output?: unknown
}

function operationStep(journal: JournalBuilder, t: (plain: string) => string, step: OperationStep): void {
  const { residue = [], limits = [], open = [] } = step
  const hash = `${step.step}-plan`.padEnd(64, '0').slice(0, 64)
  journal
    .after(1500)
    .add('step.started', { use: step.use, run: 1, resumed: false }, step.step)
    .after(300)
    .add(
      'step.planned',
      {
        run: 1,
        hash,
        operations: [{ key: t(step.key), adapter: step.adapter, intent: step.intent, changes: step.changes }],
        warnings: [t('criticality is high: somebody else must approve')],
      },
      step.step,
    )
    .after(9000)
    .add('step.approved', { hash, how: 'prompt', approvedBy: t('bob@soc') }, step.step)
  for (const { id } of step.changes) {
    journal.after(50).add('change.started', { id, attempt: 1 }, step.step)
    if (step.fail?.id === id) {
      journal
        .after(80)
        .add('change.failed', { id, error: step.fail.error, code: 'denied', command: step.fail.command }, step.step)
      continue
    }
    if (step.settled === true) journal.after(1000).add('change.started', { id, attempt: 2 }, step.step)
    journal.after(120).add('change.applied', { id, receipt: {}, settled: step.settled ?? false }, step.step)
  }
  journal.evidence(`${step.step}-state.json`, JSON.stringify({ step: step.step }), 'application/json', step.step)
  journal.after(600).add(
    'step.verdict',
    {
      operations: [
        {
          key: t(step.key),
          adapter: step.adapter,
          state: residue.length > 0 ? 'residual' : 'verified',
          observed: step.observed,
          residue,
          limits,
        },
      ],
    },
    step.step,
  )
  const output =
    step.output === undefined
      ? {}
      : {
          output: journal.evidence(
            `${step.step}-output.json`,
            JSON.stringify(step.output),
            'application/json',
            step.step,
          ),
        }
  journal
    .after(40)
    .add(
      'step.finished',
      { use: step.use, state: step.state, ...output, open, residue, limits, tookMs: step.took },
      step.step,
    )
}

function readingStep(journal: JournalBuilder, step: string, use: string, output: unknown, took: number): void {
  journal.after(200).add('step.started', { use, run: 1, resumed: false }, step)
  const sha256 = journal.after(took).evidence(`${step}-output.json`, JSON.stringify(output), 'application/json', step)
  journal.add(
    'step.finished',
    { use, state: 'done', output: sha256, open: [], residue: [], limits: [], tookMs: took },
    step,
  )
}

export function review(t: (plain: string) => string) {
  const use = (
    name: string,
    calls: number,
    failed: number,
    rows: number,
    bytes: number,
    first: string,
    last: string,
  ) => ({
    tool: t(name),
    calls,
    failed,
    rows,
    bytes,
    first,
    last,
  })
  return {
    window: { since: '2026-11-20T00:00:00.000Z', until: '2026-11-23T02:11:40.000Z' },
    sinceFrom: 'knownGood',
    source: { kind: 'files', name: t('./logs/*.ndjson'), format: 'otel' },
    records: 1284,
    duplicates: 3,
    first: '2026-11-20T07:02:11.000Z',
    last: '2026-11-23T02:11:28.000Z',
    tools: [
      use('search_customers', 912, 4, 48_213, 9_812_334, '2026-11-20T07:02:11.000Z', '2026-11-23T02:11:28.000Z'),
      use('get_note', 201, 0, 201, 88_120, '2026-11-20T07:10:00.000Z', '2026-11-22T19:00:00.000Z'),
      use('save_note', 140, 2, 0, 4_200, '2026-11-21T09:00:00.000Z', '2026-11-22T18:12:00.000Z'),
      use('export_all', 31, 29, 120_000, 88_000_120, '2026-11-22T23:41:00.000Z', '2026-11-23T02:08:00.000Z'),
    ],
    callers: [
      {
        caller: t('support-copilot'),
        calls: 1100,
        failed: 6,
        rows: 50_000,
        bytes: 11_000_000,
        first: '2026-11-20T07:02:11.000Z',
        last: '2026-11-23T02:11:28.000Z',
      },
      {
        caller: t('sales-agent'),
        calls: 184,
        failed: 29,
        first: '2026-11-20T08:02:11.000Z',
        last: '2026-11-23T02:08:00.000Z',
      },
    ],
    findings: [
      {
        kind: 'volume',
        summary: t('export_all returned far more rows than ever before'),
        expected: t('at most 50 rows a call'),
        seen: t('60,000 rows in one call'),
        records: [t('rec-1')],
        more: 2,
        first: '2026-11-22T23:41:00.000Z',
        last: '2026-11-23T02:08:00.000Z',
      },
    ],
    resources: [
      { resource: t('note:N-17'), system: t('crm-db'), access: 'write', tools: [t('save_note')], calls: 140 },
    ],
    baseline: {
      since: '2026-10-23T06:00:00.000Z',
      until: '2026-11-20T00:00:00.000Z',
      calls: 9000,
      zone: t('Europe/Berlin'),
      days: 'mon-fri',
      assumed: false,
    },
    hours: [{ from: '2026-11-22T23:00:00.000Z', calls: 31, expected: 0, upper: 30 }],
    gaps: [t('2 lines could not be parsed'), t('arguments were not logged before 2026-11-21')],
  }
}

function blastRadius(t: (plain: string) => string) {
  return {
    window: { since: '2026-11-20T00:00:00.000Z', until: '2026-11-23T02:11:40.000Z' },
    couldReach: [
      {
        system: t('crm-db'),
        kind: 'database',
        via: t('ledger'),
        access: 'read-write',
        data: [t('customer-pii')],
        classification: t('restricted'),
        owner: t('data-team'),
      },
      { system: t('mail-relay'), kind: 'smtp', via: t('legacy-key'), access: 'write', data: [] },
      {
        system: t('AWS account 123456789012'),
        kind: 'aws',
        via: t('role'),
        way: [t('role')],
        access: 'read-write',
        data: [],
        permissions: [
          {
            group: 'escalate',
            actions: [t('iam:PassRole')],
            resources: [t('*')],
            conditional: true,
            condition: t('iam:PassedToService is lambda.amazonaws.com'),
          },
          {
            group: 'read data',
            actions: [t('s3:GetObject'), t('s3:ListBucket')],
            more: 12,
            resources: [t('arn:aws:s3:::crm/*')],
            except: [t('arn:aws:s3:::crm/hr/*')],
            conditional: false,
          },
        ],
      },
    ],
    didReach: [
      {
        system: t('crm-db'),
        coverage: 'accessed',
        calls: 1113,
        rows: 168_213,
        bytes: 97_812_334,
        data: [t('customer-pii')],
      },
      { system: t('mail-relay'), coverage: 'no-visibility', calls: 0, rows: 0, bytes: 0, data: [] },
      { system: t('billing-db'), coverage: 'not-seen', calls: 0, rows: 0, bytes: 0, data: [] },
    ],
    left: [
      { caller: t('support-copilot'), calls: 1100, rows: 50_000, bytes: 11_000_000 },
      { caller: t('sales-agent'), calls: 184 },
    ],
    exposed: [
      {
        context: t('session s-77'),
        caller: t('support-copilot'),
        calls: 1100,
        bytes: 11_000_000,
        parameters: [{ name: t('query'), calls: 1100, bytes: 10_000_000 }],
        before: [{ server: t('io.acme/hr'), tool: t('read_file'), calls: 3, data: [t('salaries')] }],
      },
      { caller: t('sales-agent'), calls: 184 },
    ],
    suspect: [
      {
        record: t('rec-77'),
        server: t('io.acme/billing'),
        tool: t('send_invoice'),
        at: '2026-11-22T23:50:10.000Z',
        hop: 1,
        by: 'session',
        chain: [t('rec-1'), t('rec-77')],
      },
      {
        record: t('rec-78'),
        server: t('io.acme/mail'),
        tool: t('send_mail'),
        at: '2026-11-23T00:20:10.000Z',
        hop: 2,
        by: 'inferred',
        chain: [t('rec-1'), t('rec-77'), t('rec-78')],
      },
    ],
    hubs: [{ context: t('session shared-session-1'), contexts: 14 }],
    dataClasses: [t('customer-pii')],
    owners: [t('data-team')],
    gaps: [t('no log covers mail-relay')],
  }
}
