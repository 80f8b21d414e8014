import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InterruptLine, WiredOr } from './interrupt-line.ts';

test('the sink hears changes only', () => {
  const heard: boolean[] = [];
  const line = new InterruptLine((asserted) => heard.push(asserted));
  line.set(false);
  line.set(true);
  line.set(true);
  line.set(false);
  line.pulse();
  assert.deepEqual(heard, [true, false, true, false]);
});

test('a shared wire stays asserted until its last driver releases it', () => {
  const heard: boolean[] = [];
  const shared = new WiredOr(new InterruptLine((asserted) => heard.push(asserted)));
  const a = shared.input();
  const b = shared.input();
  a.set(true);
  b.set(true);
  a.set(false);
  assert.deepEqual(heard, [true]);
  b.set(false);
  assert.deepEqual(heard, [true, false]);
});
