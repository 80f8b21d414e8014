import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Feature } from '../isa/row.ts';
import { createDecoder, decode } from './decoder.ts';
import type { CodeSize, Instruction, MemoryOperand } from './instruction.ts';
import { BASE_RIP, NO_REGISTER, SEGMENT_INDEX } from './instruction.ts';

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.split(' '), (text) => Number.parseInt(text, 16));
}

function decodeHex(hex: string, codeSize: CodeSize = 64): Instruction {
  const bytes = bytesOf(hex);
  const instruction = decode(bytes, 0, bytes.length, codeSize);
  assert.notEqual(typeof instruction, 'string', `${hex}: ${instruction}`);
  return instruction as Instruction;
}

function failureOf(hex: string, codeSize: CodeSize = 64): unknown {
  const bytes = bytesOf(hex);
  return decode(bytes, 0, bytes.length, codeSize);
}

function memoryOf(hex: string, codeSize: CodeSize = 64): MemoryOperand {
  const operand = decodeHex(hex, codeSize).operands.find(({ kind }) => kind === 'memory');
  assert.ok(operand?.kind === 'memory', hex);
  return operand;
}

test('every proper beginning of an instruction is truncated', () => {
  for (const hex of [
    '66 0f 3a 0f 84 88 11 22 33 44 05',
    '48 b8 01 02 03 04 05 06 07 08',
    'f3 48 0f b8 04 25 11 22 33 44',
  ]) {
    const bytes = bytesOf(hex);
    for (let available = 0; available < bytes.length; available++) {
      assert.equal(decode(bytes, 0, available, 64), 'truncated', `${hex}, ${available} bytes`);
    }
    assert.equal(decodeHex(hex).lengthBytes, bytes.length);
  }
});

test('bytes after the instruction are not looked at, nor those before the offset', () => {
  const bytes = bytesOf('ff ff 90 ff');
  const instruction = decode(bytes, 2, 2, 64);
  assert.ok(typeof instruction !== 'string');
  assert.equal(instruction.lengthBytes, 1);
});

test('an instruction of 15 bytes decodes and one of 16 is too long', () => {
  const nopWith = (prefixes: number): string => `${'66 '.repeat(prefixes)}90`;
  assert.equal(decodeHex(nopWith(14)).lengthBytes, 15);
  assert.equal(failureOf(nopWith(15)), 'too-long');
  assert.equal(failureOf('66 '.repeat(15).trim()), 'too-long');
  assert.equal(failureOf('66 '.repeat(14).trim()), 'truncated');
});

test('LOCK needs a row that allows it and a memory destination', () => {
  assert.equal(decodeHex('f0 01 03').lock, true);
  for (const hex of ['f0 01 c3', 'f0 03 03', 'f0 90', 'f0 0f 20 c0', 'f0 39 03'])
    assert.equal(failureOf(hex), 'invalid', hex);
});

test('a REX prefix counts only directly before the opcode', () => {
  assert.equal(decodeHex('48 89 c0').operandBytes, 8);
  assert.equal(decodeHex('48 66 89 c0').operandBytes, 2);
  assert.equal(decodeHex('48 41 89 c0').operandBytes, 4);
});

test('in 64-bit code only FS and GS overrides change the segment', () => {
  assert.equal(memoryOf('65 8b 00').segment, SEGMENT_INDEX.gs);
  assert.equal(memoryOf('65 2e 8b 00').segment, SEGMENT_INDEX.gs);
  assert.equal(memoryOf('2e 8b 45 00').segment, SEGMENT_INDEX.ss);
  assert.equal(memoryOf('2e 8b 45 00', 32).segment, SEGMENT_INDEX.cs);
  assert.equal(memoryOf('41 8b 45 00').segment, SEGMENT_INDEX.ds);
});

test('mod 0 with rm 5 is RIP-relative in 64-bit code and absolute in 32-bit code', () => {
  const relative = memoryOf('8b 05 f0 ff ff ff');
  assert.deepEqual([relative.base, relative.displacement], [BASE_RIP, -16n]);
  assert.equal(memoryOf('67 8b 05 f0 ff ff ff').addressBytes, 4);
  assert.equal(memoryOf('8b 05 f0 ff ff ff', 32).base, NO_REGISTER);
  assert.equal(memoryOf('8b 04 25 f0 ff ff ff').base, NO_REGISTER);
});

test('immediates are extended as the operation uses them', () => {
  const immediate = (hex: string, codeSize: CodeSize = 64): unknown => decodeHex(hex, codeSize).operands.at(-1);
  assert.deepEqual(immediate('83 c0 ff'), { kind: 'immediate', value: 0xffff_ffffn, sizeBytes: 4 });
  assert.deepEqual(immediate('48 83 c0 ff'), { kind: 'immediate', value: 0xffff_ffff_ffff_ffffn, sizeBytes: 8 });
  assert.deepEqual(immediate('48 05 00 00 00 80'), { kind: 'immediate', value: 0xffff_ffff_8000_0000n, sizeBytes: 8 });
  assert.deepEqual(immediate('05 00 80', 16), { kind: 'immediate', value: 0x8000n, sizeBytes: 2 });
  assert.deepEqual(immediate('c0 e0 ff'), { kind: 'immediate', value: 0xffn, sizeBytes: 1 });
});

test('near branches ignore the operand-size prefix in 64-bit code', () => {
  assert.equal(decodeHex('66 e9 00 00 00 00').lengthBytes, 6);
  assert.equal(decodeHex('66 e9 00 00', 32).lengthBytes, 4);
  assert.equal(decodeHex('66 c3').operandBytes, 8);
  assert.equal(decodeHex('66 50').operandBytes, 2);
});

test('registers that do not exist are invalid', () => {
  const nonexistent = ['8e c8', '8e f0', '8c f0', '0f 20 c8', '44 0f 20 c8', '44 0f 21 c0', '8d c0', 'c4 c0', 'c5 c0'];
  for (const hex of nonexistent) assert.equal(failureOf(hex), 'invalid', hex);
  assert.equal(decodeHex('44 0f 20 c0').lengthBytes, 4);
});

test('F2 and F3 win over 66 as mandatory prefix, the last of them counts, and repeat prefixes are reported', () => {
  assert.equal(decodeHex('66 f2 0f 58 c1').row.mnemonic, 'addsd');
  assert.equal(decodeHex('f2 f3 66 0f 58 c1').row.mnemonic, 'addss');
  assert.equal(decodeHex('f2 a4').repeat, 'repz');
  assert.equal(decodeHex('f2 a6').repeat, 'repnz');
  assert.equal(decodeHex('f3 90').row.mnemonic, 'pause');
  assert.equal(decodeHex('f3 c3').repeat, 'none');
});

test('a decoder knows only the encodings of its features', () => {
  const plain = createDecoder(new Set<Feature>(['base']));
  const bytes = bytesOf('0f 58 c1');
  assert.equal(plain(bytes, 0, bytes.length, 64), 'invalid');
  assert.notEqual(plain(bytesOf('90'), 0, 1, 64), 'invalid');
});
