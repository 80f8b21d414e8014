// `bulkhead debug lockstep` on a stock kernel: translator and interpreter agree. Slow, though it sees only the start.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runCli } from '../cli/run-cli.ts';

const TIMEOUT_MS = 300_000;

test('translator and interpreter agree on the first 20 million jumps of a boot', async () => {
  const { status, stderr } = await runCli(['debug', 'lockstep', 'debian', '--jumps', '20M'], { timeoutMs: TIMEOUT_MS });
  assert.match(stderr, /\nlockstep: no difference in \d+ slices, 20\.0 million jumps, /);
  assert.equal(status, 0, stderr);
});

test('a text on the console ends the comparison', async () => {
  const args = [
    'debug',
    'lockstep',
    'debian',
    '--verbose',
    '--append',
    'earlyprintk=ttyS0',
    '--until',
    'Linux version',
  ];
  const { status, stdout, stderr } = await runCli(args, { timeoutMs: TIMEOUT_MS });
  assert.match(stdout.toString(), /Linux version/);
  assert.match(stderr, /\nlockstep: no difference in /);
  assert.equal(status, 0, stderr);
});
