import { customers } from '../customers.ts'
import { basic, body, json, listen } from '../http.ts'
import { worker } from '../worker.ts'

export interface CustomersApiSettings {
  readonly introspectionEndpoint: string
  readonly clientId: string
  readonly clientSecret: string
}

/** The downstream system: every request needs a token that the authorization server calls active at that moment. */
worker(async (settings: CustomersApiSettings) => {
  const notes: { readonly customer: string; readonly text: string }[] = []
  const origin = await listen(async (request, response, url) => {
    const token = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1]
    const holder = token === undefined ? undefined : await introspect(token)
    if (holder === undefined) {
      response.setHeader('www-authenticate', 'Bearer error="invalid_token"')
      return json(response, 401, { error: 'invalid_token' })
    }
    if (url.pathname === '/me') return json(response, 200, { client: holder.client_id, scope: holder.scope })
    const [, collection, id, part] = url.pathname.split('/')
    if (collection !== 'customers') return json(response, 404, { error: 'not_found' })
    if (id === undefined) {
      const query = (url.searchParams.get('q') ?? '').toLowerCase()
      const found = customers.filter((c) => `${c.name} ${c.email} ${c.city}`.toLowerCase().includes(query))
      return json(response, 200, { records: found.slice(0, Number(url.searchParams.get('limit') ?? 10)) })
    }
    const found = customers.filter((c) => c.id === id)
    if (found.length === 0) return json(response, 404, { error: 'not_found' })
    if (part === undefined) return json(response, 200, { records: found })
    if (part !== 'notes' || request.method !== 'POST') return json(response, 404, { error: 'not_found' })
    notes.push({ customer: id, text: String(JSON.parse(await body(request)).text) })
    return json(response, 201, { note: `N-${String(notes.length).padStart(5, '0')}` })
  })
  return { origin }

  async function introspect(token: string): Promise<{ client_id: string; scope: string } | undefined> {
    const response = await fetch(settings.introspectionEndpoint, {
      method: 'POST',
      headers: { authorization: basic(settings.clientId, settings.clientSecret) },
      body: new URLSearchParams({ token }),
    })
    const answer = (await response.json()) as { active?: boolean; client_id: string; scope: string }
    return answer.active === true ? answer : undefined
  }
})
