import assert from 'node:assert/strict';
import { test } from 'node:test';
import { STATE } from '../../ir/guest-state.ts';
import { deliver, deliverEvent, NO_ERROR_CODE, softwareInterrupt } from './interrupt-delivery.ts';
import { SEGMENT } from './transfer-context.ts';
import {
  assertFault,
  gate,
  IDT,
  longMachine,
  NEXT_RIP,
  protectedMachine,
  RIP,
  realMachine,
  SELECTOR,
  STACK,
  STACK_IST1,
  STACK_RING0,
  type TestMachine,
  vm86Machine,
} from './transfers.test-data.ts';

const [TS, NP, SS, GP, PF, DF] = [10, 11, 12, 13, 14, 8];
const HANDLER = 0x12_5678;
const HIGH = 0xffff_8000n;
const HIGH_HANDLER = (HIGH << 32n) | BigInt(HANDLER);
const [INTERRUPT, TRAP, TASK] = [0x8e, 0x8f, 0x85];
const USER = 0x60;

function longWithGate(cpl: number, access = INTERRUPT, ist = 0, compatibility = false): TestMachine {
  const machine = longMachine(cpl, compatibility);
  machine.setGate(0x40, gate(SELECTOR.code64, HANDLER, access, ist), HIGH);
  return machine;
}

test('an interrupt of 64-bit user code switches to RSP0 and a null SS', () => {
  const machine = longWithGate(3);
  const { cpu } = machine;
  cpu.setGpr(4, 0x8001n);
  deliver(machine, 0x40, NO_ERROR_CODE, 'hardware', RIP);
  assert.equal(cpu.get(STATE.rip), HIGH_HANDLER);
  assert.equal(cpu.gpr(4), BigInt(STACK_RING0 - 40));
  assert.deepEqual(machine.stack(8, 5), [RIP, 0x33n, 0x202n, 0x8001n, 0x23n]);
  assert.equal(cpu.get32(STATE.cpl), 0);
  assert.deepEqual([cpu.selector(SEGMENT.CS), cpu.selector(SEGMENT.SS)], [SELECTOR.code64, 0]);
  assert.equal(cpu.attributes(SEGMENT.SS), 0x10000);
  assert.equal(cpu.eflags, 2);
  assert.equal(machine.modeRefreshes, 1);
  assert.ok(
    machine.memory.userAccesses.slice(-5).every((user) => !user),
    "the new stack is the supervisor's",
  );
});

test('an interrupt at the same level aligns the stack to 16 bytes and keeps SS', () => {
  const machine = longWithGate(0);
  const { cpu } = machine;
  cpu.setGpr(4, BigInt(STACK + 9));
  deliver(machine, 0x40, NO_ERROR_CODE, 'hardware', RIP);
  assert.equal(cpu.gpr(4), BigInt(STACK - 40));
  assert.deepEqual(machine.stack(8, 5), [RIP, 0x28n, 0x202n, BigInt(STACK + 9), 0x10n]);
  assert.equal(cpu.selector(SEGMENT.SS), SELECTOR.data);
  assert.deepEqual([machine.modeRefreshes, machine.flagRefreshes], [0, 1]);
});

test('a gate with an IST switches stacks at the same level too', () => {
  const machine = longWithGate(0, INTERRUPT, 1);
  deliver(machine, 0x40, NO_ERROR_CODE, 'hardware', RIP);
  assert.equal(machine.cpu.gpr(4), BigInt(STACK_IST1 - 40));
  assert.equal(machine.cpu.selector(SEGMENT.SS), SELECTOR.data);
});

test('an interrupt of compatibility code saves its code and stack segments', () => {
  const machine = longWithGate(3, INTERRUPT, 0, true);
  deliver(machine, 0x40, NO_ERROR_CODE, 'hardware', RIP);
  assert.deepEqual(machine.stack(8, 5), [RIP, 0x1bn, 0x202n, BigInt(STACK), 0x23n]);
  assert.equal(machine.cpu.attributes(SEGMENT.CS), 0xa09b);
});

test('a fault pushes its error code below the frame and RF in the flags image', () => {
  const machine = longMachine(3);
  machine.setGate(PF, gate(SELECTOR.code64, HANDLER, TRAP), HIGH);
  machine.cpu.eflags = 0x5346;
  deliver(machine, PF, 6, 'exception', RIP);
  assert.deepEqual(machine.stack(8, 3), [6n, RIP, 0x33n]);
  assert.equal(machine.stack(8, 4)[3], 0x1_5346n);
  assert.equal(machine.cpu.eflags, 0x1246, 'a trap gate keeps IF and clears TF and NT');
});

const refusedLong: [string, (machine: TestMachine) => void, number, number][] = [
  ['beyond the IDT', (m) => m.cpu.set32(STATE.idtrLimit, 0x40f - 1), GP, 0x203],
  ['of a type unknown to IA-32e mode', (m) => m.setGate(0x40, gate(SELECTOR.code64, HANDLER, 0x86), HIGH), GP, 0x203],
  ['that is a task gate', (m) => m.setGate(0x40, gate(SELECTOR.tss, 0, TASK), HIGH), GP, 0x203],
  ['not present', (m) => m.setGate(0x40, gate(SELECTOR.code64, HANDLER, 0x0e), HIGH), NP, 0x203],
  ['with a null selector', (m) => m.setGate(0x40, gate(0, HANDLER, INTERRUPT), HIGH), GP, 1],
  ['to a selector beyond the GDT', (m) => m.setGate(0x40, gate(0x100, HANDLER, INTERRUPT), HIGH), GP, 0x101],
  ['to data', (m) => m.setGate(0x40, gate(SELECTOR.data, HANDLER, INTERRUPT), HIGH), GP, SELECTOR.data | 1],
  ['to 32-bit code', (m) => m.setGate(0x40, gate(SELECTOR.code32, HANDLER, INTERRUPT), HIGH), GP, 9],
  ['that is not canonical', (m) => m.setGate(0x40, gate(SELECTOR.code64, HANDLER, INTERRUPT), 0x8000n), GP, 1],
  [
    'and a TSS too short',
    (m) => m.cpu.setSegment(7, { selector: 0x40, base: 0n, limit: 3, attributes: 0x8b }),
    TS,
    0x41,
  ],
  ['and RSP0 not canonical', (m) => m.memory.write(0x4004n, 8, 1n << 60n, false), SS, 1],
  ['and a stack that cannot be written', (m) => m.memory.readOnlyPages.add(8), PF, 2],
];
for (const [name, prepare, vector, errorCode] of refusedLong) {
  test(`delivery in IA-32e mode fails through a gate ${name}`, () => {
    const machine = longWithGate(3);
    prepare(machine);
    assertFault(machine, vector, errorCode, () => deliver(machine, 0x40, NO_ERROR_CODE, 'hardware', RIP));
  });
}

test('INT n needs a gate of its level and returns after the instruction', () => {
  const machine = longWithGate(3);
  assertFault(machine, GP, 0x202, () => softwareInterrupt(machine, 0x40, 0));
  machine.setGate(0x40, gate(SELECTOR.code64, HANDLER, INTERRUPT | USER), HIGH);
  softwareInterrupt(machine, 0x40, 0);
  assert.equal(machine.stack(8, 1)[0], NEXT_RIP);
});

test('INT3 needs a gate of its level, INT1 does not', () => {
  const machine = longMachine(3);
  machine.setGate(3, gate(SELECTOR.code64, HANDLER, INTERRUPT), HIGH);
  machine.setGate(1, gate(SELECTOR.code64, HANDLER, INTERRUPT), HIGH);
  assertFault(machine, GP, 0x1a, () => softwareInterrupt(machine, 3, 1));
  softwareInterrupt(machine, 1, 2);
  assert.equal(machine.cpu.get(STATE.rip), HIGH_HANDLER);
});

test('a 32-bit interrupt gate to the inner level pushes SS:ESP of the outer', () => {
  const machine = protectedMachine(3);
  const { cpu } = machine;
  machine.setGate(PF, gate(SELECTOR.code32, HANDLER, INTERRUPT));
  deliver(machine, PF, 7, 'exception', RIP);
  assert.deepEqual(machine.stack(4, 6), [7n, RIP, 0x1bn, 0x1_0202n, BigInt(STACK), 0x23n]);
  assert.equal(cpu.gpr(4), BigInt(STACK_RING0 - 24));
  assert.deepEqual([cpu.selector(SEGMENT.CS), cpu.selector(SEGMENT.SS)], [SELECTOR.code32, SELECTOR.data]);
  assert.equal(cpu.get(STATE.rip), BigInt(HANDLER));
  assert.equal(cpu.get32(STATE.cpl), 0);
});

test('a 16-bit trap gate at the same level pushes words and keeps IF', () => {
  const machine = protectedMachine(0);
  machine.setGate(0x40, gate(SELECTOR.code32, 0x9_5678, 0x87));
  deliver(machine, 0x40, NO_ERROR_CODE, 'hardware', RIP);
  assert.deepEqual(machine.stack(2, 3), [RIP, 8n, 0x202n]);
  assert.equal(machine.cpu.gpr(4), BigInt(STACK - 6));
  assert.equal(machine.cpu.get(STATE.rip), 0x5678n);
  assert.equal(machine.cpu.eflags, 0x202);
});

test('a conforming handler runs at the level it interrupts', () => {
  const machine = protectedMachine(3);
  machine.setGate(0x40, gate(SELECTOR.conforming, HANDLER, INTERRUPT));
  deliver(machine, 0x40, NO_ERROR_CODE, 'hardware', RIP);
  assert.equal(machine.cpu.selector(SEGMENT.CS), SELECTOR.conforming | 3);
  assert.equal(machine.cpu.get32(STATE.cpl), 3);
  assert.deepEqual(machine.stack(4, 3), [RIP, 0x1bn, 0x202n]);
});

const badInnerStacks: [string, number, number, number][] = [
  ['null', 0, TS, 1],
  ['with another RPL', SELECTOR.data | 3, TS, SELECTOR.data | 1],
  ['not writable', SELECTOR.code32, TS, SELECTOR.code32 | 1],
  ['not present', SELECTOR.absent, SS, SELECTOR.absent | 1],
];
for (const [name, selector, vector, errorCode] of badInnerStacks) {
  test(`an inner stack segment ${name} stops delivery`, () => {
    const machine = protectedMachine(3);
    machine.setGate(0x40, gate(SELECTOR.code32, HANDLER, INTERRUPT));
    machine.memory.write(0x4008n, 2, BigInt(selector), false);
    assertFault(machine, vector, errorCode, () => deliver(machine, 0x40, NO_ERROR_CODE, 'hardware', RIP));
  });
}

test('a stack too small for the frame raises #SS', () => {
  const machine = protectedMachine(0);
  machine.setGate(0x40, gate(SELECTOR.code32, HANDLER, INTERRUPT));
  machine.cpu.setSegment(SEGMENT.SS, { selector: 0x10, base: 0n, limit: STACK - 5, attributes: 0x4093 });
  assertFault(machine, SS, 1, () => deliver(machine, 0x40, NO_ERROR_CODE, 'hardware', RIP));
});

test('an interrupt leaves virtual-8086 mode, saving and clearing the data segments', () => {
  const machine = vm86Machine(0);
  const { cpu } = machine;
  machine.setGate(0x40, gate(SELECTOR.code32, HANDLER, INTERRUPT));
  const selectors = [5, 4, 3, 0, 2].map((index) => BigInt(cpu.selector(index)));
  deliver(machine, 0x40, NO_ERROR_CODE, 'hardware', RIP);
  const [gs, fs, ds, es, ss] = selectors;
  assert.deepEqual(machine.stack(4, 9), [RIP, 0x6f0n, 0x2_0202n, 0x1000n, ss, es, ds, fs, gs]);
  assert.equal(cpu.eflags, 2);
  for (const index of [0, 3, 4, 5]) assert.equal(cpu.attributes(index), 0x10000);
});

test('INT n in virtual-8086 mode wants IOPL 3', () => {
  const machine = vm86Machine(2);
  machine.setGate(0x40, gate(SELECTOR.code32, HANDLER, INTERRUPT | USER));
  assertFault(machine, GP, 0, () => softwareInterrupt(machine, 0x40, 0));
  const allowed = vm86Machine(3);
  allowed.setGate(0x40, gate(SELECTOR.code32, HANDLER, INTERRUPT | USER));
  softwareInterrupt(allowed, 0x40, 0);
  assert.equal(allowed.cpu.get32(STATE.cpl), 0);
});

test('a virtual-8086 handler must be at level 0', () => {
  const machine = vm86Machine(3);
  machine.setGate(0x40, gate(SELECTOR.conforming, HANDLER, INTERRUPT));
  assertFault(machine, GP, SELECTOR.conforming | 1, () => deliver(machine, 0x40, NO_ERROR_CODE, 'hardware', RIP));
});

test('real mode pushes FLAGS, CS, IP and goes through the vector table', () => {
  const machine = realMachine();
  const { cpu } = machine;
  machine.memory.write(0x40n * 4n, 4, 0x1234_5678n, false);
  cpu.eflags = 0x4_0302;
  cpu.setSegment(SEGMENT.CS, { selector: 0xf000, base: 0xf0000n, limit: 0xffff, attributes: 0x9b });
  deliver(machine, 0x40, NO_ERROR_CODE, 'software', 0xfff0n);
  assert.deepEqual(machine.stack(2, 3), [0xfff0n, 0xf000n, 0x302n]);
  assert.equal(cpu.segment(SEGMENT.CS).base, 0x12340n);
  assert.equal(cpu.get(STATE.rip), 0x5678n);
  assert.equal(cpu.eflags, 2);
});

test('a fault while a page fault is delivered becomes a double fault', () => {
  const machine = longMachine(3);
  machine.setGate(DF, gate(SELECTOR.code64, HANDLER, INTERRUPT, 1), HIGH);
  const outcome = deliverEvent(machine, { vector: PF, errorCode: 4, kind: 'exception' }, RIP);
  assert.equal(outcome, 'delivered');
  assert.deepEqual(machine.stack(8, 2, machine.cpu.gpr(4)), [0n, RIP]);
  assert.equal(machine.cpu.gpr(4), BigInt(STACK_IST1 - 48));
});

test('a fault while an interrupt is delivered is delivered in its place', () => {
  const machine = longMachine(3);
  machine.setGate(GP, gate(SELECTOR.code64, HANDLER, INTERRUPT), HIGH);
  assert.equal(deliverEvent(machine, { vector: 0x80, errorCode: undefined, kind: 'hardware' }, RIP), 'delivered');
  assert.equal(machine.stack(8, 1)[0], 0x403n);
});

test('a benign exception that faults gives way to the fault', () => {
  const machine = longMachine(3);
  machine.setGate(GP, gate(SELECTOR.code64, HANDLER, INTERRUPT), HIGH);
  assert.equal(deliverEvent(machine, { vector: 6, errorCode: undefined, kind: 'exception' }, RIP), 'delivered');
  assert.equal(machine.stack(8, 1)[0], 0x33n);
});

test('an empty IDT shuts the processor down', () => {
  for (const machine of [longMachine(0), protectedMachine(3), realMachine()]) {
    machine.cpu.set32(STATE.idtrLimit, 0);
    assert.equal(deliverEvent(machine, { vector: 3, errorCode: undefined, kind: 'exception' }, RIP), 'shutdown');
  }
});

test('a fault that is no guest fault is passed on', () => {
  const machine = longMachine(0);
  machine.memory.read = () => {
    throw new RangeError(`no memory at ${IDT}`);
  };
  assert.throws(() => deliverEvent(machine, { vector: 3, errorCode: undefined, kind: 'exception' }, RIP), RangeError);
});
