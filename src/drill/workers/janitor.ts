import { endMarked } from '../processes.ts'
import { worker } from '../worker.ts'

/**
 * Ends everything of the company when the drill dies without having done so itself (killed, or a crash): also the servers,
 * which hang on no channel. When the company is to stay, the janitor is ended first.
 */
worker(
  async () => ({}),
  async () => void (await endMarked(process.argv.at(-1) ?? '', [process.pid])),
)
