import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkPushf, cli, sti, writeFlags } from './flags-control.ts';
import { assertFault, protectedMachine, realMachine, type TestMachine, vm86Machine } from './transfers.test-data.ts';

const GP = 13;
const ALL = 0xffff_ffffn;

function at(cpl: number, eflags: number): TestMachine {
  const machine = protectedMachine(cpl);
  machine.cpu.eflags = eflags;
  return machine;
}

const cases: [string, () => TestMachine, bigint, number, number][] = [
  ['at CPL 0 sets all but RF, VM and the virtual flags', () => at(0, 2), ALL, 4, 0x24_7fd7],
  ['at CPL 0 clears all', () => at(0, 0x24_7fd7), 0n, 4, 2],
  ['at CPL 3 keeps IOPL and IF', () => at(3, 0x202), 0x3000n, 4, 0x202],
  ['at CPL 3 with IOPL 3 changes IF and keeps IOPL', () => at(3, 0x3202), 0n, 4, 0x3002],
  ['of 16 bits keeps AC and ID', () => at(0, 0x24_0002), 0xffffn, 2, 0x24_7fd7],
  ['clears RF', () => at(0, 0x1_0002), 0n, 4, 2],
  ['in virtual-8086 mode with IOPL 3 keeps VM and IOPL', () => vm86Machine(3), 0x0n, 4, 0x2_3002],
  ['in real mode changes IOPL and IF', realMachine, 0x3000n, 2, 0x3002],
];
for (const [name, make, value, operandBytes, expected] of cases) {
  test(`POPF ${name}`, () => {
    const machine = make();
    writeFlags(machine, value, operandBytes);
    assert.equal(machine.cpu.eflags, expected);
    assert.equal(machine.flagRefreshes, 1);
  });
}

test('POPF and PUSHF in virtual-8086 mode want IOPL 3', () => {
  const machine = vm86Machine(2);
  assertFault(machine, GP, 0, () => writeFlags(machine, 0n, 2));
  assertFault(machine, GP, 0, () => checkPushf(machine));
  checkPushf(vm86Machine(3));
});

test('CLI and STI want CPL at most IOPL', () => {
  for (const machine of [at(3, 0x2202), vm86Machine(2)]) {
    assertFault(machine, GP, 0, () => cli(machine));
    assertFault(machine, GP, 0, () => sti(machine));
  }
  for (const machine of [at(3, 0x3202), at(0, 0x202), vm86Machine(3), realMachine()]) {
    cli(machine);
    assert.equal(machine.cpu.eflags & 0x200, 0);
    assert.equal(sti(machine), true, 'interrupts were off');
    assert.equal(sti(machine), false);
    assert.equal(machine.cpu.eflags & 0x200, 0x200);
  }
});
