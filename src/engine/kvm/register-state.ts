// The canonical state to and from KVM's structures, one function a structure and direction. Nothing here calls the
// kernel.

import { EFLAGS } from '../../isa/flags.ts';
import { SEGMENT_ATTRIBUTE, type SegmentName, type SegmentState, type VcpuState } from '../vcpu-state.ts';
import { KVM_VCPUEVENT_VALID, KVM_X86_SHADOW_INT } from './ioctls.ts';
import { StructBuffer } from './struct-layout.ts';
import * as structs from './structs.ts';

const GPR_MEMBERS = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');
const SEGMENT_MEMBERS: Readonly<Record<SegmentName, string>> = {
  es: 'es',
  cs: 'cs',
  ss: 'ss',
  ds: 'ds',
  fs: 'fs',
  gs: 'gs',
  ldtr: 'ldt',
  tr: 'tr',
};
const SEGMENT_NAMES = Object.keys(SEGMENT_MEMBERS) as SegmentName[];
const CONTROL_MEMBERS = ['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer'] as const;
const DEBUG_ADDRESSES = ['dr0', 'dr1', 'dr2', 'dr3'] as const;

const A = SEGMENT_ATTRIBUTE;

// General registers.

export function writeRegs(regs: StructBuffer, state: VcpuState): void {
  for (const [index, member] of GPR_MEMBERS.entries()) regs.set64(member, state.gpr[index]!);
  regs.set64('rip', state.rip);
  regs.set64('rflags', state.rflags);
}

export function readRegs(regs: StructBuffer): Pick<VcpuState, 'gpr' | 'rip' | 'rflags'> {
  return {
    gpr: GPR_MEMBERS.map((member) => regs.get64(member)),
    rip: regs.get64('rip'),
    rflags: regs.get64('rflags'),
  };
}

// Segments and control registers.

function writeSegment(sregs: StructBuffer, member: string, segment: SegmentState): void {
  const { attributes } = segment;
  const bit = (mask: number): number => ((attributes & mask) === 0 ? 0 : 1);
  sregs.set64(`${member}.base`, segment.base);
  sregs.set(`${member}.limit`, segment.limit);
  sregs.set(`${member}.selector`, segment.selector);
  sregs.set(`${member}.type`, attributes & A.TYPE_MASK);
  sregs.set(`${member}.s`, bit(A.S));
  sregs.set(`${member}.dpl`, (attributes & A.DPL_MASK) >> A.DPL_SHIFT);
  sregs.set(`${member}.present`, bit(A.P));
  sregs.set(`${member}.avl`, bit(A.AVL));
  sregs.set(`${member}.l`, bit(A.L));
  sregs.set(`${member}.db`, bit(A.DB));
  sregs.set(`${member}.g`, bit(A.G));
  sregs.set(`${member}.unusable`, bit(A.UNUSABLE));
}

function readSegment(sregs: StructBuffer, member: string): SegmentState {
  const bit = (name: string, mask: number): number => (sregs.get(`${member}.${name}`) === 0 ? 0 : mask);
  return {
    selector: sregs.get(`${member}.selector`),
    base: sregs.get64(`${member}.base`),
    limit: sregs.get(`${member}.limit`),
    attributes:
      (sregs.get(`${member}.type`) & A.TYPE_MASK) |
      ((sregs.get(`${member}.dpl`) << A.DPL_SHIFT) & A.DPL_MASK) |
      bit('s', A.S) |
      bit('present', A.P) |
      bit('avl', A.AVL) |
      bit('l', A.L) |
      bit('db', A.DB) |
      bit('g', A.G) |
      bit('unusable', A.UNUSABLE),
  };
}

/** Members that the canonical state does not have keep what `sregs` holds: the local APIC's base. */
export function writeSregs(sregs: StructBuffer, state: VcpuState): void {
  for (const name of SEGMENT_NAMES) writeSegment(sregs, SEGMENT_MEMBERS[name], state.segments[name]);
  sregs.set64('gdt.base', state.gdtr.base);
  sregs.set('gdt.limit', state.gdtr.limit);
  sregs.set64('idt.base', state.idtr.base);
  sregs.set('idt.limit', state.idtr.limit);
  for (const name of CONTROL_MEMBERS) sregs.set64(name, state[name]);
  sregs.slice('interrupt_bitmap').fill(0);
}

export function readSregs(
  sregs: StructBuffer,
): Pick<VcpuState, 'segments' | 'gdtr' | 'idtr' | (typeof CONTROL_MEMBERS)[number]> {
  const segments = {} as VcpuState['segments'];
  for (const name of SEGMENT_NAMES) segments[name] = readSegment(sregs, SEGMENT_MEMBERS[name]);
  return {
    segments,
    gdtr: { base: sregs.get64('gdt.base'), limit: sregs.get('gdt.limit') },
    idtr: { base: sregs.get64('idt.base'), limit: sregs.get('idt.limit') },
    cr0: sregs.get64('cr0'),
    cr2: sregs.get64('cr2'),
    cr3: sregs.get64('cr3'),
    cr4: sregs.get64('cr4'),
    cr8: sregs.get64('cr8'),
    efer: sregs.get64('efer'),
  };
}

// Debug registers.

export function debugregsOf({ debug }: VcpuState): StructBuffer {
  const buffer = new StructBuffer(structs.kvm_debugregs);
  for (const [index, name] of DEBUG_ADDRESSES.entries()) buffer.set64('db', debug[name], index);
  buffer.set64('dr6', debug.dr6);
  buffer.set64('dr7', debug.dr7);
  return buffer;
}

export function readDebugregs(buffer: StructBuffer): VcpuState['debug'] {
  const [dr0, dr1, dr2, dr3] = [0, 1, 2, 3].map((index) => buffer.get64('db', index));
  return { dr0: dr0!, dr1: dr1!, dr2: dr2!, dr3: dr3!, dr6: buffer.get64('dr6'), dr7: buffer.get64('dr7') };
}

// XCR0 and the XSAVE area.

export function xcrsOf({ xcr0 }: VcpuState): StructBuffer {
  const buffer = new StructBuffer(structs.kvm_xcrs);
  buffer.set('nr_xcrs', 1);
  buffer.set('xcrs[0].xcr', 0);
  buffer.set64('xcrs[0].value', xcr0);
  return buffer;
}

export function readXcr0(buffer: StructBuffer): bigint {
  for (let index = 0; index < buffer.get('nr_xcrs'); index++) {
    if (buffer.get(`xcrs[${index}].xcr`) === 0) return buffer.get64(`xcrs[${index}].value`);
  }
  return 1n;
}

/** SDM volume 1, 13.4: the legacy region and the header; extended components follow. */
const XSAVE = { MXCSR_MASK: 28, SOFTWARE: 464, HEADER: 512, BYTES: 576 } as const;
const X87_AND_SSE = 3;
const MXCSR_MASK = 0xffff;

/** `areaBytes`: as KVM_CHECK_EXTENSION(KVM_CAP_XSAVE2) tells, 4096 at least. */
export function xsaveOf({ xsave }: VcpuState, areaBytes: number): Uint8Array {
  const area = new Uint8Array(areaBytes);
  area.set(xsave.subarray(0, areaBytes));
  const view = new DataView(area.buffer);
  // The mask is the processor's, x87 and SSE are always there, and KVM refuses a header that says "compacted".
  view.setUint32(XSAVE.MXCSR_MASK, 0, true);
  view.setUint32(XSAVE.HEADER, view.getUint32(XSAVE.HEADER, true) | X87_AND_SSE, true);
  area.fill(0, XSAVE.HEADER + 8, XSAVE.BYTES);
  return area;
}

/** The area without components that are in their initial state, x87 and SSE excepted, which are always there. */
export function readXsave(area: Uint8Array): Uint8Array {
  const view = new DataView(area.buffer, area.byteOffset, area.byteLength);
  const components = view.getBigUint64(XSAVE.HEADER, true) | BigInt(X87_AND_SSE);
  const image = area.slice(0, components === BigInt(X87_AND_SSE) ? XSAVE.BYTES : area.length);
  const out = new DataView(image.buffer);
  // Bytes for software's own use hold something of the host's.
  image.fill(0, XSAVE.SOFTWARE, XSAVE.HEADER);
  out.setUint32(XSAVE.MXCSR_MASK, MXCSR_MASK, true);
  out.setBigUint64(XSAVE.HEADER, components, true);
  return image;
}

// Events.

export type Events = VcpuState['events'];

/** `halted` is told otherwise. */
export function writeEvents(buffer: StructBuffer, { events, rflags }: Pick<VcpuState, 'events' | 'rflags'>): void {
  buffer.bytes.fill(0);
  const { exception } = events;
  if (exception !== undefined) {
    buffer.set('exception.injected', 1);
    buffer.set('exception.nr', exception.vector);
    buffer.set('exception.has_error_code', exception.errorCode === undefined ? 0 : 1);
    buffer.set('exception.error_code', exception.errorCode ?? 0);
  }
  // VMX refuses an entry with STI's shadow while IF is 0 (SDM 3C 27.3.1.5): that one is a load of SS's.
  const shadow = (rflags & BigInt(EFLAGS.IF)) === 0n ? KVM_X86_SHADOW_INT.MOV_SS : KVM_X86_SHADOW_INT.STI;
  buffer.set('interrupt.shadow', events.interruptShadow ? shadow : 0);
  buffer.set('nmi.pending', events.nmiPending ? 1 : 0);
  buffer.set('nmi.masked', events.nmiBlocked ? 1 : 0);
  buffer.set('flags', KVM_VCPUEVENT_VALID.NMI_PENDING | KVM_VCPUEVENT_VALID.SHADOW);
}

export function readEvents(buffer: StructBuffer, halted: boolean): Events {
  const hasException = buffer.get('exception.injected') !== 0 || buffer.get('exception.pending') !== 0;
  const errorCode = buffer.get('exception.has_error_code') === 0 ? undefined : buffer.get('exception.error_code');
  return {
    interruptShadow: buffer.get('interrupt.shadow') !== 0,
    nmiBlocked: buffer.get('nmi.masked') !== 0,
    // One that is being delivered comes again in the other engine.
    nmiPending: buffer.get('nmi.pending') !== 0 || buffer.get('nmi.injected') !== 0,
    halted,
    exception: hasException ? { vector: buffer.get('exception.nr'), errorCode } : undefined,
  };
}

/** An interrupt that is between its acknowledge and its handler: the canonical state has no place for it. */
export function isDelivering(buffer: StructBuffer): boolean {
  return buffer.get('interrupt.injected') !== 0 || buffer.get('nmi.injected') !== 0;
}
