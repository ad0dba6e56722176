import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { redactCommand } from '../../src/processes/redact.ts'

const secret = 'c4naryS3cret'

describe('command lines', () => {
  it.each([
    [['node', 'server.js', `--token=${secret}`]],
    [['node', 'server.js', '--api-key', secret]],
    [['node', 'server.js', '--db-password', secret, 'next']],
    [['env', `ACME_THING=${secret}`, 'node', 'server.js']],
    [['sh', '-c', `TOKEN=${secret} exec node server.js`]],
    [['sh', '-c', `node server.js --password ${secret} --verbose`]],
    [['curl', '-H', `Authorization: Bearer ${secret}`]],
    [['node', 'server.js', `postgres://crm:${secret}@db.internal/crm`]],
    [['node', 'server.js', `https://api.internal/x?sig=${secret}`]],
    [['node', '-e', `const config = {"apiKey": "${secret}"}`]],
    [['node', `ghp_${secret}${secret}`]],
    [['node', `${secret}${secret}`]],
    [['mysql', '-p', secret]],
    [['mysql', `-p${secret}`]],
    [['sh', '-c', `mysql -p${secret} crm`]],
    [['sh', '-c', `mysql -p ${secret} crm`]],
    [['env', `db_url=${secret}`, 'node', 'server.js']],
    [['env', `X={"apiKey": "${secret}"}`, 'node', 'server.js']],
    [['node', 'server.js', '--pat', secret]],
    [['node', 'server.js', '--otp', `1${secret}`]],
    [['node', 'server.js', '--api', secret]],
    [['node', 'server.js', '--token', `-${secret}`]],
    [['node', 'server.js', '--token', `--1${secret}`]],
    [['node', 'server.js', '--auth', '-p', secret]],
    [['sh', '-c', `node server.js --token -${secret}`]],
    [['curl', '-H', `X-Api: ${secret}`]],
    [['curl', '-H', `Acme:${secret}`]],
    [['sh', '-c', `curl -H 'Acme: abc ${secret}' http://127.0.0.1`]],
    [['curl', '-H', `Authorization: Basic abc:${secret}`]],
    [['curl', `Authorization: Basic abc:${secret}`]],
    [['sh', '-c', `curl -H "Authorization: Basic a:${secret}"`]],
    [['curl', '-u', `crm:${secret}`]],
    [['psql', `postgres://crm:p@ss/${secret}@db.internal/crm`]],
    [['psql', `postgres://crm:p/${secret}@db.internal/crm`]],
  ])('hides the secret in %j', (args) => {
    const shown = redactCommand(args)
    expect(shown.join(' ')).not.toContain(secret)
    expect(shown.join(' ')).toContain('[redacted ')
    expect(shown).toHaveLength(args.length)
  })

  it.each([
    [['node', 'server.js']],
    [['node', '/srv/crm-1.4.1-3fa85f645717-20261123-crm-ab12/package/server.js', '--port', '7001', '--verbose']],
    [['node', '/srv/node_modules/@modelcontextprotocol/server-everything/dist/index.js', 'streamableHttp']],
    [['env', 'NODE_ENV=production', 'PORT=7001', 'node', '.']],
    [
      [
        'node',
        '--import',
        'file:///srv/node_modules/@acme/crm/hook.js',
        'server.js',
        '--path',
        '/srv',
        '-port',
        '7001',
      ],
    ],
    [['python3', '-m', 'http.server', '--bind', '127.0.0.1']],
  ])('shows %j, by which a responder knows it', (args) => {
    expect(redactCommand(args)).toEqual(args)
  })

  it('cuts what is too long, and says so', () => {
    const shown = redactCommand(['node', 'x'.repeat(1_000_000), ...Array<string>(5000).fill('y')])
    expect(shown.join(' ').length).toBeLessThan(5000)
    expect(shown.join(' ')).toContain('1000000 characters')
    expect(shown.at(-1)).toContain('5002 arguments')
  })

  it('takes any text', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }), { maxLength: 5 }), (args) => {
        expect(redactCommand(args).length).toBeLessThanOrEqual(args.length + 1)
      }),
    )
  })
})
