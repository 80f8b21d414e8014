import assert from 'node:assert/strict';
import { test } from 'node:test';
import { enter, popa, pusha } from './stack-frame.ts';
import {
  assertFault,
  longMachine,
  protectedMachine,
  realMachine,
  STACK,
  type TestMachine,
} from './transfers.test-data.ts';

const [SS, PF] = [12, 14];
const RBP = 5;

function withRegisters(machine: TestMachine): TestMachine {
  for (let i = 0; i < 8; i++) if (i !== 4) machine.cpu.setGpr(i, 0x1111_1111n * BigInt(i + 1));
  return machine;
}

test('PUSHAD pushes ESP as it was, and POPAD skips it', () => {
  const machine = withRegisters(protectedMachine());
  const { cpu } = machine;
  pusha(machine, 4);
  assert.equal(cpu.gpr(4), BigInt(STACK - 32));
  assert.deepEqual(
    machine.stack(4, 8),
    [7, 6, 5, 4, 3, 2, 1, 0].map((i) => (i === 4 ? BigInt(STACK) : 0x1111_1111n * BigInt(i + 1))),
  );
  machine.memory.write(BigInt(STACK - 32 + 12), 4, 0xdeadn, false);
  for (let i = 0; i < 8; i++) if (i !== 4) cpu.setGpr(i, 0n);
  popa(machine, 4);
  assert.deepEqual([cpu.gpr(0), cpu.gpr(7), cpu.gpr(4)], [0x1111_1111n, 0x8888_8888n, BigInt(STACK)]);
});

test('POPA of words keeps the upper halves', () => {
  const machine = withRegisters(realMachine());
  machine.fillStack(2, [1, 2, 3, 4, 5, 6, 7, 8]);
  popa(machine, 2);
  assert.deepEqual([machine.cpu.gpr(7), machine.cpu.gpr(0)], [0x8888_0001n, 0x1111_0008n]);
  assert.equal(machine.cpu.gpr(4), BigInt(STACK + 16));
});

test('PUSHA wraps at the end of a 16-bit stack', () => {
  const machine = withRegisters(realMachine());
  machine.cpu.setGpr(4, 0x5_0008n);
  pusha(machine, 2);
  assert.equal(machine.cpu.gpr(4), 0x5_fff8n);
  assert.equal(machine.memory.read(0xfff8n, 2, false), 0x8888n);
});

test('PUSHA writes nothing when a page on its way cannot be written', () => {
  const machine = withRegisters(protectedMachine());
  machine.cpu.setGpr(4, BigInt(STACK + 8));
  machine.memory.readOnlyPages.add(7);
  const { writes } = machine.memory;
  assertFault(machine, PF, 2, () => pusha(machine, 4));
  assert.equal(machine.memory.writes, writes);
});

test('ENTER of level 0 makes a frame', () => {
  const machine = withRegisters(longMachine());
  enter(machine, 8, 0, 0x20);
  assert.equal(machine.stack(8, 1, BigInt(STACK - 8))[0], 0x6666_6666n);
  assert.deepEqual([machine.cpu.gpr(RBP), machine.cpu.gpr(4)], [BigInt(STACK - 8), BigInt(STACK - 0x28)]);
});

test('ENTER of level 3 copies the outer frame pointers and adds its own', () => {
  const machine = protectedMachine();
  machine.cpu.setGpr(RBP, 0xa000n);
  machine.memory.write(0xa000n - 4n, 4, 0x1111n, false);
  machine.memory.write(0xa000n - 8n, 4, 0x2222n, false);
  enter(machine, 4, 3, 0);
  assert.deepEqual(machine.stack(4, 4), [BigInt(STACK - 4), 0x2222n, 0x1111n, 0xa000n]);
  assert.equal(machine.cpu.gpr(RBP), BigInt(STACK - 4));
});

test('ENTER reads what it has itself pushed when the frames overlap', () => {
  const machine = longMachine();
  machine.cpu.setGpr(RBP, BigInt(STACK));
  enter(machine, 8, 2, 0);
  assert.deepEqual(machine.stack(8, 3), [BigInt(STACK - 8), BigInt(STACK), BigInt(STACK)]);
});

test('ENTER of words keeps the upper part of EBP', () => {
  const machine = realMachine();
  machine.cpu.setGpr(RBP, 0x1_2345n);
  enter(machine, 2, 0, 2);
  assert.deepEqual([machine.cpu.gpr(RBP), machine.cpu.gpr(4)], [0x1_7ffen, 0x7ffcn]);
});

test('ENTER faults before it changes anything when the new frame cannot be written', () => {
  const machine = protectedMachine();
  machine.memory.readOnlyPages.add(6);
  const { writes } = machine.memory;
  assertFault(machine, PF, 2, () => enter(machine, 4, 0, 0x1800));
  machine.cpu.setSegment(2, { selector: 0x10, base: 0n, limit: 0x7000, attributes: 0x4093 });
  assertFault(machine, SS, 0, () => enter(machine, 4, 0, 0));
  assert.equal(machine.memory.writes, writes);
});
