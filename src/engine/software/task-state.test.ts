import { test } from 'node:test';
import { checkIoPermission } from './task-state.ts';
import { SEGMENT } from './transfer-context.ts';
import {
  assertFault,
  longMachine,
  protectedMachine,
  realMachine,
  SELECTOR,
  type TestMachine,
  TSS,
  vm86Machine,
} from './transfers.test-data.ts';

const GP = 13;

/** A bitmap at 0x68 that allows ports 0x70 to 0x73 alone, with room for ports up to 0x7f. */
function withBitmap(machine: TestMachine, limit = 0x68 + 16): TestMachine {
  machine.cpu.setSegment(SEGMENT.TR, { selector: SELECTOR.tss, base: BigInt(TSS), limit, attributes: 0x8b });
  machine.memory.write(BigInt(TSS + 0x66), 2, 0x68n, false);
  for (let i = 0; i <= 16; i++) machine.memory.write(BigInt(TSS + 0x68 + i), 1, i === 14 ? 0xf0n : 0xffn, false);
  return machine;
}

test('ports are free in real mode and with CPL at most IOPL', () => {
  checkIoPermission(realMachine(), 0xcf8, 4);
  checkIoPermission(longMachine(0), 0xcf8, 4);
  const machine = longMachine(3);
  machine.cpu.eflags = 0x3002;
  checkIoPermission(machine, 0xcf8, 4);
});

for (const [name, make] of [
  ['protected mode', () => protectedMachine(3)],
  ['64-bit mode', () => longMachine(3)],
  ['virtual-8086 mode, whatever IOPL', () => vm86Machine(3)],
] as const) {
  test(`the bitmap decides in ${name}`, () => {
    const machine = withBitmap(make());
    checkIoPermission(machine, 0x70, 4);
    checkIoPermission(machine, 0x73, 1);
    assertFault(machine, GP, 0, () => checkIoPermission(machine, 0x73, 2));
    assertFault(machine, GP, 0, () => checkIoPermission(machine, 0x6f, 2));
    assertFault(machine, GP, 0, () => checkIoPermission(machine, 0x80, 1));
  });
}

test('a bitmap beyond the limit, a 16-bit TSS and no TSS allow nothing', () => {
  const short = withBitmap(protectedMachine(3), 0x68 + 14);
  assertFault(short, GP, 0, () => checkIoPermission(short, 0x70, 1));
  for (const attributes of [0x83, 0x1008b]) {
    const machine = withBitmap(protectedMachine(3));
    machine.cpu.setSegment(SEGMENT.TR, { selector: 0x40, base: BigInt(TSS), limit: 0x78, attributes });
    assertFault(machine, GP, 0, () => checkIoPermission(machine, 0x70, 1));
  }
});
