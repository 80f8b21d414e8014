// The time between polls follows the guest's work.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PollInterval } from './poll-interval.ts';

/** Time between polls once `msPerJump` has lasted for a while. */
function settle(interval: PollInterval, msPerJump: number): number {
  for (let k = 0; k < 20; k++) interval.adapt(interval.current * msPerJump);
  return interval.current * msPerJump;
}

test('slow and quick jumps are polled within 100 microseconds', () => {
  const interval = new PollInterval();
  for (const nsPerJump of [500, 1, 20, 400, 3, 20_000, 100]) {
    const elapsedMs = settle(interval, nsPerJump / 1e6);
    assert.ok(elapsedMs <= 0.1, `${nsPerJump} ns a jump: ${elapsedMs} ms`);
  }
});

test('quick jumps are not polled all the time', () => {
  const interval = new PollInterval();
  settle(interval, 1e-6);
  assert.ok(interval.current >= 1024);
});

test('a loop that becomes slow is polled late once', () => {
  const interval = new PollInterval();
  settle(interval, 1e-6);
  interval.adapt(interval.current * 5e-3);
  assert.ok(interval.current * 5e-3 <= 0.1, `${interval.current} jumps of 5 microseconds`);
});

test('a poll that comes early tells nothing of how long the interval would be', () => {
  const interval = new PollInterval();
  settle(interval, 1e-4);
  const settled = interval.current;
  for (let k = 0; k < 10; k++) {
    interval.cut(settled - 10);
    interval.adapt(10 * 1e-4);
  }
  assert.equal(interval.current, settled);
  interval.cut(settled / 2);
  interval.adapt(settled * 1e-3);
  assert.ok(interval.current * 2e-3 <= 0.1, `${interval.current} jumps of 2 microseconds`);
});

test('a fixed interval stays', () => {
  const interval = new PollInterval(7);
  settle(interval, 1);
  assert.equal(interval.current, 7);
});
