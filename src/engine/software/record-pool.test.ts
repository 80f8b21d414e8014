import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CHUNK_BYTES, RecordPool } from './record-pool.ts';

const bytes = new Uint8Array(16 * CHUNK_BYTES);
const BEGIN = CHUNK_BYTES;

test('what is given back is given out again once nothing is on its way', () => {
  const pool = new RecordPool(BEGIN, BEGIN + 2 * CHUNK_BYTES);
  const [first, second] = [pool.take(bytes, CHUNK_BYTES), pool.take(bytes, CHUNK_BYTES)];
  assert.deepEqual([first, second, pool.take(bytes, CHUNK_BYTES)], [BEGIN, BEGIN + CHUNK_BYTES, 0]);
  pool.giveBack(first, CHUNK_BYTES);
  assert.equal(pool.take(bytes, CHUNK_BYTES), 0);
  pool.settle();
  assert.equal(pool.take(bytes, CHUNK_BYTES), first);
});

test('memory comes filled with zeros, whatever it held', () => {
  const pool = new RecordPool(BEGIN, bytes.length);
  const at = pool.take(bytes, 4 * CHUNK_BYTES);
  bytes.fill(0xff, at, at + 4 * CHUNK_BYTES);
  pool.giveBack(at, 4 * CHUNK_BYTES);
  pool.settle();
  assert.equal(pool.take(bytes, 4 * CHUNK_BYTES), at);
  assert.ok(bytes.subarray(at, at + 4 * CHUNK_BYTES).every((byte) => byte === 0));
});

test('the bytes in use and on their way back are counted', () => {
  const pool = new RecordPool(BEGIN, bytes.length);
  const at = pool.take(bytes, CHUNK_BYTES);
  pool.take(bytes, 4 * CHUNK_BYTES);
  pool.giveBack(at, CHUNK_BYTES);
  assert.deepEqual([pool.usedBytes, pool.leavingBytes], [4 * CHUNK_BYTES, CHUNK_BYTES]);
  pool.reset();
  assert.deepEqual([pool.usedBytes, pool.leavingBytes], [0, 0]);
});
