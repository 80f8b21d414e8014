import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createBulkMemory } from './bulk-memory.ts';

describe('bulk memory', () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const bulk = createBulkMemory(memory);
  const bytes = new Uint8Array(memory.buffer);

  for (const size of [1, 2, 4, 8]) {
    for (const uniform of [true, false]) {
      test(`fills with ${uniform ? 'equal' : 'different'} bytes of ${size}, and nothing else`, () => {
        const element = Uint8Array.from({ length: 8 }, (_, k) => (uniform ? 0x5a : 0x11 * (k + 1)));
        bytes.set(element, 64);
        for (const count of [1, 2, 3, 5, 8, 9, 33]) {
          for (const from of [1024, 1027]) {
            bytes.fill(0xee, 1000, 2000);
            bulk.fill(from, 64, count * size, size);
            const expected = new Uint8Array(1000).fill(0xee);
            for (let k = 0; k < count * size; k++) expected[from - 1000 + k] = element[k % size]!;
            assert.deepEqual(bytes.slice(1000, 2000), expected);
          }
        }
      });
    }
  }

  test('copies ranges that overlap as they were', () => {
    bytes.set([1, 2, 3, 4, 5, 6], 3000);
    bulk.copy(3002, 3000, 4);
    assert.deepEqual([...bytes.slice(3000, 3006)], [1, 2, 1, 2, 3, 4]);
  });
});
