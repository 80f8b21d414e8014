import assert from 'node:assert/strict';
import { test } from 'node:test';
import { initialCounterState, PIT_STATE_VERSION, type PitState } from '../../devices/chips/pit/state.ts';
import { pitBuffer, readPit } from './pit-state.ts';

function state(): PitState {
  const counter = initialCounterState(true);
  return {
    version: PIT_STATE_VERSION,
    counters: [
      { ...counter, mode: 2, access: 3, reload: 11932, triggered: true, latch: 0x1234, latchBytes: 1 },
      { ...counter, triggered: true },
      { ...counter, gate: false, mode: 0, access: 1, reload: 65536, triggered: true, statusLatch: 0x90 },
    ],
    systemControlB: 2,
    out0: true,
  };
}

test('the counters go in and come out; the time since their loading is read from the clock', () => {
  const buffer = pitBuffer(state());
  for (const index of [1, 2]) buffer.set64(`channels[${index}].count_load_time`, 5_000n);
  const back = readPit(buffer, 7_500n);
  assert.equal(back.counters[2]!.startNs, 2500);
  assert.equal(back.counters[1]!.startNs, 0, 'without a count there is no time');
  for (const counter of back.counters) counter.startNs = 0;
  assert.deepEqual(back, state());
});

test('counter 0, of which KVM does not tell when it was loaded, still owes its one interrupt', () => {
  const oneShot = state();
  Object.assign(oneShot.counters[0]!, { mode: 0, reload: 1000, latchBytes: 0 });
  const hostUptimeNs = 5_000_000_000_000n;
  const back = readPit(pitBuffer(oneShot), hostUptimeNs);
  assert.equal(back.counters[0]!.startNs, 0);
  assert.equal(back.out0, false);
});

test('a low byte that waits for its high byte still waits', () => {
  const before = state();
  before.counters[0]!.writeLow = 0x9c;
  assert.equal(readPit(pitBuffer(before), 0n).counters[0]!.writeLow, 0x9c);
});
