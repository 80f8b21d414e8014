import assert from 'node:assert/strict';
import { test } from 'node:test';
import { STATE } from '../../ir/guest-state.ts';
import { deliver, NO_ERROR_CODE } from './interrupt-delivery.ts';
import { iret } from './interrupt-return.ts';
import { SEGMENT } from './transfer-context.ts';
import {
  assertFault,
  gate,
  longMachine,
  protectedMachine,
  RIP,
  realMachine,
  SELECTOR,
  STACK,
  type TestMachine,
  vm86Machine,
} from './transfers.test-data.ts';

const [NP, SS, GP] = [11, 12, 13];
const USER_STACK = 0x7fff_ffff_0008n;

function longFrame(cs: number, ss: number, flags = 0x246, rip = 0x40_1000n, rsp = USER_STACK): TestMachine {
  const machine = longMachine(0);
  machine.fillStack(8, [rip, cs, flags, rsp, ss]);
  return machine;
}

test('IRETQ returns to 64-bit user code', () => {
  const machine = longFrame(SELECTOR.userCode64 | 3, SELECTOR.userData | 3);
  const { cpu } = machine;
  iret(machine, 8);
  assert.equal(cpu.get(STATE.rip), 0x40_1000n);
  assert.equal(cpu.gpr(4), USER_STACK);
  assert.equal(cpu.get32(STATE.cpl), 3);
  assert.equal(cpu.eflags, 0x246);
  assert.deepEqual([cpu.attributes(SEGMENT.CS), cpu.attributes(SEGMENT.SS)], [0xa0fb, 0xc0f3]);
  assert.deepEqual([machine.modeRefreshes, machine.nmiUnblocks], [1, 1]);
});

test('IRETQ returns to compatibility code', () => {
  const machine = longFrame(SELECTOR.userCode32 | 3, SELECTOR.userData | 3, 0x202, 0x8000n, 0xffff_0000n);
  iret(machine, 8);
  assert.equal(machine.cpu.attributes(SEGMENT.CS), 0xc0fb);
  assert.equal(machine.cpu.gpr(4), 0xffff_0000n);
});

test('IRETQ within the kernel changes no mode', () => {
  const machine = longFrame(SELECTOR.code64, SELECTOR.data, 0x202, 0xffff_ffff_8100_0000n, 0xffff_8880_0000_1230n);
  iret(machine, 8);
  assert.equal(machine.cpu.gpr(4), 0xffff_8880_0000_1230n);
  assert.equal(machine.cpu.get(STATE.rip), 0xffff_ffff_8100_0000n);
  assert.deepEqual([machine.modeRefreshes, machine.flagRefreshes], [0, 1]);
});

test('IRETQ returns to a null SS below level 3', () => {
  const machine = longFrame(SELECTOR.code64, 0);
  iret(machine, 8);
  assert.equal(machine.cpu.selector(SEGMENT.SS), 0);
  assert.equal(machine.modeRefreshes, 1);
});

test("an interrupt and its IRETQ are each other's inverse", () => {
  const machine = longMachine(3);
  const { cpu } = machine;
  cpu.eflags = 0x2_0cd7 & ~0x2_0000;
  cpu.setGpr(4, 0x8123n);
  machine.setGate(0x40, gate(SELECTOR.code64, 0x1000, 0x8e), 0n);
  const before = [cpu.eflags, cpu.gpr(4), cpu.segment(SEGMENT.CS), cpu.segment(SEGMENT.SS)];
  deliver(machine, 0x40, NO_ERROR_CODE, 'hardware', RIP);
  iret(machine, 8);
  assert.deepEqual([cpu.eflags, cpu.gpr(4), cpu.segment(SEGMENT.CS), cpu.segment(SEGMENT.SS)], before);
  assert.equal(cpu.get(STATE.rip), RIP);
});

const refusedLong: [string, () => TestMachine, number, number][] = [
  ['CS null', () => longFrame(0, 0), GP, 0],
  ['CS beyond the table', () => longFrame(0x103, 0), GP, 0x100],
  ['CS data', () => longFrame(SELECTOR.userData | 3, 0), GP, SELECTOR.userData],
  ['CS with an RPL unlike its DPL', () => longFrame(SELECTOR.code64 | 3, 0), GP, SELECTOR.code64],
  ['SS null at level 3', () => longFrame(SELECTOR.userCode64 | 3, 0), GP, 0],
  ['SS null for compatibility code', () => longFrame(SELECTOR.code32, 0), GP, 0],
  ['SS of another level', () => longFrame(SELECTOR.userCode64 | 3, SELECTOR.data), GP, SELECTOR.data],
  ['SS read-only', () => longFrame(SELECTOR.userCode64 | 3, SELECTOR.readOnly | 3), GP, SELECTOR.readOnly],
  ['SS not present', () => longFrame(SELECTOR.code64, SELECTOR.absent), SS, SELECTOR.absent],
  ['RIP not canonical', () => longFrame(SELECTOR.userCode64 | 3, SELECTOR.userData | 3, 2, 1n << 47n), GP, 0],
];
for (const [name, make, vector, errorCode] of refusedLong) {
  test(`IRETQ refuses ${name}`, () => {
    const machine = make();
    assertFault(machine, vector, errorCode, () => iret(machine, 8));
  });
}

test('IRET with NT set in IA-32e mode is #GP', () => {
  const machine = longFrame(SELECTOR.code64, SELECTOR.data);
  machine.cpu.eflags = 0x4002;
  assertFault(machine, GP, 0, () => iret(machine, 8));
});

test('a return to an outer level drops inner data segments and keeps the base of a null FS', () => {
  const machine = longFrame(SELECTOR.userCode64 | 3, SELECTOR.userData | 3);
  const { cpu } = machine;
  cpu.setSegment(SEGMENT.DS, { selector: SELECTOR.data, base: 0n, limit: 0xffff_ffff, attributes: 0xc093 });
  cpu.setSegment(SEGMENT.FS, { selector: 0, base: 0x7000n, limit: 0, attributes: 0x10000 });
  iret(machine, 8);
  assert.deepEqual([cpu.selector(SEGMENT.DS), cpu.attributes(SEGMENT.DS)], [0, 0x10000]);
  assert.equal(cpu.get(STATE.fsBase), 0x7000n);
  assert.equal(cpu.selector(SEGMENT.ES), SELECTOR.userData | 3);
});

test("a user's IRETQ changes neither IOPL nor IF", () => {
  const machine = longMachine(3);
  machine.cpu.eflags = 0x202;
  machine.fillStack(8, [0x1000, SELECTOR.userCode64 | 3, 0x3cd7, STACK, SELECTOR.userData | 3]);
  iret(machine, 8);
  assert.equal(machine.cpu.eflags, 0xed7);
});

test('RF comes back while a breakpoint is armed', () => {
  const machine = longFrame(SELECTOR.code64, SELECTOR.data, 0x1_0002);
  iret(machine, 8);
  assert.equal(machine.cpu.eflags, 2);
  const armed = longFrame(SELECTOR.code64, SELECTOR.data, 0x1_0002);
  armed.cpu.set(STATE.dr7, 0x401n);
  iret(armed, 8);
  assert.equal(armed.cpu.eflags, 0x1_0002);
});

test('IRETD in compatibility mode at the same level leaves SS alone', () => {
  const machine = longMachine(3, true);
  machine.fillStack(4, [0x1000, SELECTOR.userCode32 | 3, 0x206, 0xdead, 0xbeef]);
  iret(machine, 4);
  assert.equal(machine.cpu.gpr(4), BigInt(STACK + 12));
  assert.equal(machine.cpu.selector(SEGMENT.SS), SELECTOR.userData | 3);
});

test('IRETD to an outer level in protected mode pops SS:ESP', () => {
  const machine = protectedMachine(0);
  machine.fillStack(4, [0x1000, SELECTOR.userCode32 | 3, 0x3206, 0xa000, SELECTOR.userData | 3]);
  iret(machine, 4);
  const { cpu } = machine;
  assert.deepEqual([cpu.gpr(4), cpu.get(STATE.rip), cpu.get32(STATE.cpl), cpu.eflags], [0xa000n, 0x1000n, 3, 0x3206]);
});

test('IRETD refuses code that is not there and a target beyond its limit', () => {
  const machine = protectedMachine(0);
  machine.setGdt(SELECTOR.code16, 0x0000_1b00_0000_ffffn);
  machine.fillStack(4, [0, SELECTOR.code16, 2]);
  assertFault(machine, NP, SELECTOR.code16, () => iret(machine, 4));
  machine.setGdt(SELECTOR.code16, 0x0000_9b00_0000_ffffn);
  machine.fillStack(4, [0x1_0000, SELECTOR.code16, 2]);
  assertFault(machine, GP, 0, () => iret(machine, 4));
});

test('a return to a 16-bit stack writes SP alone', () => {
  const machine = protectedMachine(0);
  machine.setGdt(SELECTOR.data16, 0x0000_f300_0000_ffffn);
  machine.cpu.setGpr(4, 0x1_8000n);
  machine.fillStack(4, [0x1000, SELECTOR.userCode32 | 3, 2, 0xdead_4444, SELECTOR.data16 | 3]);
  iret(machine, 4);
  assert.equal(machine.cpu.gpr(4), 0x1_4444n);
});

test('IRETD with VM in the image enters virtual-8086 mode', () => {
  const machine = protectedMachine(0);
  const { cpu } = machine;
  machine.fillStack(4, [0x5678, 0x1234, 0x2_3202, 0xfffe, 0x2000, 0x100, 0x200, 0x300, 0x400]);
  iret(machine, 4);
  assert.deepEqual([cpu.get(STATE.rip), cpu.gpr(4), cpu.get32(STATE.cpl), cpu.eflags], [0x5678n, 0xfffen, 3, 0x2_3202]);
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5].map((index) => cpu.segment(index).base),
    [0x1000n, 0x12340n, 0x20000n, 0x2000n, 0x3000n, 0x4000n],
  );
  assert.deepEqual(cpu.segment(SEGMENT.CS), { selector: 0x1234, base: 0x12340n, limit: 0xffff, attributes: 0xf3 });
});

test('IRET in virtual-8086 mode wants IOPL 3 and keeps it', () => {
  const refused = vm86Machine(2);
  assertFault(refused, GP, 0, () => iret(refused, 2));
  const machine = vm86Machine(3);
  const { cpu, memory } = machine;
  const base = cpu.segment(SEGMENT.SS).base;
  memory.write(base + 0x1000n, 4, 0x2222_1111n, false);
  memory.write(base + 0x1004n, 2, 0x0002n, false);
  iret(machine, 2);
  assert.deepEqual([cpu.get(STATE.rip), cpu.segment(SEGMENT.CS).base, cpu.gpr(4)], [0x1111n, 0x22220n, 0x1006n]);
  assert.equal(cpu.eflags, 0x2_3002);
});

test('IRET in real mode pops IP, CS and FLAGS', () => {
  const machine = realMachine();
  machine.fillStack(2, [0x5678, 0x1234, 0x7202]);
  iret(machine, 2);
  const { cpu } = machine;
  assert.deepEqual([cpu.get(STATE.rip), cpu.segment(SEGMENT.CS).base, cpu.eflags], [0x5678n, 0x12340n, 0x7202]);
  assert.equal(cpu.gpr(4), BigInt(STACK + 6));
});
