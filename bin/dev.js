#!/usr/bin/env node
// Builds (a second or two), then runs: what runs is what is in src.
await import('../scripts/build.mjs')
await import('./run.js')
