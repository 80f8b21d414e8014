// A processor's state into KVM and out of it, held against what the kernel itself says, field by field.

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import * as ioctls from '../../src/engine/kvm/ioctls.ts';
import { StructBuffer, type StructLayout } from '../../src/engine/kvm/struct-layout.ts';
import * as structs from '../../src/engine/kvm/structs.ts';
import { SoftwareVcpu } from '../../src/engine/software/vcpu.ts';
import { resetState, SEGMENT_NAMES, type VcpuState } from '../../src/engine/vcpu-state.ts';
import { resetMsrs } from '../../src/isa/cpuid/portable-msrs.ts';
import { MSR } from '../../src/isa/msrs.ts';
import { Guest, RAM_BYTES } from '../engine/guest.ts';
import { IdleHost } from '../engine/idle-host.ts';
import { createKvmTestVcpu } from '../engine/kvm-vcpu-factory.ts';
import { createTestVcpu } from '../engine/vcpu-factory.ts';
import { Random } from '../processor-oracle.ts';
import { withoutKvm } from './kvm-host.ts';

const SEED = Number(process.env.BULKHEAD_SEED ?? 5);
const STATES = 20;

/** A legal state of 64-bit code with everything different from its reset value. */
function randomState(random: Random, base: VcpuState): VcpuState {
  const canonical = (): bigint => BigInt.asUintN(47, random.bits64());
  const state = structuredClone(base);
  state.gpr = state.gpr.map(() => random.bits64());
  state.rip = canonical();
  state.rflags = (random.bits64() & 0x24_0cd5n) | 2n;
  for (const name of ['fs', 'gs'] as const) state.segments[name].base = canonical();
  state.gdtr = { base: canonical(), limit: random.below(0x10000) };
  state.idtr = { base: canonical(), limit: random.below(0x10000) };
  state.cr2 = random.bits64();
  state.cr8 = BigInt(random.below(16));
  state.debug = {
    dr0: canonical(),
    dr1: canonical(),
    dr2: canonical(),
    dr3: canonical(),
    dr6: 0xffff_0ff0n | BigInt(random.below(16)),
    dr7: 0x400n,
  };
  const { msrs } = state;
  msrs.set(MSR.IA32_STAR, random.bits64());
  for (const index of [MSR.IA32_LSTAR, MSR.IA32_CSTAR, MSR.IA32_KERNEL_GS_BASE]) msrs.set(index, canonical());
  for (const index of [MSR.IA32_SYSENTER_ESP, MSR.IA32_SYSENTER_EIP]) msrs.set(index, canonical());
  msrs.set(MSR.IA32_SYSENTER_CS, BigInt(random.below(0x1_0000_0000)));
  msrs.set(MSR.IA32_FMASK, BigInt(random.below(0x1_0000_0000)));
  for (let at = 160; at < 416; at++) state.xsave[at] = random.below(256);
  new DataView(state.xsave.buffer).setUint32(24, 0x1f80 | random.below(64), true);
  new DataView(state.xsave.buffer).setUint16(0, 0x37f & ~(random.below(4) << 10), true);
  state.events.nmiBlocked = random.below(2) === 1;
  return state;
}

/** What does not travel: XSAVE's header and mask are each processor's own. */
function comparable(state: VcpuState): VcpuState {
  const copy = structuredClone(state);
  copy.xsave = copy.xsave.slice(0, 512);
  copy.xsave.fill(0, 28, 32);
  // A segment that is not usable has nothing but its selector and base.
  for (const name of SEGMENT_NAMES) {
    const segment = copy.segments[name];
    if ((segment.attributes & 0x1_0000) !== 0) copy.segments[name] = { ...segment, limit: 0, attributes: 0x1_0000 };
  }
  copy.msrs = new Map([...copy.msrs].toSorted(([a], [b]) => a - b));
  return copy;
}

describe('the state of a processor on KVM', { skip: withoutKvm }, () => {
  if (withoutKvm !== false) return;
  const host = new IdleHost();
  const target = createKvmTestVcpu(host, RAM_BYTES);
  after(() => target.close());
  const { vcpu } = target;
  const base = new Guest(target, host, 'kernel64', Uint8Array.of(0xf4)).state;

  test(`comes back as it was set (seed ${SEED})`, () => {
    const random = new Random(SEED);
    for (let turn = 0; turn < STATES; turn++) {
      const state = randomState(random, base);
      vcpu.setState(state);
      assert.deepEqual(comparable(vcpu.getState()), comparable(state), `seed ${SEED}, state ${turn}`);
    }
  });

  test('is what the kernel says, field by field', () => {
    const state = randomState(new Random(SEED), base);
    vcpu.setState(state);
    const get = (ioctl: ioctls.Ioctl, layout: StructLayout): StructBuffer => {
      const buffer = new StructBuffer(layout);
      vcpu.exchange(ioctl, buffer);
      return buffer;
    };
    const regs = get(ioctls.KVM_GET_REGS, structs.kvm_regs);
    const names = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');
    for (const [index, name] of names.entries()) assert.equal(regs.get64(name), state.gpr[index], name);
    assert.equal(regs.get64('rip'), state.rip);
    assert.equal(regs.get64('rflags'), state.rflags);
    const sregs = get(ioctls.KVM_GET_SREGS, structs.kvm_sregs);
    for (const name of ['cr0', 'cr2', 'cr3', 'cr4', 'efer'] as const)
      assert.equal(sregs.get64(name), state[name], name);
    for (const name of ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr'] as const) {
      const segment = state.segments[name];
      assert.equal(sregs.get64(`${name}.base`), segment.base, `${name}.base`);
      assert.equal(sregs.get(`${name}.limit`), segment.limit, `${name}.limit`);
      assert.equal(sregs.get(`${name}.selector`), segment.selector, `${name}.selector`);
      assert.equal(sregs.get(`${name}.type`), segment.attributes & 0xf, `${name}.type`);
      assert.equal(sregs.get(`${name}.s`), (segment.attributes >> 4) & 1, `${name}.s`);
      assert.equal(sregs.get(`${name}.dpl`), (segment.attributes >> 5) & 3, `${name}.dpl`);
      assert.equal(sregs.get(`${name}.present`), (segment.attributes >> 7) & 1, `${name}.present`);
      assert.equal(sregs.get(`${name}.l`), (segment.attributes >> 13) & 1, `${name}.l`);
      assert.equal(sregs.get(`${name}.db`), (segment.attributes >> 14) & 1, `${name}.db`);
      assert.equal(sregs.get(`${name}.g`), (segment.attributes >> 15) & 1, `${name}.g`);
    }
    for (const [name, table] of [
      ['gdt', state.gdtr],
      ['idt', state.idtr],
    ] as const) {
      assert.equal(sregs.get64(`${name}.base`), table.base, `${name}.base`);
      assert.equal(sregs.get(`${name}.limit`), table.limit, `${name}.limit`);
    }
    const debugregs = get(ioctls.KVM_GET_DEBUGREGS, structs.kvm_debugregs);
    for (const [index, name] of (['dr0', 'dr1', 'dr2', 'dr3'] as const).entries()) {
      assert.equal(debugregs.get64('db', index), state.debug[name], name);
    }
    assert.equal(debugregs.get64('dr6'), state.debug.dr6);
    assert.equal(debugregs.get64('dr7'), state.debug.dr7);
    const events = get(ioctls.KVM_GET_VCPU_EVENTS, structs.kvm_vcpu_events);
    assert.equal(events.get('nmi.masked') !== 0, state.events.nmiBlocked);
    const xcrs = get(ioctls.KVM_GET_XCRS, structs.kvm_xcrs);
    assert.equal(xcrs.get64('xcrs[0].value'), state.xcr0);
    const xsave = get(ioctls.KVM_GET_XSAVE, structs.kvm_xsave).bytes;
    assert.deepEqual(xsave.subarray(160, 416), state.xsave.subarray(160, 416));
    assert.deepEqual(xsave.subarray(0, 2), state.xsave.subarray(0, 2));
    for (const [index, value] of vcpu.getMsrs(vcpu.model.stateMsrs)) assert.equal(value, state.msrs.get(index));
  });

  test('of a processor after RESET goes in and comes out', () => {
    const state = { ...resetState(), msrs: resetMsrs() };
    vcpu.setState(state);
    const back = comparable(vcpu.getState());
    assert.equal(back.rip, 0xfff0n);
    assert.deepEqual(back.segments.cs, state.segments.cs);
    assert.equal(back.cr0, state.cr0);
  });

  test('has a time-stamp counter that goes on from where it is put', (t) => {
    const before = vcpu.timeStampCounter;
    vcpu.timeStampCounter = before + (1n << 50n);
    const first = vcpu.timeStampCounter;
    assert.ok(vcpu.timeStampCounter >= first && first >= before);
    if (first < 1n << 50n) t.skip("this host's KVM gives guests the host's own time-stamp counter");
    vcpu.timeStampCounter = 0n;
  });

  test('is the same on both engines', () => {
    const software = createTestVcpu(new IdleHost(), RAM_BYTES).vcpu;
    assert.ok(software instanceof SoftwareVcpu);
    const random = new Random(SEED);
    for (let turn = 0; turn < STATES; turn++) {
      const state = randomState(random, base);
      software.setState(state);
      vcpu.setState(software.getState());
      assert.deepEqual(comparable(vcpu.getState()), comparable(software.getState()), `seed ${SEED}, state ${turn}`);
    }
  });
});
