import assert from 'node:assert/strict';
import { test } from 'node:test';
import { STATE } from '../../ir/guest-state.ts';
import { farCall, farJump, farReturn } from './far-transfer.ts';
import { SEGMENT } from './transfer-context.ts';
import {
  assertFault,
  descriptor,
  gate,
  longMachine,
  NEXT_RIP,
  protectedMachine,
  realMachine,
  SELECTOR,
  STACK,
  STACK_RING0,
} from './transfers.test-data.ts';

const [NP, GP] = [11, 13];
const [CALL_GATE, CALL_GATE16] = [0x8c, 0x84];
const USER = 0x60;
const HIGH = 0xffff_8000n;

test('a real-mode far jump loads CS and keeps its limit', () => {
  const machine = realMachine();
  farJump(machine, 0x1234, 0x9_5678n, 2);
  assert.equal(machine.cpu.segment(SEGMENT.CS).base, 0x12340n);
  assert.equal(machine.cpu.get(STATE.rip), 0x5678n);
  assertFault(machine, GP, 0, () => farJump(machine, 0, 0x1_0000n, 4));
});

test('a real-mode far call and return come back', () => {
  const machine = realMachine();
  farCall(machine, 0x200, 0x10n, 2);
  assert.deepEqual(machine.stack(2, 2), [NEXT_RIP, 0n]);
  farReturn(machine, 2, 4);
  assert.deepEqual([machine.cpu.get(STATE.rip), machine.cpu.selector(SEGMENT.CS)], [NEXT_RIP, 0]);
  assert.equal(machine.cpu.gpr(4), BigInt(STACK + 4));
});

test('a far jump enters 64-bit code from compatibility code', () => {
  const machine = longMachine(0, true);
  farJump(machine, SELECTOR.code64, 0x8000_0000n, 4);
  assert.equal(machine.cpu.attributes(SEGMENT.CS), 0xa09b);
  assert.equal(machine.cpu.get(STATE.rip), 0x8000_0000n);
  assert.equal(machine.modeRefreshes, 1);
});

test('the RPL of a code selector becomes the CPL', () => {
  const machine = protectedMachine(3);
  farJump(machine, SELECTOR.userCode32, 0x10n, 4);
  assert.equal(machine.cpu.selector(SEGMENT.CS), SELECTOR.userCode32 | 3);
  farJump(machine, SELECTOR.conforming, 0x20n, 4);
  assert.equal(machine.cpu.selector(SEGMENT.CS), SELECTOR.conforming | 3);
});

const refused: [string, number, number, bigint, number, number][] = [
  ['null', 0, 0, 0n, GP, 0],
  ['beyond the table', 0, 0x100, 0n, GP, 0x100],
  ['data', 0, SELECTOR.data, 0n, GP, SELECTOR.data],
  ['code of an inner level', 3, SELECTOR.code32, 0n, GP, SELECTOR.code32],
  ['code of an outer level', 0, SELECTOR.userCode32, 0n, GP, SELECTOR.userCode32],
  ['code with an RPL above CPL', 0, SELECTOR.code32 | 3, 0n, GP, SELECTOR.code32],
  ['an offset beyond the limit', 0, SELECTOR.code16, 0x1_0000n, GP, 0],
  ['a busy TSS', 0, SELECTOR.tss, 0n, GP, SELECTOR.tss],
];
for (const [name, cpl, selector, offset, vector, errorCode] of refused) {
  test(`far jumps and calls refuse ${name}`, () => {
    const machine = protectedMachine(cpl);
    assertFault(machine, vector, errorCode, () => farJump(machine, selector, offset, 4));
    assertFault(machine, vector, errorCode, () => farCall(machine, selector, offset, 4));
  });
}

test('code that is not present raises #NP', () => {
  const machine = protectedMachine();
  machine.setGdt(SELECTOR.code16, descriptor(0, 0xffff, 0x1b, 0));
  assertFault(machine, NP, SELECTOR.code16, () => farJump(machine, SELECTOR.code16, 0n, 4));
});

test('a 64-bit code segment may not have D set', () => {
  const machine = longMachine();
  machine.setGdt(SELECTOR.code16, descriptor(0, 0xfffff, 0x9b, 0xe));
  assertFault(machine, GP, SELECTOR.code16, () => farJump(machine, SELECTOR.code16, 0n, 8));
});

test('a far call pushes CS and the next RIP in the operand size', () => {
  const machine = longMachine(0);
  farCall(machine, SELECTOR.code64, 0xffff_8000_0000_0000n, 8);
  assert.deepEqual(machine.stack(8, 2), [NEXT_RIP, BigInt(SELECTOR.code64)]);
  assertFault(machine, GP, 0, () => farCall(machine, SELECTOR.code64, 0x8000_0000_0000n, 8));
});

test('a call gate to an inner level copies parameters to the inner stack, and the return releases them', () => {
  const machine = protectedMachine(3);
  const { cpu } = machine;
  machine.setGdt(SELECTOR.gate, gate(SELECTOR.code32, 0x12_5678, CALL_GATE | USER, 2));
  machine.fillStack(4, [0x11, 0x22, 0x33]);
  farCall(machine, SELECTOR.gate | 3, 0n, 4);
  assert.equal(cpu.get32(STATE.cpl), 0);
  assert.deepEqual([cpu.selector(SEGMENT.CS), cpu.selector(SEGMENT.SS)], [SELECTOR.code32, SELECTOR.data]);
  assert.equal(cpu.get(STATE.rip), 0x12_5678n);
  assert.equal(cpu.gpr(4), BigInt(STACK_RING0 - 24));
  assert.deepEqual(machine.stack(4, 6), [NEXT_RIP, 0x1bn, 0x11n, 0x22n, BigInt(STACK), 0x23n]);
  cpu.setSegment(SEGMENT.DS, { selector: SELECTOR.data, base: 0n, limit: 0xffff_ffff, attributes: 0xc093 });
  farReturn(machine, 4, 8);
  assert.equal(cpu.get32(STATE.cpl), 3);
  assert.deepEqual([cpu.get(STATE.rip), cpu.gpr(4)], [NEXT_RIP, BigInt(STACK + 8)]);
  assert.equal(cpu.attributes(SEGMENT.DS), 0x10000, 'the inner data segment is gone');
});

test('a 16-bit call gate truncates its offset and pushes words', () => {
  const machine = protectedMachine(0);
  machine.setGdt(SELECTOR.gate, gate(SELECTOR.code32, 0x12_5678, CALL_GATE16));
  farCall(machine, SELECTOR.gate, 0n, 4);
  assert.equal(machine.cpu.get(STATE.rip), 0x5678n);
  assert.deepEqual(machine.stack(2, 2), [NEXT_RIP, BigInt(SELECTOR.code32)]);
});

test('a call gate checks its own DPL, presence and target', () => {
  const machine = protectedMachine(3);
  machine.setGdt(SELECTOR.gate, gate(SELECTOR.code32, 0, CALL_GATE));
  assertFault(machine, GP, SELECTOR.gate, () => farCall(machine, SELECTOR.gate | 3, 0n, 4));
  machine.setGdt(SELECTOR.gate, gate(SELECTOR.code32, 0, (CALL_GATE | USER) & 0x7f));
  assertFault(machine, NP, SELECTOR.gate, () => farCall(machine, SELECTOR.gate | 3, 0n, 4));
  machine.setGdt(SELECTOR.gate, gate(SELECTOR.data, 0, CALL_GATE | USER));
  assertFault(machine, GP, SELECTOR.data, () => farCall(machine, SELECTOR.gate | 3, 0n, 4));
  machine.setGdt(SELECTOR.gate, gate(0, 0, CALL_GATE | USER));
  assertFault(machine, GP, 0, () => farCall(machine, SELECTOR.gate | 3, 0n, 4));
});

test('a jump through a call gate cannot change the level', () => {
  const machine = protectedMachine(3);
  machine.setGdt(SELECTOR.gate, gate(SELECTOR.code32, 0, CALL_GATE | USER));
  assertFault(machine, GP, SELECTOR.code32, () => farJump(machine, SELECTOR.gate | 3, 0n, 4));
  machine.setGdt(SELECTOR.gate, gate(SELECTOR.userCode32, 0x77, CALL_GATE | USER));
  farJump(machine, SELECTOR.gate | 3, 0n, 4);
  assert.equal(machine.cpu.get(STATE.rip), 0x77n);
});

test('a 64-bit call gate enters RSP0 with a null SS, and RETF comes back', () => {
  const machine = longMachine(3);
  const { cpu } = machine;
  machine.setGdt(SELECTOR.gate, gate(SELECTOR.code64, 0x12_5678, CALL_GATE | USER), HIGH);
  farCall(machine, SELECTOR.gate | 3, 0n, 4);
  assert.equal(cpu.get(STATE.rip), (HIGH << 32n) | 0x12_5678n);
  assert.deepEqual(machine.stack(8, 4), [NEXT_RIP, 0x33n, BigInt(STACK), 0x23n]);
  assert.deepEqual([cpu.gpr(4), cpu.selector(SEGMENT.SS)], [BigInt(STACK_RING0 - 32), 0]);
  farReturn(machine, 8, 0);
  assert.deepEqual([cpu.gpr(4), cpu.selector(SEGMENT.SS), cpu.get32(STATE.cpl)], [BigInt(STACK), 0x23, 3]);
});

test('a 64-bit call gate leads to 64-bit code only, and its second half is of type 0', () => {
  const machine = longMachine(0);
  machine.setGdt(SELECTOR.gate, gate(SELECTOR.code32, 0, CALL_GATE), HIGH);
  assertFault(machine, GP, SELECTOR.code32, () => farCall(machine, SELECTOR.gate, 0n, 4));
  machine.setGdt(SELECTOR.gate, gate(SELECTOR.code64, 0, CALL_GATE), HIGH | (1n << 40n));
  assertFault(machine, GP, SELECTOR.gate, () => farCall(machine, SELECTOR.gate, 0n, 4));
  machine.setGdt(SELECTOR.gate, gate(SELECTOR.code64, 0, CALL_GATE16), HIGH);
  assertFault(machine, GP, SELECTOR.gate, () => farCall(machine, SELECTOR.gate, 0n, 4));
});

test('RETF in 64-bit code at the same level leaves SS alone', () => {
  const machine = longMachine(0);
  machine.fillStack(8, [0x1000, SELECTOR.code64]);
  farReturn(machine, 8, 16);
  assert.equal(machine.cpu.gpr(4), BigInt(STACK + 32));
  assert.equal(machine.cpu.selector(SEGMENT.SS), SELECTOR.data);
});

test('RETF refuses an inner level', () => {
  const machine = protectedMachine(3);
  machine.fillStack(4, [0, SELECTOR.code32]);
  assertFault(machine, GP, SELECTOR.code32, () => farReturn(machine, 4, 0));
});
