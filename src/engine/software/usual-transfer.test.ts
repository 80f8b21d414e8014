import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { STATE } from '../../ir/guest-state.ts';
import { GuestFault } from './guest-fault.ts';
import { deliverEvent } from './interrupt-delivery.ts';
import { iret } from './interrupt-return.ts';
import { syscall, sysret } from './system-call.ts';
import { gate, longMachine, SELECTOR, STACK, STACK_RING0, type TestMachine } from './transfers.test-data.ts';
import { deliverUsual, returnUsual, syscallUsual, sysretUsual } from './usual-transfer.ts';

const RIP = 0xffff_ffff_8123_4567n;

function machineAt(cpl: number, prepare: (machine: TestMachine) => void): TestMachine {
  const machine = longMachine(cpl);
  const { cpu } = machine;
  cpu.set32(STATE.codeSize, 64);
  cpu.set(STATE.rip, RIP);
  cpu.set32(STATE.instructionLength, 2);
  machine.next = RIP + 2n;
  cpu.set(STATE.star, 0x0023_0010_0000_0000n);
  cpu.set(STATE.lstar, 0xffff_ffff_8000_1000n);
  cpu.set(STATE.sfmask, 0x4_7700n);
  machine.setGate(14, gate(SELECTOR.code64, 0x8100_2000, 0x8e), 0xffff_ffffn);
  machine.setGate(32, gate(SELECTOR.code64, 0x8100_3000, 0x8f), 0xffff_ffffn);
  machine.setGate(2, gate(SELECTOR.code64, 0x8100_4000, 0x8e, 1), 0xffff_ffffn);
  prepare(machine);
  return machine;
}

/** The state and memory behind both ways are the same, or the usual way leaves everything as it was. */
function compare(
  cpl: number,
  expected: boolean,
  prepare: (machine: TestMachine) => void,
  usual: (machine: TestMachine) => boolean,
  general: (machine: TestMachine) => void,
): void {
  const [first, second] = [machineAt(cpl, prepare), machineAt(cpl, prepare)];
  first.memory.isDirect = true;
  const before = new Uint8Array(first.memory.view.buffer).slice();
  assert.equal(usual(first), expected);
  if (expected) general(second);
  const after = new Uint8Array(expected ? second.memory.view.buffer : before.buffer);
  assert.deepEqual(new Uint8Array(first.memory.view.buffer), after);
}

const frame = (machine: TestMachine, cs: number, ss: number, flags = 0x246, rip = 0x40_1000n): void =>
  machine.fillStack(8, [rip, cs, flags, 0x7fff_ffff_0008n, ss]);

describe('a usual transfer is what the general one is', () => {
  const events = [
    { vector: 14, errorCode: 7, kind: 'exception' },
    { vector: 32, errorCode: undefined, kind: 'hardware' },
    { vector: 2, errorCode: undefined, kind: 'hardware' },
  ] as const;
  for (const event of events) {
    for (const cpl of [0, 3]) {
      for (const flags of [0x202, 0x4_4ad7]) {
        test(`vector ${event.vector} at CPL ${cpl} with flags ${flags.toString(16)}`, () => {
          compare(
            cpl,
            true,
            ({ cpu }) => {
              cpu.eflags = flags;
              cpu.setGpr(4, BigInt(STACK + 0x123));
            },
            (m) => deliverUsual(m, event.vector, event.errorCode ?? -1, event.kind === 'exception'),
            (m) => assert.equal(deliverEvent(m, event, RIP), 'delivered'),
          );
        });
      }
    }
  }

  const returns = [
    ['to a user', SELECTOR.userCode64 | 3, SELECTOR.userData | 3],
    ['within the kernel', SELECTOR.code64, SELECTOR.data],
    ['with a null SS', SELECTOR.code64, 0],
  ] as const;
  for (const [name, cs, ss] of returns) {
    for (const flags of [0x246, 0x3f_7fd7]) {
      test(`IRETQ ${name}, flags ${flags.toString(16)}`, () => {
        compare(
          0,
          true,
          (m) => frame(m, cs, ss, flags),
          returnUsual,
          (m) => iret(m, 8),
        );
      });
    }
  }

  for (const flags of [0x202, 0x4_0ed7]) {
    test(`SYSCALL and SYSRET with flags ${flags.toString(16)}`, () => {
      const prepare = ({ cpu }: TestMachine): void => {
        cpu.eflags = flags;
        cpu.setGpr(1, 0x40_2000n);
        cpu.setGpr(11, BigInt(flags) | 0x3_0000n);
      };
      compare(3, true, prepare, syscallUsual, syscall);
      compare(0, true, prepare, sysretUsual, (m) => sysret(m, 8));
    });
  }
});

describe('what is unusual is left to the general transfer, untouched', () => {
  const deliver = (m: TestMachine): boolean => deliverUsual(m, 14, 2, true);
  const general = (): void => {};
  test('a gate that is not present', () => {
    compare(3, false, (m) => m.setGate(14, gate(SELECTOR.code64, 0, 0x0e), 0n), deliver, general);
  });
  test('a handler in compatibility code', () => {
    compare(3, false, (m) => m.setGate(14, gate(SELECTOR.code32, 0, 0x8e), 0n), deliver, general);
  });
  test('a handler that is not canonical', () => {
    compare(3, false, (m) => m.setGate(14, gate(SELECTOR.code64, 0, 0x8e), 0x8000n), deliver, general);
  });
  test('a stack at the end of a page', () => {
    compare(0, false, ({ cpu }) => cpu.setGpr(4, BigInt(STACK + 0x1010)), deliver, general);
  });
  test('returns to compatibility code, to a canonical hole and with NT', () => {
    const users = [SELECTOR.userCode64 | 3, SELECTOR.userData | 3] as const;
    compare(0, false, (m) => frame(m, SELECTOR.userCode32 | 3, users[1]), returnUsual, general);
    compare(0, false, (m) => frame(m, ...users, 0x202, 1n << 47n), returnUsual, general);
    compare(
      0,
      false,
      (m) => {
        frame(m, ...users);
        m.cpu.eflags = 0x4202;
      },
      returnUsual,
      general,
    );
  });
  test('a stack that cannot be written raises the fault that the general way meets', () => {
    const machine = machineAt(3, () => {});
    machine.memory.isDirect = true;
    machine.memory.readOnlyPages.add((STACK_RING0 - 48) >> 12);
    const before = new Uint8Array(machine.memory.view.buffer).slice();
    assert.throws(() => deliver(machine), GuestFault);
    assert.deepEqual(new Uint8Array(machine.memory.view.buffer), before);
  });
});
