// Vectors from FIPS 197 (appendix B) and from Intel's paper on carry-less multiplication; random products against
// BigInt.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SCRATCH_OFFSET, STATE_SIZE_BYTES } from '../../ir/guest-state.ts';
import { CRYPTO_OPERATION } from '../../ir/sse-operations.ts';
import { computeCrypto } from './crypto.ts';

const CPU_BASE = 64;
const view = new DataView(new ArrayBuffer(CPU_BASE + STATE_SIZE_BYTES));
const slots = new Uint8Array(view.buffer, CPU_BASE + SCRATCH_OFFSET, 32);

/** Runs an operation on values given as hexadecimal bytes in memory order. */
function run(name: keyof typeof CRYPTO_OPERATION, first: string, second: string, immediate = 0): string {
  slots.set(Buffer.from(first + second, 'hex'));
  computeCrypto(view, CPU_BASE, CRYPTO_OPERATION[name], immediate);
  return Buffer.from(slots.subarray(0, 16)).toString('hex');
}

const ZERO = '00'.repeat(16);
const xor = (x: string, y: string): string =>
  Buffer.from(Buffer.from(x, 'hex').map((byte, k) => byte ^ Buffer.from(y, 'hex')[k]!)).toString('hex');

/** AES-128 round keys by the sequence that AESKEYGENASSIST was made for. */
function expandKey(key: string): string[] {
  const keys = [key];
  for (const constant of [1, 2, 4, 8, 16, 32, 64, 128, 0x1b, 0x36]) {
    const previous = keys.at(-1)!;
    const assist = run('aeskeygenassist', ZERO, previous, constant).slice(24);
    let next = '';
    let word = assist;
    for (let k = 0; k < 32; k += 8) {
      word = xor(word, previous.slice(k, k + 8));
      next += word;
    }
    keys.push(next);
  }
  return keys;
}

const KEY = '2b7e151628aed2a6abf7158809cf4f3c';
const PLAIN = '3243f6a8885a308d313198a2e0370734';
const CIPHER = '3925841d02dc09fbdc118597196a0b32';

test('aeskeygenassist gives the key schedule of FIPS 197', () => {
  assert.equal(expandKey(KEY).at(-1), 'd014f9a8c9ee2589e13f0cc8b6630ca6');
});

test('aesenc and aesenclast encrypt the example of FIPS 197', () => {
  const keys = expandKey(KEY);
  let state = xor(PLAIN, keys[0]!);
  for (let round = 1; round < 10; round++) state = run('aesenc', state, keys[round]!);
  assert.equal(run('aesenclast', state, keys[10]!), CIPHER);
});

test('aesdec, aesdeclast and aesimc decrypt it again', () => {
  const keys = expandKey(KEY);
  let state = xor(CIPHER, keys[10]!);
  for (let round = 9; round > 0; round--) state = run('aesdec', state, run('aesimc', ZERO, keys[round]!));
  assert.equal(run('aesdeclast', state, keys[0]!), PLAIN);
});

test('pclmulqdq multiplies the quadwords that the immediate names', () => {
  const reverse = (value: string): string => Buffer.from(value, 'hex').reverse().toString('hex');
  const first = reverse('7b5b54657374566563746f725d53475d');
  const second = reverse('48692853686179295b477565726f6e5d');
  const product = (immediate: number): string => reverse(run('pclmulqdq', first, second, immediate));
  assert.equal(product(0x00), '1d4d84c85c3440c0929633d5d36f0451');
  assert.equal(product(0x10), '1bd17c8d556ab5a17fa540ac2a281315');
  assert.equal(product(0x01), '1a2bf6db3a30862fbabf262df4b7d5c9');
  assert.equal(product(0x11), '1d1e1f2c592e7c45d66ee03e410fd4ed');
});

test('pclmulqdq agrees with long multiplication', () => {
  let state = 1n;
  const random = (): bigint => {
    state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n);
    return state ^ (state >> 29n);
  };
  for (let k = 0; k < 100; k++) {
    const [x, y] = [random(), random()];
    let expected = 0n;
    for (let bit = 0n; bit < 64n; bit++) if ((y >> bit) & 1n) expected ^= x << bit;
    const offset = CPU_BASE + SCRATCH_OFFSET;
    view.setBigUint64(offset, x, true);
    view.setBigUint64(offset + 16, y, true);
    computeCrypto(view, CPU_BASE, CRYPTO_OPERATION.pclmulqdq, 0);
    const product = view.getBigUint64(offset, true) | (view.getBigUint64(offset + 8, true) << 64n);
    assert.equal(product, expected, `${x} * ${y}`);
  }
});
