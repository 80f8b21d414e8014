import assert from 'node:assert/strict';
import { test } from 'node:test';
import { STATE } from '../../ir/guest-state.ts';
import { syscall, sysenter, sysexit, sysret } from './system-call.ts';
import { SEGMENT } from './transfer-context.ts';
import {
  assertFault,
  longMachine,
  NEXT_RIP,
  protectedMachine,
  realMachine,
  STACK,
  type TestMachine,
} from './transfers.test-data.ts';

const [UD, GP] = [6, 13];
const ENTRY = 0xffff_ffff_8100_0000n;

function withStar(machine: TestMachine): TestMachine {
  machine.cpu.set(STATE.star, 0x0023_0010_0000_0000n);
  machine.cpu.set(STATE.lstar, ENTRY);
  machine.cpu.set(STATE.sfmask, 0x4_7700n);
  return machine;
}

const segments = (machine: TestMachine): number[] => [
  machine.cpu.selector(SEGMENT.CS),
  machine.cpu.selector(SEGMENT.SS),
  machine.cpu.attributes(SEGMENT.CS),
  machine.cpu.attributes(SEGMENT.SS),
];

test('SYSCALL saves RIP and RFLAGS, masks the flags and enters the kernel', () => {
  const machine = withStar(longMachine(3));
  const { cpu } = machine;
  cpu.eflags = 0x1_0ad7;
  syscall(machine);
  assert.deepEqual([cpu.gpr(1), cpu.gpr(11), cpu.get(STATE.rip)], [NEXT_RIP, 0xad7n, ENTRY]);
  assert.equal(cpu.eflags, 0x8d7);
  assert.equal(cpu.get32(STATE.cpl), 0);
  assert.deepEqual(segments(machine), [0x10, 0x18, 0xa09b, 0xc093]);
  assert.equal(cpu.gpr(4), BigInt(STACK), "RSP is the kernel's affair");
});

test('SYSCALL is undefined without EFER.SCE and in compatibility mode', () => {
  const machine = withStar(longMachine(3));
  machine.cpu.set(STATE.efer, 0x500n);
  assertFault(machine, UD, undefined, () => syscall(machine));
  const compatible = withStar(longMachine(3, true));
  assertFault(compatible, UD, undefined, () => syscall(compatible));
});

test('SYSRET returns to 64-bit code with the flags of R11', () => {
  const machine = withStar(longMachine(0));
  const { cpu } = machine;
  cpu.setGpr(1, 0x7fff_0000_1000n);
  cpu.setGpr(11, 0xffff_ffffn);
  sysret(machine, 8);
  assert.deepEqual([cpu.get(STATE.rip), cpu.eflags, cpu.get32(STATE.cpl)], [0x7fff_0000_1000n, 0x3c_7fd7, 3]);
  assert.deepEqual(segments(machine), [0x33, 0x2b, 0xa0fb, 0xc0f3]);
});

test('SYSRET of 32-bit operands returns to compatibility code', () => {
  const machine = withStar(longMachine(0));
  machine.cpu.setGpr(1, 0xffff_ffff_0804_8000n);
  machine.cpu.setGpr(11, 0x202n);
  sysret(machine, 4);
  assert.equal(machine.cpu.get(STATE.rip), 0x0804_8000n);
  assert.deepEqual(segments(machine), [0x23, 0x2b, 0xc0fb, 0xc0f3]);
});

test('SYSRET wants CPL 0 and a canonical RCX', () => {
  const user = withStar(longMachine(3));
  assertFault(user, GP, 0, () => sysret(user, 8));
  const machine = withStar(longMachine(0));
  machine.cpu.setGpr(1, 1n << 47n);
  assertFault(machine, GP, 0, () => sysret(machine, 8));
});

function withSysenter(machine: TestMachine): TestMachine {
  machine.cpu.set(STATE.sysenterCs, 0x13n);
  machine.cpu.set(STATE.sysenterEsp, 0xffff_8000_0000_9000n);
  machine.cpu.set(STATE.sysenterEip, ENTRY);
  return machine;
}

test('SYSENTER from compatibility code enters the 64-bit kernel with interrupts off', () => {
  const machine = withSysenter(longMachine(3, true));
  const { cpu } = machine;
  sysenter(machine);
  assert.deepEqual([cpu.get(STATE.rip), cpu.gpr(4)], [ENTRY, 0xffff_8000_0000_9000n]);
  assert.deepEqual(segments(machine), [0x10, 0x18, 0xa09b, 0xc093]);
  assert.equal(cpu.eflags, 2);
});

test('SYSENTER in legacy mode loads 32 bits', () => {
  const machine = withSysenter(protectedMachine(3));
  sysenter(machine);
  assert.deepEqual([machine.cpu.get(STATE.rip), machine.cpu.gpr(4)], [0x8100_0000n, 0x9000n]);
  assert.equal(machine.cpu.attributes(SEGMENT.CS), 0xc09b);
});

test('SYSENTER wants protected mode and a code selector', () => {
  const real = withSysenter(realMachine());
  assertFault(real, GP, 0, () => sysenter(real));
  const machine = withSysenter(protectedMachine(3));
  machine.cpu.set(STATE.sysenterCs, 3n);
  assertFault(machine, GP, 0, () => sysenter(machine));
});

test('SYSEXIT returns to the level 3 segments above IA32_SYSENTER_CS', () => {
  const machine = withSysenter(longMachine(0));
  machine.cpu.setGpr(1, 0x1_0000_7000n);
  machine.cpu.setGpr(2, 0x1_0000_1000n);
  sysexit(machine, 4);
  assert.deepEqual([machine.cpu.get(STATE.rip), machine.cpu.gpr(4)], [0x1000n, 0x7000n]);
  assert.deepEqual(segments(machine), [0x23, 0x2b, 0xc0fb, 0xc0f3]);
  const long = withSysenter(longMachine(0));
  long.cpu.setGpr(1, 0x1_0000_7000n);
  long.cpu.setGpr(2, 0x1_0000_1000n);
  sysexit(long, 8);
  assert.deepEqual([long.cpu.get(STATE.rip), long.cpu.gpr(4)], [0x1_0000_1000n, 0x1_0000_7000n]);
  assert.deepEqual(segments(long), [0x33, 0x3b, 0xa0fb, 0xc0f3]);
});

test('SYSEXIT wants CPL 0 and canonical addresses', () => {
  const user = withSysenter(longMachine(3));
  assertFault(user, GP, 0, () => sysexit(user, 8));
  const machine = withSysenter(longMachine(0));
  machine.cpu.setGpr(2, 1n << 63n);
  assertFault(machine, GP, 0, () => sysexit(machine, 8));
});
