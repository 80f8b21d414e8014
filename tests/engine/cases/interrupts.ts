// External interrupts, NMIs, their blocking and HLT (SDM volume 3, 6.3.1, 6.7, 6.8).

import { VECTOR } from '../../../src/isa/vectors.ts';
import type { EngineCase } from '../engine-case.ts';
import { type Guest, PLACE, SEGMENT, USER } from '../guest.ts';

const K = PLACE.KERNEL_CODE;
const DEVICE = 0x30;

/** IF set, one interrupt pending. */
const pending = (guest: Guest): void => {
  guest.state.rflags = 0x202n;
  guest.host.interrupts.push(DEVICE);
};

const pendingWithIfClear = (guest: Guest): void => {
  guest.host.interrupts.push(DEVICE);
};

export const INTERRUPT_CASES: readonly EngineCase[] = [
  {
    name: 'a pending interrupt comes before the next instruction',
    mode: 'kernel64',
    code: '90 90 f4',
    steps: 'run',
    prepare: pending,
    expect: { handler: DEVICE, flagsClear: 0x200, stack: [BigInt(K), BigInt(SEGMENT.kernelCode.selector), 0x202n] },
  },
  {
    name: 'an interrupt at CPL 3 switches to RSP0',
    mode: 'user64',
    code: '90 90',
    steps: 'run',
    prepare: pending,
    expect: {
      handler: DEVICE,
      registers: { rsp: BigInt(PLACE.RSP0 - 40) },
      stack: [BigInt(USER.CODE), BigInt(SEGMENT.userCode64.selector), 0x202n, BigInt(USER.STACK)],
    },
  },
  {
    name: 'a clear IF holds interrupts back',
    mode: 'kernel64',
    code: '90 f4',
    steps: 'run',
    prepare: pendingWithIfClear,
    expect: { rip: K + 2 },
  },
  {
    name: 'STI lets one more instruction run before an interrupt',
    mode: 'kernel64',
    code: 'fb 90 90 f4',
    steps: 'run',
    prepare: pendingWithIfClear,
    expect: { handler: DEVICE, stack: [BigInt(K + 2)] },
  },
  {
    name: 'STI followed by CLI lets no interrupt in',
    mode: 'kernel64',
    code: 'fb fa 90 f4',
    steps: 'run',
    prepare: pendingWithIfClear,
    expect: { rip: K + 4 },
  },
  {
    name: 'an interrupt shadow in the state holds for one instruction',
    mode: 'kernel64',
    code: '90 90 f4',
    steps: 'run',
    prepare: (guest) => {
      pending(guest);
      guest.state.events.interruptShadow = true;
    },
    expect: { handler: DEVICE, stack: [BigInt(K + 1)] },
  },
  {
    name: 'a load of SS casts a shadow over the next instruction, which ends it',
    mode: 'kernel64',
    code: '8e d0 90', // mov ss, eax; nop
    prepare: (guest) => guest.setRegister('rax', BigInt(SEGMENT.kernelData.selector)),
    expect: {
      check: (guest) => {
        if (!guest.vcpu.getState().events.interruptShadow) throw new Error('no shadow after the load');
        guest.vcpu.step();
        if (guest.vcpu.getState().events.interruptShadow) throw new Error('the shadow lasts');
      },
    },
  },
  {
    name: 'POPF that sets IF lets an interrupt in at once',
    mode: 'kernel64',
    code: '9d 90 f4',
    steps: 'run',
    prepare: (guest) => {
      pendingWithIfClear(guest);
      guest.setRegister('rsp', BigInt(PLACE.KERNEL_STACK - 16));
      guest.memory.writeU64(PLACE.KERNEL_STACK - 16, 0x202n);
    },
    expect: { handler: DEVICE, stack: [BigInt(K + 1)] },
  },
  {
    name: 'an interrupt ends HLT and returns behind it',
    mode: 'kernel64',
    code: 'f4 90',
    steps: 'run',
    prepare: (guest) => {
      guest.state.rflags = 0x202n;
      guest.host.interruptAtWait = DEVICE;
    },
    expect: { handler: DEVICE, stack: [BigInt(K + 1)] },
  },
  {
    name: 'an NMI comes with IF clear and blocks further ones',
    mode: 'kernel64',
    code: '90 f4',
    steps: 'run',
    prepare: (guest) => {
      guest.host.nmiPending = true;
    },
    expect: {
      handler: VECTOR.NMI,
      stack: [BigInt(K)],
      check: (guest) => {
        if (!guest.vcpu.getState().events.nmiBlocked) throw new Error('NMIs are not blocked');
      },
    },
  },
  {
    name: 'an NMI waits while NMIs are blocked',
    mode: 'kernel64',
    code: '90 f4',
    steps: 'run',
    prepare: (guest) => {
      guest.host.nmiPending = true;
      guest.state.events.nmiBlocked = true;
    },
    expect: { rip: K + 2 },
  },
  {
    name: 'IRET ends the blocking of NMIs',
    mode: 'kernel64',
    code: '48 cf',
    steps: 'run',
    prepare: (guest) => {
      guest.host.nmiPending = true;
      guest.state.events.nmiBlocked = true;
      const frame = [BigInt(K + 0x10), BigInt(SEGMENT.kernelCode.selector), 2n, BigInt(PLACE.KERNEL_STACK), 0x10n];
      frame.forEach((word, i) => {
        guest.memory.writeU64(PLACE.KERNEL_STACK - 40 + i * 8, word);
      });
      guest.setRegister('rsp', BigInt(PLACE.KERNEL_STACK - 40));
      guest.memory.write(K + 0x10, Uint8Array.of(0x90, 0xf4));
    },
    expect: { handler: VECTOR.NMI, stack: [BigInt(K + 0x10)] },
  },
  {
    name: 'an interrupt whose gate is not present raises #NP with EXT',
    mode: 'kernel64',
    code: '90 f4',
    steps: 'run',
    prepare: (guest) => {
      pending(guest);
      guest.setGate(DEVICE, { present: false });
    },
    expect: { handler: VECTOR.NP, stack: [BigInt(DEVICE * 8 + 3), BigInt(K)] },
  },
  {
    name: 'an exception on its way in the state is delivered first',
    mode: 'kernel64',
    code: '90 f4',
    steps: 'run',
    prepare: (guest) => {
      guest.state.events.exception = { vector: VECTOR.GP, errorCode: 0x18 };
    },
    expect: { handler: VECTOR.GP, stack: [0x18n, BigInt(K)] },
  },
];
