import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { ByteRing, createRingBuffer } from './byte-ring.ts';

const makeRing = (capacityBytes: number): ByteRing => new ByteRing(createRingBuffer(capacityBytes));

test('bytes come out in the order in which they went in', () => {
  const ring = makeRing(8);
  assert.equal(ring.write(Uint8Array.of(1, 2, 3)), 3);
  assert.equal(ring.write(Uint8Array.of(4, 5)), 2);
  assert.deepEqual([...ring.read(4)], [1, 2, 3, 4]);
  assert.deepEqual([...ring.read(4)], [5]);
  assert.equal(ring.read(4).length, 0);
});

test('a full ring takes no more, and takes again what was read', () => {
  const ring = makeRing(4);
  assert.equal(ring.write(Uint8Array.of(1, 2, 3, 4, 5, 6)), 4);
  assert.equal(ring.freeBytes, 0);
  assert.equal(ring.write(Uint8Array.of(7)), 0);
  assert.deepEqual([...ring.read(2)], [1, 2]);
  assert.equal(ring.write(Uint8Array.of(7, 8, 9)), 2);
  assert.deepEqual([...ring.read(9)], [3, 4, 7, 8]);
});

test('a capacity that is no power of two is refused', () => {
  for (const capacityBytes of [0, 3, 100]) assert.throws(() => createRingBuffer(capacityBytes), RangeError);
});

test('the counts may wrap', () => {
  const buffer = createRingBuffer(16);
  new Int32Array(buffer, 0, 2).fill(-3);
  const ring = new ByteRing(buffer);
  assert.equal(ring.write(Uint8Array.of(1, 2, 3, 4, 5)), 5);
  assert.equal(ring.usedBytes, 5);
  assert.equal(ring.freeBytes, 11);
  assert.deepEqual([...ring.read(99)], [1, 2, 3, 4, 5]);
});

test('a stream passes whole between two threads', async () => {
  const buffer = createRingBuffer(64);
  const total = 20_000;
  const code = `
    const { workerData } = require('node:worker_threads');
    import(workerData.module).then(({ ByteRing }) => {
      const ring = new ByteRing(workerData.buffer);
      for (let next = 0; next < ${total}; ) {
        const length = Math.min(1 + (next % 41), ${total} - next);
        const chunk = Uint8Array.from({ length }, (_, k) => (next + k) % 251);
        next += ring.write(chunk);
      }
    });`;
  const module = new URL('byte-ring.ts', import.meta.url).href;
  const worker = new Worker(code, { eval: true, workerData: { module, buffer } });
  const ring = new ByteRing(buffer);
  let taken = 0;
  while (taken < total) {
    const bytes = ring.read(50);
    for (const byte of bytes) assert.equal(byte, taken++ % 251);
    if (bytes.length === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await worker.terminate();
});
