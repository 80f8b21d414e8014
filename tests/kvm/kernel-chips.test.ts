// Interrupt controllers, PIT and clock into the kernel and out of it, and a guest that the kernel's local APIC wakes.

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { ManualClock } from '../../src/base/clock.ts';
import { Timers } from '../../src/base/timers.ts';
import { Board } from '../../src/devices/board.ts';
import { Pit } from '../../src/devices/chips/pit/pit.ts';
import { KvmVm } from '../../src/engine/kvm/kvm-system.ts';
import { KvmVcpu } from '../../src/engine/kvm/vcpu.ts';
import { createGuestMemory, GUEST_RAM_OFFSET } from '../../src/engine/software/layout.ts';
import { KernelChips, type KernelChipsState } from '../../src/machine/kvm/kernel-chips.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { Guest, PLACE, RAM_BYTES } from '../engine/guest.ts';
import { IdleHost } from '../engine/idle-host.ts';
import { withoutKvm } from './kvm-host.ts';

const MASKED = 0x10000;

/** What a kernel may have made of the board. */
function boardState(memory: GuestMemory): KernelChipsState {
  const clock = new ManualClock();
  const timers = new Timers(clock);
  const board = new Board({
    timers,
    wallClock: { nowMs: () => 0 },
    memory,
    processors: [
      {
        sink: { onPendingChanged: () => {}, onInit: () => {}, onStartup: () => {} },
        timeStampCounter: { now: () => 0n, hz: 1e9 },
      },
    ],
    physicalAddressBits: 40,
    events: { powerOff: () => {}, requestReset: () => {}, exit: () => {} },
    serial: [],
    holdSerialInputUntilReady: false,
    debugExit: undefined,
  });
  const pit = new Pit(board.ports, timers, board.interrupt(0));
  board.setUpAsFirmware();
  board.ports.write(0x43, 1, 0x34);
  board.ports.write(0x40, 1, 0x9c);
  board.ports.write(0x40, 1, 0x2e);
  board.ports.write(0x21, 1, 0xfa);
  board.ports.write(0x4d0, 2, 0x0e00);
  for (const [index, value] of [
    [0x10 + 2 * 4, 0x34],
    [0x11 + 2 * 4, 0],
    [0x10 + 2 * 9, 0x39 | 0x8000 | MASKED],
  ] as const) {
    board.mmio.write(0xfec00000, 4, index);
    board.mmio.write(0xfec00010, 4, value);
  }
  const apic = board.localApics[0]!;
  for (const [offset, value] of [
    [0x80, 0x30],
    [0xd0, 0x0100_0000],
    [0x320, 0x200ec],
    [0x3e0, 0xb],
    [0x380, 1_000_000],
  ] as const) {
    apic.writeMmio(offset, 4, value);
  }
  return { ...board.save(), pit: pit.save() };
}

describe("the kernel's chips", { skip: withoutKvm }, () => {
  if (withoutKvm !== false) return;
  const memory = createGuestMemory(RAM_BYTES);
  const ram = new GuestMemory(memory, GUEST_RAM_OFFSET, RAM_BYTES);
  const vm = KvmVm.create({ memory, ramBytes: RAM_BYTES, chips: 'kernel' });
  const host = new IdleHost();
  const vcpu = new KvmVcpu({ vm, host, model: 'host', apicBusHz: 1e9 });
  const chips = new KernelChips(vm, [vcpu], () => process.hrtime.bigint());
  after(() => {
    vcpu.close();
    vm.close();
  });

  test('give back what was put into them', () => {
    const state = boardState(ram);
    chips.restore(state);
    const back = chips.save();
    assert.deepEqual(back.pic, state.pic);
    assert.deepEqual(back.ioApic, { ...state.ioApic, pins: back.ioApic.pins });
    const apic = (one: KernelChipsState) => ({
      ...one.localApics[0]!,
      registers: { ...one.localApics[0]!.registers, startNs: 0 },
    });
    assert.deepEqual(apic(back), apic(state));
    assert.ok(back.localApics[0]!.registers.startNs >= 0);
    const pit = ({ pit: { counters } }: KernelChipsState) =>
      counters.map(({ mode, access, gate, bcd, reload }) => ({ mode, access, gate, bcd, reload }));
    assert.deepEqual(pit(back), pit(state));
    assert.deepEqual(back.kvmClocks[0]!.systemTime, state.kvmClocks[0]!.systemTime);
  });

  test('keep what is in service and what waits', () => {
    const state = boardState(ram);
    const apic = state.localApics[0]!;
    apic.isr[1] = 1 << 4;
    apic.irr[2] = 1 << 5;
    apic.tscDeadline = '0';
    chips.restore(state);
    const back = chips.save().localApics[0]!;
    assert.deepEqual(back.isr, apic.isr);
    assert.deepEqual(back.irr, apic.irr);
  });

  test('take a guest to the handler that the 8259A names for the PIT', () => {
    const guest = new Guest({ vcpu, memory: ram }, host, 'kernel64', Uint8Array.of(0xfb, 0xf4, 0x90)); // sti; hlt; nop
    const state = boardState(ram);
    state.localApics[0]!.registers.tpr = 0;
    state.localApics[0]!.registers.lvt[0] = MASKED;
    guest.start();
    chips.restore(state);
    assert.equal(vcpu.run().kind, 'halted-forever');
    assert.equal(vcpu.getState().rip, BigInt(PLACE.HANDLERS + 8 * 16 + 1));
  });

  test('tell a guest that has the paravirtual clock of a pause, and others nothing', () => {
    const place = 0x14_0000;
    const flags = place + 29;
    const state = boardState(ram);
    state.localApics[0]!.registers.lvt[0] = MASKED;
    for (const chip of state.pic.chips) chip.imr = 0xff;
    chips.restore(state);
    assert.equal(vcpu.noteResume(), false);
    state.kvmClocks[0]!.systemTime = (place | 1).toString(16);
    state.kvmClocks[0]!.systemTimeNs = 3_600e9;
    const guest = new Guest({ vcpu, memory: ram }, host, 'kernel64', Uint8Array.of(0xf4));
    guest.start();
    chips.restore(state);
    assert.equal(vcpu.noteResume(), true);
    assert.equal(vcpu.run().kind, 'halted-forever');
    assert.equal(ram.readU8(flags) & 2, 2, 'GUEST_STOPPED');
    assert.ok(ram.readU64(place + 16) >= 3_600_000_000_000n, 'system time went on from where it was');
    assert.ok(chips.save().kvmClocks[0]!.systemTimeNs >= 3_600e9);
  });

  /** Its timer and the 8259A are silent. */
  function quietState(): KernelChipsState {
    const state = boardState(ram);
    const { registers } = state.localApics[0]!;
    Object.assign(registers, { tpr: 0, initialCount: 0, lvt: registers.lvt.with(0, MASKED) });
    for (const chip of state.pic.chips) chip.imr = 0xff;
    return state;
  }

  test('keep a task priority that is finer than CR8, and an NMI that waits', () => {
    const state = quietState();
    Object.assign(state.localApics[0]!.registers, { tpr: 0x35, nmiPending: true });
    const guest = new Guest({ vcpu, memory: ram }, host, 'kernel64', Uint8Array.of(0xf4));
    guest.state.cr8 = 3n;
    guest.start();
    chips.restore(state);
    assert.equal(chips.save().localApics[0]!.registers.tpr, 0x35);
    assert.equal(vcpu.getState().cr8, 3n);
    assert.equal(vcpu.getState().events.nmiPending, true);
    assert.equal(vcpu.run().kind, 'halted-forever');
    assert.equal(vcpu.getState().rip, BigInt(PLACE.HANDLERS + 2 * 16 + 1));
  });

  test('do not let a one-shot timer that has ended interrupt again', () => {
    const state = quietState();
    const { registers } = state.localApics[0]!;
    Object.assign(registers, { initialCount: 1000, startNs: 5_000_000, lvt: registers.lvt.with(0, 0xec) });
    const code = 'fb 90 e6 80 90 90 fa f4'; // sti; nop; out 0x80, al; nop; nop; cli; hlt
    const bytes = Buffer.from(code.replaceAll(' ', ''), 'hex');
    const guest = new Guest({ vcpu, memory: ram }, host, 'kernel64', bytes);
    guest.start();
    chips.restore(state);
    assert.equal(vcpu.run().kind, 'halted-forever');
    assert.equal(vcpu.getState().rip, BigInt(PLACE.KERNEL_CODE + bytes.length));
  });

  test('hold a lower interrupt back while a higher one is in service', (t) => {
    const state = quietState();
    [state.ioApic.low[4], state.ioApic.low[5]] = [0x34, 0x24];
    const guest = new Guest({ vcpu, memory: ram }, host, 'kernel64', Uint8Array.of(0xfb, 0xf4)); // sti; hlt
    // out 0x80, al; sti; nop; nop; cli; hlt
    ram.write(PLACE.HANDLERS + 0x34 * 16, Buffer.from('e680fb9090faf4', 'hex'));
    guest.start();
    chips.restore(state);
    vm.setInterruptLine(4, true);
    vm.setInterruptLine(5, true);
    assert.equal(vcpu.run().kind, 'halted-forever');
    for (const line of [4, 5]) vm.setInterruptLine(line, false);
    const { isr } = chips.save().localApics[0]!;
    if (isr.every((word) => word === 0)) {
      t.skip("this host's KVM has no interrupt in service: it ends each one as it delivers it");
      return;
    }
    assert.equal(vcpu.getState().rip, BigInt(PLACE.HANDLERS + 0x34 * 16 + 7));
    assert.equal(isr[1], 1 << (0x34 & 31));
  });

  test('wake a guest that waits in HLT, by a line of a device', () => {
    const guest = new Guest({ vcpu, memory: ram }, host, 'kernel64', Uint8Array.of(0xfb, 0xf4, 0x90)); // sti; hlt; nop
    const state = boardState(ram);
    state.localApics[0]!.registers.tpr = 0;
    state.localApics[0]!.registers.lvt[0] = MASKED;
    for (const chip of state.pic.chips) chip.imr = 0xff;
    guest.start();
    chips.restore(state);
    // Level of ISA interrupt 4: vector 0x34 by the I/O APIC. Its handler halts with interrupts off.
    vm.setInterruptLine(4, true);
    assert.equal(vcpu.run().kind, 'halted-forever');
    vm.setInterruptLine(4, false);
    const { rip } = vcpu.getState();
    assert.equal(rip, BigInt(PLACE.HANDLERS + 0x34 * 16 + 1));
    const { irr } = chips.save().localApics[0]!;
    assert.ok(
      irr.every((word) => word === 0),
      'the request has been taken',
    );
  });
});
