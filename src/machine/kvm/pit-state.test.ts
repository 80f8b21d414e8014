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
  for (let index = 0; index < 3; index++) buffer.set64(`channels[${index}].count_load_time`, 5_000n);
  const back = readPit(buffer, 7_500n);
  assert.equal(back.counters[0]!.startNs, 2500);
  assert.equal(back.counters[1]!.startNs, 0, 'without a count there is no time');
  for (const counter of back.counters) counter.startNs = 0;
  assert.deepEqual(back, state());
});

test('a low byte that waits for its high byte still waits', () => {
  const before = state();
  before.counters[0]!.writeLow = 0x9c;
  assert.equal(readPit(pitBuffer(before), 0n).counters[0]!.writeLow, 0x9c);
});
