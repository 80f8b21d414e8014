import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { beginsFunction } from './function-start.ts';

/** Code up to a place that is a multiple of 16, and whether a function seems to begin there. */
function seemsToBegin(before: string): boolean {
  const code = Buffer.from(before.replaceAll(' ', ''), 'hex');
  const bytes = new Uint8Array(64).fill(0x01);
  bytes.set(code, 48 - code.length);
  return beginsFunction(bytes, 48);
}

describe('a function seems to begin', () => {
  for (const [what, before] of [
    ['behind RET', 'c3'],
    ['behind RET and a long NOP', 'c3 66 66 2e 0f 1f 84 00 00 00 00 00'],
    ['behind RET, INT3 and the NOPs that kernels patch', 'c3 cc cc cc cc 0f 1f 40 00 90 90 90 90 90 90 90 90'],
    ['behind a jump', 'e9 12 34 56 78 0f 1f 00'],
    ['behind a short jump', 'eb 8f 66 90'],
    ['behind UD2', '0f 0b 0f 1f 44 00 00'],
  ] as const) {
    test(what, () => assert.equal(seemsToBegin(before), true));
  }
});

describe('no function seems to begin', () => {
  for (const [what, before] of [
    ['behind padding that is run through', '89 f0 0f 1f 40 00'],
    ['behind a call', 'e8 12 34 56 78'],
    ['behind a conditional jump', '0f 84 12 34 56 78 90'],
  ] as const) {
    test(what, () => assert.equal(seemsToBegin(before), false));
  }

  test('where nothing is known of what lies before', () => {
    assert.equal(beginsFunction(new Uint8Array(64).fill(0x90), 16), false);
    assert.equal(beginsFunction(new Uint8Array(64).fill(0x90), 0), false);
  });

  test('at a place that is not aligned', () => assert.equal(beginsFunction(new Uint8Array(64).fill(0xc3), 17), false));
});
