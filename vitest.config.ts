import { existsSync } from 'node:fs'
import { defineConfig } from 'vitest/config'

const shared = { disableConsoleIntercept: true, environment: 'node' } as const

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          ...shared,
          name: 'unit',
          // A shared machine may stall for longer than the usual five seconds.
          testTimeout: 30_000,
          // Two cores are the least that anybody has; sharing modules between files halves the time.
          maxWorkers: 2,
          isolate: false,
          // What is synced to disk thousands of times is synced to memory, where the system has such a place.
          env: existsSync('/dev/shm') ? { TMPDIR: '/dev/shm' } : {},
          include: ['test/**/*.test.ts'],
          exclude: ['test/**/*.{system,crash}.test.ts'],
        },
      },
      {
        test: {
          ...shared,
          name: 'system',
          include: ['test/**/*.system.test.ts'],
          globalSetup: ['test/testbed/build.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // One file after the other: containment looks at every process of the machine, and must not find those of other tests.
          maxWorkers: 1,
          fileParallelism: false,
          // A shared CI machine may stall a real process for longer than any time-out allows for.
          retry: process.env.CI === 'true' ? 1 : 0,
        },
      },
      {
        test: {
          ...shared,
          name: 'crash',
          include: ['test/**/*.crash.test.ts'],
          globalSetup: ['test/testbed/build.ts'],
          testTimeout: 3_600_000,
          maxWorkers: 2,
        },
      },
    ],
  },
})
