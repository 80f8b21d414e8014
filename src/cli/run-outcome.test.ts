import assert from 'node:assert/strict';
import { test } from 'node:test';
import { outcomeOfCommand, outcomeOfGuest } from './run-outcome.ts';

test('a guest that powers off, resets or is left has done well', () => {
  for (const kind of ['power-off', 'reset', 'stopped'] as const) {
    assert.deepEqual(outcomeOfGuest({ kind }), { exitStatus: 0 });
  }
});

test('a debug exit has the status that the guest wrote', () => {
  assert.deepEqual(outcomeOfGuest({ kind: 'debug-exit', status: 0x121 }), { exitStatus: 0x21 });
});

test('every crash is status 70 and says what happened', () => {
  for (const exit of [
    { kind: 'triple-fault', reason: 'because' },
    { kind: 'halted-forever' },
    { kind: 'internal-error', message: 'because' },
  ] as const) {
    const { exitStatus, message } = outcomeOfGuest(exit);
    assert.equal(exitStatus, 70);
    assert.ok(message, exit.kind);
  }
});

test("a command's status is the run's, whatever the guest does after it", () => {
  assert.deepEqual(outcomeOfCommand({ kind: 'stopped' }, 3), { exitStatus: 3 });
  assert.deepEqual(outcomeOfCommand({ kind: 'power-off' }, 0), { exitStatus: 0 });
});

test('a command that powers the guest off has ended it well, one that resets it has not', () => {
  assert.equal(outcomeOfCommand({ kind: 'power-off' }, undefined).exitStatus, 0);
  assert.equal(outcomeOfCommand({ kind: 'reset' }, undefined).exitStatus, 70);
  assert.match(outcomeOfCommand({ kind: 'reset' }, undefined).message!, /panicked/);
});
