// The FPU, MMX and SSE state as memory images (Intel SDM volume 1, 10.5 and chapter 13), and the whole processor's
// state in the canonical form that every engine exchanges.

import { STATE, XMM_OFFSET } from '../../ir/guest-state.ts';
import { XCR0 } from '../../isa/control-registers.ts';
import { resetMsrs } from '../../isa/cpuid/portable-msrs.ts';
import { MSR } from '../../isa/msrs.ts';
import type { VcpuHost } from '../vcpu.ts';
import { SEGMENT_NAMES, VCPU_STATE_VERSION, type VcpuState } from '../vcpu-state.ts';
import type { CpuState } from './cpu-state.ts';
import { GuestFault } from './guest-fault.ts';
import type { Mmu } from './mmu.ts';
import { MSR_FIELDS } from './system-registers.ts';
import type { X87 } from './x87.ts';

const GP = 13;
export const MXCSR_MASK = 0xffff;
const LEGACY_BYTES = 512;
const XSAVE_BYTES = 576;
const RAX = 0;
const RCX = 1;
const RDX = 2;

export interface ExtendedState {
  readonly cpu: CpuState;
  readonly x87: X87;
  readonly mmu: Mmu;
}

function saveXmm(c: ExtendedState, target: DataView, at: number, count: number): void {
  const { view, offset } = c.cpu;
  for (let k = 0; k < count * 16; k += 4) {
    target.setInt32(at + 160 + k, view.getInt32(offset + XMM_OFFSET + k, true), true);
  }
}

function loadXmm(c: ExtendedState, source: DataView, at: number, count: number): void {
  const { view, offset } = c.cpu;
  for (let k = 0; k < count * 16; k += 4) {
    view.setInt32(offset + XMM_OFFSET + k, source.getInt32(at + 160 + k, true), true);
  }
}

const xmmCount = (c: ExtendedState): number => (c.cpu.get32(STATE.codeSize) === 64 ? 16 : 8);

function saveMxcsr(c: ExtendedState, target: DataView, at: number): void {
  target.setUint32(at + 24, c.cpu.get32(STATE.mxcsr), true);
  target.setUint32(at + 28, MXCSR_MASK, true);
}

/**
 * Hands the area at `linear` to `use`: in place where it lies in one page of RAM, else as a copy, which is written back
 * if `write`. An area that is written in part faults as a write, though it is read first here.
 */
function withArea(
  c: ExtendedState,
  linear: bigint,
  sizeBytes: number,
  write: boolean,
  use: (view: DataView, at: number) => void,
): void {
  const low = Number(linear & 0xffffffffn) | 0;
  const high = Number(linear >> 32n) | 0;
  if ((low & 0xfff) + sizeBytes <= 4096) {
    const host = c.mmu.bulk(low, high, sizeBytes, write);
    if (host !== 0) {
      use(c.cpu.view, host);
      return;
    }
  }
  const image = new Uint8Array(sizeBytes);
  if (write) c.mmu.checkWritable(low, high, sizeBytes);
  c.mmu.readBlock(linear, image);
  use(new DataView(image.buffer), 0);
  if (write) c.mmu.writeBlock(linear, image);
}

/** The 512-byte legacy region; reserved bytes keep what is in memory. */
export function fxsave(c: ExtendedState, linear: bigint, wide: boolean): void {
  withArea(c, linear, LEGACY_BYTES, true, (view, at) => {
    c.x87.saveLegacyRegion(view, at, wide);
    saveMxcsr(c, view, at);
    saveXmm(c, view, at, xmmCount(c));
  });
}

export function fxrstor(c: ExtendedState, linear: bigint, wide: boolean): void {
  withArea(c, linear, LEGACY_BYTES, false, (view, at) => {
    const mxcsr = view.getUint32(at + 24, true);
    if ((mxcsr & ~MXCSR_MASK) !== 0) throw new GuestFault(GP, 0);
    c.x87.loadLegacyRegion(view, at, wide);
    c.cpu.set32(STATE.mxcsr, mxcsr);
    loadXmm(c, view, at, xmmCount(c));
  });
}

const requested = (c: ExtendedState): number => c.cpu.gpr32(RAX) & c.cpu.getLow(STATE.xcr0);

/** Initial configuration: the XSTATE_BV bit of a component that is in it may be written as 0 (13.6). */
function inUse(c: ExtendedState): number {
  const { view, offset } = c.cpu;
  for (let k = 0; k < 256; k += 4) if (view.getInt32(offset + XMM_OFFSET + k, true) !== 0) return XCR0.X87 | XCR0.SSE;
  return XCR0.X87;
}

/** `optimised`: components in their initial configuration are not written (XSAVEOPT). */
export function xsave(c: ExtendedState, linear: bigint, wide: boolean, optimised: boolean): void {
  const components = requested(c);
  const used = inUse(c);
  withArea(c, linear, XSAVE_BYTES, true, (view, at) => {
    if ((components & XCR0.X87) !== 0) c.x87.saveLegacyRegion(view, at, wide);
    if ((components & XCR0.SSE) !== 0) {
      saveMxcsr(c, view, at);
      if (!optimised || (used & XCR0.SSE) !== 0) saveXmm(c, view, at, xmmCount(c));
    }
    const old = view.getUint32(at + 512, true);
    view.setUint32(at + 512, (old & ~components) | (components & used), true);
  });
}

export function xrstor(c: ExtendedState, linear: bigint, wide: boolean): void {
  const components = requested(c);
  withArea(c, linear, XSAVE_BYTES, false, (view, at) => {
    const present = view.getUint32(at + 512, true);
    const reserved = view.getUint32(at + 516, true) !== 0 || (present & ~c.cpu.getLow(STATE.xcr0)) !== 0;
    // XCOMP_BV and the 8 bytes behind it; the standard form ignores the rest of the header (SDM volume 1, 13.8.1).
    let compact = 0;
    for (let k = 520; k < 536; k += 4) compact |= view.getInt32(at + k, true);
    if (reserved || compact !== 0) throw new GuestFault(GP, 0);
    const mxcsr = view.getUint32(at + 24, true);
    if ((components & XCR0.SSE) !== 0 && (mxcsr & ~MXCSR_MASK) !== 0) throw new GuestFault(GP, 0);
    if ((components & XCR0.X87) !== 0) {
      if ((present & XCR0.X87) !== 0) c.x87.loadLegacyRegion(view, at, wide);
      else c.x87.reset();
    }
    if ((components & XCR0.SSE) !== 0) {
      c.cpu.set32(STATE.mxcsr, mxcsr);
      if ((present & XCR0.SSE) !== 0) loadXmm(c, view, at, xmmCount(c));
      else clearXmm(c, xmmCount(c));
    }
  });
}

function clearXmm(c: ExtendedState, count: number): void {
  const { view, offset } = c.cpu;
  for (let k = 0; k < count * 16; k += 4) view.setInt32(offset + XMM_OFFSET + k, 0, true);
}

export function xgetbv(c: ExtendedState): void {
  if (c.cpu.gpr32(RCX) !== 0) throw new GuestFault(GP, 0);
  const value = c.cpu.get(STATE.xcr0);
  c.cpu.setGpr(RAX, value & 0xffffffffn);
  c.cpu.setGpr(RDX, value >> 32n);
}

export function xsetbv(c: ExtendedState): void {
  const low = c.cpu.gpr32(RAX);
  const legal = c.cpu.get32(STATE.cpl) === 0 && c.cpu.gpr32(RCX) === 0 && c.cpu.gpr32(RDX) === 0;
  if (!legal || (low & XCR0.X87) === 0 || (low & ~(XCR0.X87 | XCR0.SSE)) !== 0) throw new GuestFault(GP, 0);
  c.cpu.set(STATE.xcr0, BigInt(low));
}

// The canonical state.

export interface WholeState extends ExtendedState {
  readonly host: VcpuHost;
  readonly msrs: Map<number, bigint>;
}

export function exportState(c: WholeState, events: VcpuState['events']): VcpuState {
  const { cpu } = c;
  const segments = {} as VcpuState['segments'];
  SEGMENT_NAMES.forEach((name, index) => {
    segments[name] = cpu.segment(index);
  });
  const msrs = new Map(c.msrs);
  for (const [index, field] of MSR_FIELDS) {
    if (index !== MSR.IA32_FS_BASE && index !== MSR.IA32_GS_BASE) msrs.set(index, cpu.get(STATE[field]));
  }
  const xsaveImage = new Uint8Array(XSAVE_BYTES);
  const view = new DataView(xsaveImage.buffer);
  c.x87.saveLegacyRegion(view, 0, true);
  saveMxcsr(c, view, 0);
  saveXmm(c, view, 0, 16);
  view.setUint32(512, XCR0.X87 | XCR0.SSE, true);
  return {
    version: VCPU_STATE_VERSION,
    gpr: Array.from({ length: 16 }, (_, index) => cpu.gpr(index)),
    rip: cpu.get(STATE.rip),
    rflags: BigInt(cpu.eflags),
    segments,
    gdtr: { base: cpu.get(STATE.gdtrBase), limit: cpu.get32(STATE.gdtrLimit) },
    idtr: { base: cpu.get(STATE.idtrBase), limit: cpu.get32(STATE.idtrLimit) },
    cr0: cpu.get(STATE.cr0),
    cr2: cpu.get(STATE.cr2),
    cr3: cpu.get(STATE.cr3),
    cr4: cpu.get(STATE.cr4),
    cr8: BigInt(c.host.getCr8()),
    efer: cpu.get(STATE.efer),
    xcr0: cpu.get(STATE.xcr0),
    debug: {
      dr0: cpu.get(STATE.dr0),
      dr1: cpu.get(STATE.dr1),
      dr2: cpu.get(STATE.dr2),
      dr3: cpu.get(STATE.dr3),
      dr6: cpu.get(STATE.dr6),
      dr7: cpu.get(STATE.dr7),
    },
    msrs,
    xsave: xsaveImage,
    events,
  };
}

/** Writes everything but events; what is derived from it is refreshed by the caller. */
export function importState(c: WholeState, state: VcpuState): void {
  const { cpu } = c;
  if (state.version !== VCPU_STATE_VERSION) throw new RangeError(`unknown processor state version ${state.version}`);
  state.gpr.forEach((value, index) => {
    cpu.setGpr(index, BigInt.asUintN(64, value));
  });
  cpu.set(STATE.rip, state.rip);
  cpu.set32(STATE.record, 0);
  cpu.eflags = Number(state.rflags & 0xffffffffn);
  SEGMENT_NAMES.forEach((name, index) => {
    cpu.setSegment(index, state.segments[name]);
  });
  cpu.set(STATE.gdtrBase, state.gdtr.base);
  cpu.set32(STATE.gdtrLimit, state.gdtr.limit);
  cpu.set(STATE.idtrBase, state.idtr.base);
  cpu.set32(STATE.idtrLimit, state.idtr.limit);
  for (const name of ['cr0', 'cr2', 'cr3', 'cr4', 'efer', 'xcr0'] as const) cpu.set(STATE[name], state[name]);
  for (const name of ['dr0', 'dr1', 'dr2', 'dr3', 'dr6', 'dr7'] as const) cpu.set(STATE[name], state.debug[name]);
  c.host.setCr8(Number(state.cr8));
  // An MSR that the state does not name has its reset value.
  for (const field of MSR_FIELDS.values()) if (field !== 'fsBase' && field !== 'gsBase') cpu.set(STATE[field], 0n);
  c.msrs.clear();
  for (const [index, value] of [...resetMsrs(), ...state.msrs]) {
    const field = MSR_FIELDS.get(index);
    if (field !== undefined) cpu.set(STATE[field], value);
    else c.msrs.set(index, value);
  }
  const view = new DataView(state.xsave.buffer, state.xsave.byteOffset, state.xsave.byteLength);
  c.x87.loadLegacyRegion(view, 0, true);
  cpu.set32(STATE.mxcsr, view.getUint32(24, true));
  loadXmm(c, view, 0, 16);
}
