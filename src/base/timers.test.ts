import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from './clock.ts';
import { type Timer, Timers } from './timers.ts';

test('callbacks run in order of deadline, equal deadlines in order of arming', () => {
  const clock = new ManualClock();
  const timers = new Timers(clock);
  const ran: string[] = [];
  timers.schedule(30, () => ran.push('c'));
  timers.schedule(10, () => ran.push('a'));
  timers.schedule(20, () => ran.push('b1'));
  timers.schedule(20, () => ran.push('b2'));
  assert.equal(timers.nextDeadlineNs(), 10);
  clock.advanceNs(20);
  timers.runDue();
  assert.deepEqual(ran, ['a', 'b1', 'b2']);
  assert.equal(timers.nextDeadlineNs(), 30);
});

test('a cancelled timer does not run, and cancelling twice is harmless', () => {
  const clock = new ManualClock();
  const timers = new Timers(clock);
  let ran = 0;
  const handle = timers.schedule(5, () => ran++);
  timers.cancel(handle);
  timers.cancel(handle);
  clock.advanceNs(10);
  timers.runDue();
  assert.equal(ran, 0);
  assert.equal(timers.nextDeadlineNs(), Number.POSITIVE_INFINITY);
});

test('arming again replaces the deadline, and Infinity disarms', () => {
  const clock = new ManualClock();
  const timers = new Timers(clock);
  let ran = 0;
  const timer = timers.create(() => ran++);
  timers.arm(timer, 5);
  timers.arm(timer, 50);
  clock.advanceNs(10);
  timers.runDue();
  assert.equal(ran, 0);
  assert.equal(timers.nextDeadlineNs(), 50);
  timers.arm(timer, Number.POSITIVE_INFINITY);
  assert.equal(timer.armed, false);
});

test('a callback may arm its own timer again and cancel others', () => {
  const clock = new ManualClock();
  const timers = new Timers(clock);
  const ran: string[] = [];
  const victim = timers.schedule(10, () => ran.push('victim'));
  const periodic: Timer = timers.create(() => {
    ran.push('tick');
    timers.cancel(victim);
    timers.arm(periodic, clock.nowNs() + 10);
  });
  timers.arm(periodic, 5);
  clock.advanceNs(10);
  timers.runDue();
  assert.deepEqual(ran, ['tick']);
  assert.equal(timers.nextDeadlineNs(), 20);
});

test('the heap agrees with a sorted list under random arming and cancelling', () => {
  let seed = 0x1234567;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % below;
  };
  const clock = new ManualClock();
  const timers = new Timers(clock);
  const all = Array.from({ length: 50 }, () => timers.create(() => {}));
  for (let step = 0; step < 5000; step++) {
    const timer = all[random(all.length)]!;
    if (random(3) === 0) timers.cancel(timer);
    else timers.arm(timer, random(1000));
    const least = Math.min(...all.map((one) => one.deadlineNs));
    assert.equal(timers.nextDeadlineNs(), least, `seed 0x1234567, step ${step}`);
  }
});
