import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SCRATCH_OFFSET, STATE_SIZE_BYTES } from '../../ir/guest-state.ts';
import { IMPLICIT_LENGTH } from '../../ir/sse-operations.ts';
import { compareStrings } from './packed-string.ts';

const CPU_BASE = 64;
const view = new DataView(new ArrayBuffer(CPU_BASE + STATE_SIZE_BYTES));
const slots = new Uint8Array(view.buffer, CPU_BASE + SCRATCH_OFFSET, 32);

interface Outcome {
  index: number;
  flags: string;
  mask: string;
}

function compare(
  first: string | Uint8Array,
  second: string | Uint8Array,
  immediate: number,
  length1 = IMPLICIT_LENGTH,
  length2 = IMPLICIT_LENGTH,
): Outcome {
  slots.fill(0);
  slots.set(Buffer.from(first).subarray(0, 16));
  slots.set(Buffer.from(second).subarray(0, 16), 16);
  const result = compareStrings(view, CPU_BASE, immediate, length1, length2);
  const names: [string, number][] = [
    ['c', 0x1],
    ['z', 0x40],
    ['s', 0x80],
    ['o', 0x800],
  ];
  return {
    index: result >>> 16,
    flags: names.map(([name, bit]) => (result & bit ? name : '')).join(''),
    mask: Buffer.from(slots.subarray(0, 16)).toString('hex'),
  };
}

const WHOLE = 'x'.repeat(16);

test('equal any finds the first of a set of characters', () => {
  const { index, flags } = compare('aeiou', 'rhythm and blues', 0x00);
  assert.deepEqual([index, flags], [7, 'cs']);
});

test('equal any gives the length where nothing is found', () => {
  const { index, flags } = compare('aeiou', WHOLE, 0x00);
  assert.deepEqual([index, flags], [16, 's']);
});

test('ranges with negative polarity finds the first character outside them', () => {
  const { index, flags } = compare('09af', 'c0ffee?', 0x14);
  assert.deepEqual([index, flags], [6, 'czs']);
});

test('masked negative polarity leaves what lies behind the end alone', () => {
  const { index, flags, mask } = compare('09af', 'c0ffee', 0x34);
  assert.deepEqual([index, flags, mask], [16, 'zs', '00'.repeat(16)]);
});

test('equal each compares as strcmp does, ends included', () => {
  assert.deepEqual(compare('same', 'same', 0x18).flags, 'zs');
  const { index, flags } = compare('bulkhead', 'bulkheap', 0x18);
  assert.deepEqual([index, flags], [7, 'czs']);
});

test('equal ordered finds a substring, and its beginning at the end of the block', () => {
  assert.equal(compare('head', 'one bulkhead yes', 0x0c).index, 8);
  assert.equal(compare('head', 'the bulky bulkhe', 0x0c).index, 14);
});

test('the most significant index and the byte mask are asked for by bit 6', () => {
  const { index, mask } = compare('ab', 'abcab', 0x40);
  assert.deepEqual([index, mask], [4, 'ffff00ffff0000000000000000000000']);
});

test('the bit mask is zero-extended', () => {
  assert.equal(compare('ab', 'abcab', 0x00).mask, '1b000000000000000000000000000000');
});

test('words are compared as words, signed where asked', () => {
  const words = (...values: number[]): Uint8Array => new Uint8Array(Int16Array.from(values).buffer);
  const text = words(300, -5, 7, 20000);
  assert.equal(compare(words(-10, -1), text, 0x07, 2, 4).index, 1);
  assert.equal(compare(words(7), text, 0x01, 1, 4).index, 2);
  assert.equal(compare(words(-10, -1), text, 0x05, 2, 4).index, 1);
});

test('explicit lengths ignore zeros and their own sign', () => {
  const { index, flags } = compare('\0', 'ab\0cd', 0x00, -1, 5);
  assert.deepEqual([index, flags], [2, 'czs']);
  assert.equal(compare('a', WHOLE, 0x00, 1, 16).flags, 's');
  assert.equal(compare(WHOLE, WHOLE, 0x08, 16, -16).flags, 'co');
});
