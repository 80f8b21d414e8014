import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resetState, type VcpuState } from '../../vcpu-state.ts';
import { findStateDifferences, isSameState, tabulateStates } from './state-comparison.ts';

test('every part of a state that differs is found and named', () => {
  const changes: [name: string, change: (state: VcpuState) => unknown][] = [
    ['r9', ({ gpr }) => gpr.fill(1n, 9, 10)],
    ['rip', (state) => Object.assign(state, { rip: 1n })],
    ['rflags', (state) => Object.assign(state, { rflags: 3n })],
    ['ldtr', ({ segments }) => Object.assign(segments.ldtr, { limit: 1 })],
    ['idtr', ({ idtr }) => Object.assign(idtr, { base: 1n })],
    ['cr8', (state) => Object.assign(state, { cr8: 1n })],
    ['dr6', ({ debug }) => Object.assign(debug, { dr6: 0n })],
    ['msr c0000082', ({ msrs }) => msrs.set(0xc000_0082, 1n)],
    ['fsw', ({ xsave }) => xsave.fill(1, 2, 3)],
    ['st7', ({ xsave }) => xsave.fill(1, 32 + 16 * 7 + 9, 32 + 16 * 7 + 10)],
    ['xmm15', ({ xsave }) => xsave.fill(1, 160 + 16 * 15, 160 + 16 * 16)],
    ['halted', ({ events }) => Object.assign(events, { halted: true })],
  ];
  for (const [name, change] of changes) {
    const state = resetState();
    change(state);
    assert.deepEqual(findStateDifferences(resetState(), state), [name]);
    assert.equal(isSameState(resetState(), state), false, name);
    const row = tabulateStates(resetState(), state).find((one) => one.name === name);
    assert.notEqual(row?.leader, row?.follower);
  }
});

test('an interrupt shadow is no difference', () => {
  const state = resetState();
  state.events.interruptShadow = true;
  assert.deepEqual(findStateDifferences(resetState(), state), []);
  assert.equal(isSameState(resetState(), state), true);
});
