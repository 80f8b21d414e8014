// REP MOVS whose source and destination overlap goes element by element (SDM volume 2, MOVS): what an element reads may
// be what the one before it wrote.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Guest, PLACE, RAM_BYTES } from './guest.ts';
import { IdleHost } from './idle-host.ts';
import { createTestVcpu } from './vcpu-factory.ts';

const host = new IdleHost();
const target = createTestVcpu(host, RAM_BYTES);

/** Behind a page's end, where the bulk of the elements is in one page and the rest in the next. */
const MIDDLE = PLACE.KERNEL_DATA + 0xf80;
const ELEMENTS = 150;
const INSTRUCTIONS: readonly (readonly [number, readonly number[]])[] = [
  [1, [0xf3, 0xa4]],
  [2, [0xf3, 0x66, 0xa5]],
  [4, [0xf3, 0xa5]],
  [8, [0xf3, 0x48, 0xa5]],
];

function moved(bytes: Uint8Array, from: number, to: number, size: number, step: number): Uint8Array {
  const result = bytes.slice();
  for (let k = 0; k < ELEMENTS; k++) result.copyWithin(to + k * step, from + k * step, from + k * step + size);
  return result;
}

for (const [size, instruction] of INSTRUCTIONS) {
  for (const backwards of [false, true]) {
    test(`elements of ${size} bytes, ${backwards ? 'downwards' : 'upwards'}, at every small distance`, () => {
      const step = backwards ? -size : size;
      for (const distance of [0, 1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 100, 299]) {
        const from = MIDDLE + (backwards ? ELEMENTS * size : 0);
        const to = from + (backwards ? -distance : distance);
        const guest = new Guest(target, host, 'kernel64', new Uint8Array([...instruction, 0xf4]));
        const data = Uint8Array.from({ length: 0x3000 }, (_, k) => (k * 7 + (k >> 8)) & 0xff);
        guest.memory.write(PLACE.KERNEL_DATA, data);
        guest.setRegister('rsi', BigInt(from));
        guest.setRegister('rdi', BigInt(to));
        guest.setRegister('rcx', BigInt(ELEMENTS));
        if (backwards) guest.state.rflags |= 0x400n;
        guest.start();
        assert.equal(guest.run().kind, 'halted-forever');
        const expected = moved(data, from - PLACE.KERNEL_DATA, to - PLACE.KERNEL_DATA, size, step);
        assert.deepEqual(guest.memory.bytes(PLACE.KERNEL_DATA, data.length), expected, `distance ${distance}`);
      }
    });
  }
}
