import assert from 'node:assert/strict';
import { test } from 'node:test';
import { offsetOf, StructBuffer, struct, union } from './struct-layout.ts';

const inner = struct('inner', { byte: 'u8', wide: 'u64' });
const outer = struct('outer', {
  first: 'u16',
  list: [inner, 2],
  $either: union({ word: 'u32', bytes: ['u8', 6] }),
  last: 's32',
});

test('members are aligned by their own size, and a structure by its largest member', () => {
  assert.equal(inner.sizeBytes, 16);
  assert.equal(offsetOf(outer, 'list'), 8);
  assert.equal(offsetOf(outer, 'list[1].wide'), 8 + 16 + 8);
  assert.equal(outer.sizeBytes, 56);
});

test('members of an anonymous union lie over each other under names of their own', () => {
  assert.equal(offsetOf(outer, 'word'), 40);
  assert.equal(offsetOf(outer, 'bytes'), 40);
  assert.equal(offsetOf(outer, 'last'), 48);
});

test('a path that is not there is an error, and so is a member of another width', () => {
  const buffer = new StructBuffer(outer);
  assert.throws(() => offsetOf(outer, 'missing'), /struct outer has no member missing/);
  assert.throws(() => buffer.get('list[0].wide'), /no number of 32 bits/);
  assert.throws(() => buffer.get64('word'), /has no 64 bits/);
});

test('values are little-endian, signed where the member is, and bytes are live', () => {
  const buffer = new StructBuffer(outer, 4);
  assert.equal(buffer.bytes.length, 60);
  buffer.set('last', -2);
  assert.equal(buffer.get('last'), -2);
  buffer.set('bytes', 0x12, 1);
  assert.equal(buffer.get('word'), 0x1200);
  buffer.set64('list[0].wide', -1n);
  assert.equal(buffer.get64('list[0].wide'), 0xffff_ffff_ffff_ffffn);
  buffer.slice('bytes').fill(0);
  assert.equal(buffer.get('word'), 0);
});
