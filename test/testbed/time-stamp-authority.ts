import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface TimeStampAuthority {
  readonly url: string
  /** PEM of the authority above the one that signs. */
  readonly root: string
  /** PEM of the certificate that signs. */
  readonly leaf: string
  /** Answers a request as the authority does. */
  readonly stamp: (query: Uint8Array) => Buffer
  /** Put in front of every answer: to break it, or to let it wait. */
  answering: (answer: Buffer) => Buffer | Promise<Buffer>
  readonly close: () => Promise<void>
}

/**
 * A time-stamp authority of the test's own: `openssl ts` behind a server on loopback. No public one is asked: tests need no
 * network.
 */
export async function timeStampAuthority(key: 'rsa' | 'ec' = 'rsa'): Promise<TimeStampAuthority> {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-ir-tsa-'))
  const at = (name: string) => join(folder, name)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' })
  const algorithm = key === 'rsa' ? ['-newkey', 'rsa:2048'] : ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256']
  writeFileSync(
    at('tsa.cnf'),
    [
      '[req]\ndistinguished_name = dn\nx509_extensions = root\n[dn]',
      '[root]\nbasicConstraints = critical,CA:TRUE\nsubjectKeyIdentifier = hash',
      '[leaf]\nextendedKeyUsage = critical,timeStamping\nbasicConstraints = critical,CA:FALSE',
      '[tsa]\ndefault_tsa = own\n[own]',
      `serial = ${at('serial')}\nsigner_digest = ${key === 'rsa' ? 'sha512' : 'sha256'}\ndefault_policy = 1.2.3.4.1`,
      'digests = sha256\naccuracy = secs:1\ness_cert_id_chain = no\n',
    ].join('\n'),
  )
  writeFileSync(at('serial'), '01\n')
  const common = ['-nodes', '-config', at('tsa.cnf'), '-days', '30']
  openssl('req', '-x509', ...algorithm, ...common, '-subj', '/CN=root', '-keyout', 'root.key', '-out', 'root.pem')
  openssl(
    'req',
    '-new',
    ...algorithm,
    '-nodes',
    '-config',
    at('tsa.cnf'),
    '-subj',
    '/CN=stamper',
    '-keyout',
    'leaf.key',
    '-out',
    'leaf.csr',
  )
  const signing = ['-CA', 'root.pem', '-CAkey', 'root.key', '-CAcreateserial', '-days', '30']
  openssl(
    'x509',
    '-req',
    '-in',
    'leaf.csr',
    ...signing,
    '-extfile',
    'tsa.cnf',
    '-extensions',
    'leaf',
    '-out',
    'leaf.pem',
  )

  const stamp = (query: Uint8Array): Buffer => {
    writeFileSync(at('query.tsq'), query)
    const files = ['-queryfile', 'query.tsq', '-signer', 'leaf.pem', '-inkey', 'leaf.key', '-out', 'answer.tsr']
    openssl('ts', '-reply', '-config', at('tsa.cnf'), ...files)
    return readFileSync(at('answer.tsr'))
  }
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part)
    const answer = await authority.answering(stamp(Buffer.concat(parts)))
    response.writeHead(200, { 'content-type': 'application/timestamp-reply' }).end(answer)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const authority: TimeStampAuthority = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/tsr`,
    root: at('root.pem'),
    leaf: at('leaf.pem'),
    stamp,
    answering: (answer) => answer,
    close: () =>
      new Promise((done) => {
        server.closeAllConnections()
        server.close(() => done())
      }),
  }
  return authority
}
