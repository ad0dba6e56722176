// Completes package-lock.json for other platforms. A registry mirror that has only this platform's binaries makes
// `npm install` leave the optional packages of all others out, and `npm ci` then refuses the file. They are added by name,
// version and platform (no integrity: their bytes cannot be had here); npm installs only those of its own platform.
//
//   rm -rf node_modules && npm install --package-lock-only && node scripts/complete-lock.mjs && npm ci
import { readFileSync, writeFileSync } from 'node:fs'

const systems = ['android', 'darwin', 'win32', 'freebsd', 'openharmony', 'linux']
const processors = ['arm64', 'x64', 'ia32', 'arm', 'ppc64', 'riscv64', 's390x', 'loong64']

const lock = JSON.parse(readFileSync('package-lock.json', 'utf8'))
const { packages } = lock

/** Whether Node would find `name` from the package at `path`. */
function isLocked(name, path) {
  for (let at = path; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
    if (packages[`${at === '' ? '' : `${at}/`}node_modules/${name}`] !== undefined) return true
    if (at === '') return false
    if (!at.includes('/node_modules/')) return packages[`node_modules/${name}`] !== undefined
  }
}

for (const [path, { optionalDependencies = {}, dev, license }] of Object.entries(packages)) {
  if (path === '') continue
  for (const [name, version] of Object.entries(optionalDependencies)) {
    if (isLocked(name, path)) continue
    const words = name.split('/').at(-1).split(/[-.]/)
    const os = systems.find((word) => words.includes(word))
    const cpu = processors.find((word) => words.includes(word))
    if (os === undefined || cpu === undefined)
      throw new Error(`${name} ${version} is not locked, and its name tells no platform`)
    const libc = words.some((word) => word.startsWith('musl')) ? 'musl' : words.includes('gnu') ? 'glibc' : undefined
    packages[`node_modules/${name}`] = {
      version,
      cpu: [cpu],
      ...(dev ? { dev } : {}),
      license,
      ...(libc === undefined ? {} : { libc: [libc] }),
      optional: true,
      os: [os],
    }
  }
}
lock.packages = Object.fromEntries(Object.entries(packages).sort(([a], [b]) => (a < b ? -1 : 1)))
writeFileSync('package-lock.json', `${JSON.stringify(lock, undefined, 2)}\n`)
