import assert from 'node:assert/strict';
import { test } from 'node:test';
import { initialIoApicState } from '../../devices/chips/io-apic/state.ts';
import {
  initialRegisters,
  LOCAL_APIC_STATE_VERSION,
  type LocalApicState,
} from '../../devices/chips/local-apic/state.ts';
import { initialChipState } from '../../devices/chips/pic/state.ts';
import { StructBuffer } from '../../engine/kvm/struct-layout.ts';
import { kvm_lapic_state } from '../../engine/kvm/structs.ts';
import {
  ioApicBuffer,
  picBuffer,
  readIoApic,
  readLocalApic,
  readPic,
  writeLocalApic,
} from './interrupt-chip-states.ts';

const LEVEL = 0x8000;

function localApic(): LocalApicState {
  return {
    version: LOCAL_APIC_STATE_VERSION,
    apicId: 3,
    registers: {
      ...initialRegisters(0xfee0_0900),
      tpr: 0x20,
      ldr: 0x0800_0000,
      svr: 0x1ff,
      icrLow: 0x30,
      icrHigh: 0x0100_0000,
      lvt: [0x200ec, 0x10000, 0x10000, 0x700, 0x400, 0xfe],
      initialCount: 1000,
      divide: 0xb,
      startNs: 400,
    },
    irr: [0, 1, 2, 3, 4, 5, 6, 7],
    isr: [0, 0x100, 0, 0, 0, 0, 0, 0x8000_0000],
    tmr: [0, 0x100, 0, 0, 0, 0, 0, 0],
    tscDeadline: '1234',
  };
}

test('a local APIC goes into its page and comes out', () => {
  const page = new StructBuffer(kvm_lapic_state);
  const state = localApic();
  writeLocalApic(page, state);
  const around = { apicBase: 0xfee0_0900, tscDeadline: 0x1234n, nmiPending: false, lint0: false };
  assert.deepEqual(readLocalApic(page, around), state);
});

test('the registers are where the manual has them', () => {
  const page = new StructBuffer(kvm_lapic_state);
  writeLocalApic(page, localApic());
  const view = new DataView(page.bytes.buffer);
  assert.equal(view.getUint32(0x20, true), 3 << 24);
  assert.equal(view.getUint32(0xf0, true), 0x1ff);
  assert.equal(view.getUint32(0x170, true), 0x8000_0000);
  assert.equal(view.getUint32(0x350, true), 0x700);
  assert.equal(view.getUint32(0x390, true), 600, 'what is left of the count');
});

test('a count that has ended goes in as none: KVM would let it end again', () => {
  const page = new StructBuffer(kvm_lapic_state);
  const view = new DataView(page.bytes.buffer);
  const state = localApic();
  for (const [mode, initialCount, rest] of [
    [0, 0, 0],
    [0x20000, 1000, 700],
  ] as const) {
    state.registers.lvt[0] = 0xec | mode;
    state.registers.startNs = 1300;
    writeLocalApic(page, state);
    assert.deepEqual([view.getUint32(0x380, true), view.getUint32(0x390, true)], [initialCount, rest]);
  }
});

test('an I/O APIC goes in and comes out, its edges excepted', () => {
  const state = { ...initialIoApicState(), id: 2, ioregsel: 0x12, pins: 1 << 9 };
  state.low[9] = 0x39 | LEVEL | 0x4000;
  state.high[9] = 0x0100_0000;
  assert.deepEqual(readIoApic(ioApicBuffer(state)), state);
  assert.equal(readIoApic(ioApicBuffer({ ...state, pins: (1 << 9) | (1 << 4) })).pins, 1 << 9);
});

test('an 8259A goes in and comes out in the middle of its initialization', () => {
  const chip = {
    ...initialChipState(),
    inputs: 0x21,
    edges: 0x20,
    imr: 0xfb,
    isr: 0x01,
    elcr: 0x08,
    vectorBase: 0x30,
    lowestPriority: 2,
    expectedIcw: 3,
    needsIcw4: true,
    specialMask: true,
    readIsr: true,
    autoEoi: true,
  };
  assert.deepEqual(readPic(picBuffer(chip, true)), chip);
  assert.equal(picBuffer(chip, true).get('irr'), 0x20);
  assert.equal(picBuffer({ ...chip, inputs: 0x28 }, true).get('irr'), 0x28, 'a level is a request');
});
