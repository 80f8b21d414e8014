import assert from 'node:assert/strict';
import { test } from 'node:test';
import { STATE } from '../../ir/guest-state.ts';
import { farCall, farJump } from './far-transfer.ts';
import { deliver } from './interrupt-delivery.ts';
import { iret } from './interrupt-return.ts';
import { SEGMENT } from './transfer-context.ts';
import {
  assertFault,
  descriptor,
  gate,
  NEXT_RIP,
  protectedMachine,
  RIP,
  SELECTOR,
  type TestMachine,
  TSS,
  TSS2,
} from './transfers.test-data.ts';

const [NP, GP, TS] = [11, 13, 10];
const STACK2 = 0xb000;

/** A machine in a task at level 0, and a second 32-bit task at level 3 in SELECTOR.tss2. */
function twoTasks(patch: Record<number, number> = {}): TestMachine {
  const machine = protectedMachine(0);
  machine.setGdt(SELECTOR.tss2, descriptor(TSS2, 0x67, 0x89, 0));
  const fields: Record<number, number> = {
    28: 0x1_2000,
    32: 0x4_0000,
    36: 0x202,
    40: 0xaaaa,
    56: STACK2,
    68: 0xdddd,
    72: SELECTOR.userData | 3,
    76: SELECTOR.userCode32 | 3,
    80: SELECTOR.userData | 3,
    84: SELECTOR.userData | 3,
    ...patch,
  };
  for (const [offset, value] of Object.entries(fields)) {
    machine.memory.write(BigInt(TSS2 + Number(offset)), 4, BigInt(value), false);
  }
  machine.cpu.setGpr(0, 0x1234n);
  return machine;
}

const field = (machine: TestMachine, offset: number, sizeBytes = 4, tss = TSS): bigint =>
  machine.memory.read(BigInt(tss + offset), sizeBytes, false);

test('a jump to a TSS saves the old task and loads the new one', () => {
  const machine = twoTasks();
  const { cpu } = machine;
  farJump(machine, SELECTOR.tss2, 0n, 4);
  assert.deepEqual(
    [cpu.get(STATE.rip), cpu.gpr(0), cpu.gpr(4), cpu.gpr(7)],
    [0x4_0000n, 0xaaaan, BigInt(STACK2), 0xddddn],
  );
  assert.deepEqual([cpu.get32(STATE.cpl), cpu.eflags, cpu.selector(SEGMENT.TR)], [3, 0x202, SELECTOR.tss2]);
  assert.deepEqual([cpu.selector(SEGMENT.CS), cpu.attributes(SEGMENT.FS)], [SELECTOR.userCode32 | 3, 0x10000]);
  assert.equal(cpu.getLow(STATE.cr0) & 8, 8, 'CR0.TS');
  assert.deepEqual([machine.accessByte(SELECTOR.tss), machine.accessByte(SELECTOR.tss2)], [0x89, 0x8b]);
  assert.deepEqual([field(machine, 0x20), field(machine, 0x24), field(machine, 0x28)], [NEXT_RIP, 0x202n, 0x1234n]);
  assert.deepEqual(
    [field(machine, 0x4c, 2), field(machine, 0x50, 2)],
    [BigInt(SELECTOR.code32), BigInt(SELECTOR.data)],
  );
  assert.equal(cpu.get(STATE.cr3), 0n, 'CR3 stays without paging');
});

test('a call to a TSS nests, and IRET goes back to the caller', () => {
  const machine = twoTasks();
  const { cpu } = machine;
  cpu.set(STATE.cr0, 0x8000_0001n);
  farCall(machine, SELECTOR.tss2, 0n, 4);
  assert.equal(cpu.eflags, 0x4202);
  assert.equal(cpu.get(STATE.cr3), 0x1_2000n);
  assert.equal(field(machine, 0, 2, TSS2), BigInt(SELECTOR.tss));
  assert.deepEqual([machine.accessByte(SELECTOR.tss), machine.accessByte(SELECTOR.tss2)], [0x8b, 0x8b]);
  machine.next = 0x4_0001n;
  iret(machine, 4);
  assert.deepEqual([cpu.get(STATE.rip), cpu.gpr(0), cpu.get32(STATE.cpl)], [NEXT_RIP, 0x1234n, 0]);
  assert.deepEqual([cpu.selector(SEGMENT.TR), cpu.eflags], [SELECTOR.tss, 0x202]);
  assert.deepEqual([machine.accessByte(SELECTOR.tss), machine.accessByte(SELECTOR.tss2)], [0x8b, 0x89]);
  assert.deepEqual([field(machine, 0x20, 4, TSS2), field(machine, 0x24, 4, TSS2)], [0x4_0001n, 0x202n]);
});

test("an exception through a task gate pushes its error code on the new task's stack", () => {
  const machine = twoTasks();
  machine.setGate(13, gate(SELECTOR.tss2, 0, 0x85));
  deliver(machine, 13, 0x18, 'exception', RIP);
  assert.equal(machine.cpu.gpr(4), BigInt(STACK2 - 4));
  assert.equal(machine.stack(4, 1)[0], 0x18n);
  assert.equal(field(machine, 0x20), RIP);
  assert.equal(machine.cpu.eflags & 0x4000, 0x4000);
});

test('a jump through a task gate needs no privilege of the TSS', () => {
  const machine = twoTasks();
  machine.enterLevel(3, SELECTOR.userCode32, SELECTOR.userData);
  machine.setGdt(SELECTOR.gate, gate(SELECTOR.tss2, 0, 0xe5));
  assertFault(machine, GP, SELECTOR.tss2, () => farJump(machine, SELECTOR.tss2, 0n, 4));
  farJump(machine, SELECTOR.gate | 3, 0n, 4);
  assert.equal(machine.cpu.selector(SEGMENT.TR), SELECTOR.tss2);
});

test('a new task may run in virtual-8086 mode', () => {
  const machine = twoTasks({ 32: 0x10, 36: 0x2_0202, 76: 0x1234, 80: 0x2000 });
  farJump(machine, SELECTOR.tss2, 0n, 4);
  assert.equal(machine.cpu.segment(SEGMENT.CS).base, 0x12340n);
  assert.equal(machine.cpu.get32(STATE.cpl), 3);
});

test('the T bit asks for a debug trap', () => {
  const machine = twoTasks({ 100: 1 });
  farJump(machine, SELECTOR.tss2, 0n, 4);
  assert.equal(machine.taskTraps, 1);
  assert.equal(machine.cpu.getLow(STATE.dr6) & 0x8000, 0x8000);
});

test('a 16-bit TSS has words, no CR3, no FS and no GS', () => {
  const machine = protectedMachine(0);
  machine.setGdt(SELECTOR.tss2, descriptor(TSS2, 0x2b, 0x81, 0));
  const words: Record<number, number> = { 14: 0x5678, 16: 2, 18: 0xaaaa, 34: 0, 36: 8, 38: 0x10, 40: 0x10 };
  for (const [offset, value] of Object.entries(words)) {
    machine.memory.write(BigInt(TSS2 + Number(offset)), 2, BigInt(value), false);
  }
  farCall(machine, SELECTOR.tss2, 0n, 4);
  const { cpu } = machine;
  assert.deepEqual([cpu.get(STATE.rip), cpu.gpr(0), cpu.eflags], [0x5678n, 0xaaaan, 0x4002]);
  assert.equal(cpu.attributes(SEGMENT.GS), 0x10000);
  machine.next = 0x5680n;
  iret(machine, 2);
  assert.equal(field(machine, 0x0e, 2, TSS2), 0x5680n);
  assert.equal(cpu.get(STATE.rip), NEXT_RIP);
});

const refused: [string, Record<number, number>, number, number][] = [
  ['without code', { 76: 0 }, TS, 0],
  ['whose code is data', { 76: SELECTOR.userData | 3 }, TS, SELECTOR.userData],
  ['whose stack is of another level', { 80: SELECTOR.data }, TS, SELECTOR.data],
  ['whose data segment is of an inner level', { 84: SELECTOR.data }, TS, SELECTOR.data],
  ['whose LDT is none', { 96: SELECTOR.data }, TS, SELECTOR.data],
  ['whose selectors name an LDT that is null', { 84: 0x0c }, TS, 0x0c],
];
for (const [name, patch, vector, errorCode] of refused) {
  test(`a task is refused ${name}`, () => {
    const machine = twoTasks(patch);
    assertFault(machine, vector, errorCode, () => farJump(machine, SELECTOR.tss2, 0n, 4));
    assert.equal(machine.accessByte(SELECTOR.tss2), 0x89);
  });
}

test('a TSS that is too short or not present is refused', () => {
  const machine = twoTasks();
  machine.setGdt(SELECTOR.tss2, descriptor(TSS2, 0x66, 0x89, 0));
  assertFault(machine, TS, SELECTOR.tss2, () => farJump(machine, SELECTOR.tss2, 0n, 4));
  machine.setGdt(SELECTOR.tss2, descriptor(TSS2, 0x67, 0x09, 0));
  assertFault(machine, NP, SELECTOR.tss2, () => farJump(machine, SELECTOR.tss2, 0n, 4));
});

test('IRET with NT refuses a link that names no busy TSS', () => {
  const machine = twoTasks();
  machine.cpu.eflags = 0x4002;
  machine.memory.write(BigInt(TSS), 2, BigInt(SELECTOR.tss2), false);
  assertFault(machine, TS, SELECTOR.tss2, () => iret(machine, 4));
});

test('IA-32e mode has no task switches', () => {
  const machine = twoTasks();
  machine.cpu.set(STATE.efer, 0x500n);
  assertFault(machine, GP, SELECTOR.tss2, () => farJump(machine, SELECTOR.tss2, 0n, 4));
});
