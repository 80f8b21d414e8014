import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  buffer,
  device,
  eisaId,
  integer,
  io,
  irqNoFlags,
  name,
  packageOf,
  resourceTemplate,
  scope,
  string,
} from './aml.ts';

const hex = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');

test('integers take the shortest form', () => {
  assert.equal(hex(integer(0)), '00');
  assert.equal(hex(integer(1)), '01');
  assert.equal(hex(integer(5)), '0a 05');
  assert.equal(hex(integer(0x1234)), '0b 34 12');
  assert.equal(hex(integer(0xfec00000)), '0c 00 00 c0 fe');
  assert.equal(hex(string('AB')), '0d 41 42 00');
});

test('names are filled up, rooted and joined', () => {
  assert.equal(hex(name('_S5', integer(0))), '08 5f 53 35 5f 00');
  assert.equal(hex(name('\\_SB', integer(0))), '08 5c 5f 53 42 5f 00');
  assert.equal(hex(name('A.B', integer(0))), '08 2e 41 5f 5f 5f 42 5f 5f 5f 00');
  assert.equal(hex(name('A.B.C', integer(0))).slice(0, 8), '08 2f 03');
  assert.throws(() => name('lower', integer(0)), RangeError);
});

test('packages, buffers, scopes and devices carry their length', () => {
  assert.equal(hex(packageOf(integer(5), integer(0))), '12 05 02 0a 05 00');
  assert.equal(hex(buffer(Uint8Array.of(1, 2))), '11 05 0a 02 01 02');
  assert.equal(hex(scope('A')), '10 05 41 5f 5f 5f');
  assert.equal(hex(device('A')), '5b 82 05 41 5f 5f 5f');
});

test('the length takes as many bytes as it needs', () => {
  for (const size of [0x30, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x100, 0xff0, 0xff9, 0xffa, 0x1000, 0x12345, 0x100010]) {
    const bytes = buffer(new Uint8Array(size));
    const extraBytes = bytes[1]! >> 6;
    let length = bytes[1]! & (extraBytes === 0 ? 0x3f : 0x0f);
    for (let i = 0; i < extraBytes; i++) length |= bytes[2 + i]! << (4 + 8 * i);
    assert.equal(length, bytes.length - 1, `a buffer of ${size} bytes`);
  }
});

test('EISA identities and resource descriptors', () => {
  assert.equal(hex(eisaId('PNP0501')), '0c 41 d0 05 01');
  assert.equal(hex(io(0x3f8, 8)), '47 01 f8 03 f8 03 00 08');
  assert.equal(hex(irqNoFlags(4)), '22 10 00');
  assert.equal(hex(resourceTemplate(irqNoFlags(4))), '11 08 0a 05 22 10 00 79 00');
  assert.throws(() => eisaId('PNP501'), RangeError);
});
