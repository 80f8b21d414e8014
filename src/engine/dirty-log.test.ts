import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dirtyPages } from './dirty-log.ts';

test('a bitmap gives the numbers of its pages in order', () => {
  assert.deepEqual([...dirtyPages(Uint8Array.of(0b1000_0001, 0, 0b10))], [0, 7, 17]);
  assert.deepEqual([...dirtyPages(new Uint8Array(8))], []);
});
