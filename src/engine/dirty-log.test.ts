import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DirtyBitmap, dirtyPages } from './dirty-log.ts';

test('a bitmap gives the numbers of its pages in order', () => {
  assert.deepEqual([...dirtyPages(Uint8Array.of(0b1000_0001, 0, 0b10))], [0, 7, 17]);
  assert.deepEqual([...dirtyPages(new Uint8Array(8))], []);
});

test('a kept bitmap has the pages of a range, those of another bitmap, and nothing outside RAM', () => {
  const bitmap = new DirtyBitmap(70 * 4096);
  bitmap.note(4095, 2);
  bitmap.note(69 * 4096, 9 * 4096);
  bitmap.note(5 * 4096, 0);
  bitmap.notePage(70);
  bitmap.add(Uint8Array.of(0, 0b100, ...new Uint8Array(14)));
  assert.deepEqual(
    [0, 1, 2, 10, 69].map((page) => bitmap.has(page)),
    [true, true, false, true, true],
  );
  const taken = bitmap.take();
  assert.deepEqual([...dirtyPages(taken)], [0, 1, 10, 69]);
  assert.equal(taken.length, 16);
  assert.deepEqual([...dirtyPages(bitmap.take())], []);
});
