import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode } from '../../../decode/decoder.ts';
import { describeInstruction } from './instruction-text.ts';

const RIP = 0x1000n;

function describe(...bytes: number[]): string {
  const instruction = decode(new Uint8Array(bytes), 0, bytes.length, 64);
  assert.ok(typeof instruction !== 'string');
  return describeInstruction(instruction, RIP);
}

test('instructions are told with their operands', () => {
  assert.equal(describe(0x48, 0x89, 0x44, 0x8b, 0xf8), 'mov qword [rbx+rcx*4-0x8], rax');
  assert.equal(describe(0x65, 0x8b, 0x04, 0x25, 0x10, 0, 0, 0), 'mov eax, dword gs:[0x10]');
  assert.equal(describe(0xf0, 0x0f, 0xb1, 0x0d, 0x20, 0, 0, 0), 'lock cmpxchg dword [rip+0x20], ecx');
  assert.equal(describe(0x75, 0xfe), 'jnz 0x1000');
  assert.equal(describe(0x88, 0xe1), 'mov cl, ah');
  assert.equal(describe(0x0f, 0x58, 0xca), 'addps xmm1, xmm2');
  assert.equal(describe(0x0f, 0x22, 0xd8), 'mov cr3, rax');
  assert.equal(describe(0xf3, 0xaa), 'repz stos byte [rdi], al');
});
