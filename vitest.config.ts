import { defineConfig } from 'vitest/config'

const shared = { disableConsoleIntercept: true, environment: 'node' } as const

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          ...shared,
          name: 'unit',
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
          maxWorkers: 2,
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
