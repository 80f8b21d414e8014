import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resetState, SEGMENT_ATTRIBUTE } from '../vcpu-state.ts';
import { KVM_X86_SHADOW_INT } from './ioctls.ts';
import { readEvents, readSregs, readXsave, writeEvents, writeSregs, xsaveOf } from './register-state.ts';
import { StructBuffer } from './struct-layout.ts';
import { kvm_sregs, kvm_vcpu_events } from './structs.ts';

test('an interrupt shadow without IF is that of a load of SS: VMX takes no other', () => {
  const events = { ...resetState().events, interruptShadow: true };
  const buffer = new StructBuffer(kvm_vcpu_events);
  writeEvents(buffer, { events, rflags: 2n });
  assert.equal(buffer.get('interrupt.shadow'), KVM_X86_SHADOW_INT.MOV_SS);
  assert.equal(readEvents(buffer, false).interruptShadow, true);
  writeEvents(buffer, { events, rflags: 0x202n });
  assert.equal(buffer.get('interrupt.shadow'), KVM_X86_SHADOW_INT.STI);
});

test('events go in and come out', () => {
  const buffer = new StructBuffer(kvm_vcpu_events);
  for (const exception of [undefined, { vector: 14, errorCode: 6 }, { vector: 6, errorCode: undefined }]) {
    for (const nmiPending of [false, true]) {
      const events = { interruptShadow: false, nmiBlocked: !nmiPending, nmiPending, halted: true, exception };
      writeEvents(buffer, { events, rflags: 2n });
      assert.deepEqual(readEvents(buffer, true), events);
    }
  }
});

test('an NMI that is being delivered is one that is pending', () => {
  const buffer = new StructBuffer(kvm_vcpu_events);
  buffer.set('nmi.injected', 1);
  assert.equal(readEvents(buffer, false).nmiPending, true);
});

test('every attribute of every segment goes in and comes out, each in its own place', () => {
  const A = SEGMENT_ATTRIBUTE;
  const flags = [A.S, A.P, A.AVL, A.L, A.DB, A.G, A.UNUSABLE, 1 << A.DPL_SHIFT, 2 << A.DPL_SHIFT, 1, 2, 4, 8];
  for (const attributes of flags) {
    for (const name of ['cs', 'ss', 'ldtr', 'tr'] as const) {
      const state = resetState();
      state.segments[name] = { selector: 0xfff8, base: 0xffff_8000_1234_5678n, limit: 0xffff_ffff, attributes };
      const sregs = new StructBuffer(kvm_sregs);
      sregs.set64('apic_base', 0xfee0_0900n);
      writeSregs(sregs, state);
      assert.deepEqual(readSregs(sregs).segments, state.segments);
      assert.equal(sregs.get64('apic_base'), 0xfee0_0900n, "the local APIC's base stays");
    }
  }
});

test('an XSAVE area has what KVM takes: no mask of its own, no compaction, x87 and SSE there', () => {
  const xsave = new Uint8Array(832);
  const view = new DataView(xsave.buffer);
  view.setUint32(28, 0xffff, true);
  view.setBigUint64(512, 4n, true);
  view.setBigUint64(520, 1n << 63n, true);
  xsave[831] = 0x5a;
  const area = xsaveOf({ ...resetState(), xsave }, 4096);
  const out = new DataView(area.buffer);
  assert.equal(area.length, 4096);
  assert.equal(out.getUint32(28, true), 0);
  assert.equal(out.getBigUint64(512, true), 7n);
  assert.equal(out.getBigUint64(520, true), 0n);
  assert.equal(readXsave(area)[831], 0x5a);
});
