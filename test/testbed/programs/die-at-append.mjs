// Preloaded into the real command (node --import): kills it with SIGKILL at an append to a journal. At each distinct point
// once: DIE_AT names a file that lists the points at which it died already. DIE_WHEN is `before`, `torn` (half of the line is
// on disk) or `after` (the line is on disk and synced). DIE_BY is `kind` (one of each kind) or `point` (every single one).

// Preloaded into the real command (node --import): kills it with SIGKILL at an append to a journal. At each distinct point
// once: DIE_AT names a file that lists the points at which it died already. DIE_WHEN is `before`, `torn` (half of the line is
// on disk) or `after` (the line is on disk and synced). DIE_BY is `kind` (one of each kind) or `point` (every single one).
import fs, { appendFileSync, readFileSync, readlinkSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'

const { DIE_AT, DIE_WHEN, DIE_BY } = process.env
const { writeSync, fsync, fsyncSync } = fs
let dying

function die(point) {
  appendFileSync(DIE_AT, `${point}\n`)
  process.kill(process.pid, 'SIGKILL')
  for (;;) {} // the signal is on its way
}

function pointOf(bytes) {
  const line = JSON.parse(bytes.toString())
  const point =
    DIE_BY === 'kind'
      ? line.kind
      : [line.kind, line.step, line.data.id, line.data.use, line.data.name].filter(Boolean).join(' ')
  return readFileSync(DIE_AT, 'utf8').split('\n').includes(point) ? undefined : point
}

fs.writeSync = (file, bytes, ...rest) => {
  if (
    DIE_AT === undefined ||
    !Buffer.isBuffer(bytes) ||
    !readlinkSync(`/proc/self/fd/${file}`).endsWith('/journal.ndjson')
  ) {
    return writeSync(file, bytes, ...rest)
  }
  const point = pointOf(bytes)
  if (point === undefined) return writeSync(file, bytes, ...rest)
  if (DIE_WHEN === 'before') die(point)
  if (DIE_WHEN === 'torn') {
    writeSync(file, bytes, 0, bytes.length >> 1)
    fsyncSync(file)
    die(point)
  }
  dying = point
  return writeSync(file, bytes, ...rest)
}
fs.fsyncSync = (file) => {
  fsyncSync(file)
  if (dying !== undefined) die(dying)
}
fs.fsync = (file, done) =>
  fsync(file, (error) => {
    if (dying !== undefined) die(dying)
    done(error)
  })
syncBuiltinESMExports()
