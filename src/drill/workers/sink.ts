import { json, listen } from '../http.ts'
import { worker } from '../worker.ts'

/** The attacker's end: takes whatever comes, keeps none of it, counts the bytes. The count is read at another port. */
worker(async () => {
  let bytes = 0
  let requests = 0
  const origin = await listen(async (request, response) => {
    requests += 1
    for await (const chunk of request) bytes += (chunk as Uint8Array).byteLength
    response.writeHead(204).end()
  })
  const control = await listen(async (_request, response) => json(response, 200, { bytes, requests }))
  return { origin, control }
})
