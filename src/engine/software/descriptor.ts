// Segment and system descriptors: where they lie, what their bits say, and how they get into a segment register's
// hidden part (SDM volume 3, 3.4.5 and 3.5). A descriptor is handled as its two doublewords, `low` and `high`.

import { SEGMENT_FIELDS, STATE, segmentOffset } from '../../ir/guest-state.ts';
import { SEGMENT_ATTRIBUTE } from '../vcpu-state.ts';
import type { CpuState } from './cpu-state.ts';
import { ALL_ONES, isLongMode, LOW_32, SEGMENT, type TransferContext } from './transfer-context.ts';

export interface Descriptor {
  readonly selector: number;
  /** Linear address of its first byte. */
  readonly address: bigint;
  readonly low: number;
  readonly high: number;
}

const ACCESSED = 0x100;
/** The type of a system descriptor, with the S bit: 0x00 to 0x0f system, 0x10 to 0x1f segment. */
export const SYSTEM_TYPE = {
  TSS16_AVAILABLE: 1,
  LDT: 2,
  TSS16_BUSY: 3,
  CALL_GATE16: 4,
  TASK_GATE: 5,
  INTERRUPT_GATE16: 6,
  TRAP_GATE16: 7,
  TSS_AVAILABLE: 9,
  TSS_BUSY: 11,
  CALL_GATE: 12,
  INTERRUPT_GATE: 14,
  TRAP_GATE: 15,
} as const;

export const selectorError = (selector: number): number => selector & 0xfffc;
export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0;
export const lowOf = (descriptor: bigint): number => Number(descriptor & LOW_32);
export const highOf = (descriptor: bigint): number => Number(descriptor >> 32n);

export const typeOf = (high: number): number => (high >>> 8) & 0x1f;
export const dplOf = (high: number): number => (high >>> 13) & 3;
export const isPresent = (high: number): boolean => (high & 0x8000) !== 0;
export const isCode = (high: number): boolean => (high & 0x1800) === 0x1800;
export const isConforming = (high: number): boolean => (high & 0x1c00) === 0x1c00;
export const isWritableData = (high: number): boolean => (high & 0x1a00) === 0x1200;
export const isReadable = (high: number): boolean => (high & 0x1800) === 0x1000 || (high & 0x1a00) === 0x1a00;
export const isLongCode = (high: number): boolean => (high & 0x20_0000) !== 0;
export const isBig = (high: number): boolean => (high & 0x40_0000) !== 0;

export function limitOf(low: number, high: number): number {
  const limit = (low & 0xffff) | (high & 0xf_0000);
  return (high & 0x80_0000) !== 0 ? ((limit << 12) | 0xfff) >>> 0 : limit;
}

export function baseOf(low: number, high: number): number {
  return ((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0;
}

/** `base + offset` as the mode's linear address: 32 bits outside IA-32e mode. */
export function linearOf(cpu: CpuState, base: bigint, offset: bigint): bigint {
  return (base + offset) & (isLongMode(cpu) ? ALL_ONES : LOW_32);
}

/** Linear address of a selector's descriptor; -1n where `sizeBytes` there are not within the table. */
export function descriptorAddress(cpu: CpuState, selector: number, sizeBytes = 8): bigint {
  const offset = selector & 0xfff8;
  if ((selector & 4) === 0) {
    if (offset + sizeBytes - 1 > cpu.get32(STATE.gdtrLimit)) return -1n;
    return linearOf(cpu, cpu.get(STATE.gdtrBase), BigInt(offset));
  }
  if ((cpu.attributes(SEGMENT.LDTR) & SEGMENT_ATTRIBUTE.UNUSABLE) !== 0) return -1n;
  if (offset + sizeBytes - 1 > segmentLimit(cpu, SEGMENT.LDTR)) return -1n;
  return linearOf(cpu, segmentBase(cpu, SEGMENT.LDTR), BigInt(offset));
}

/** undefined when the selector is null or outside its table. */
export function readDescriptor(context: TransferContext, selector: number): Descriptor | undefined {
  if (isNull(selector)) return undefined;
  const address = descriptorAddress(context.cpu, selector);
  if (address < 0n) return undefined;
  const descriptor = context.memory.read(address, 8, false);
  return { selector, address, low: lowOf(descriptor), high: highOf(descriptor) };
}

/** Sets the accessed bit in the table; may fault, so that it comes before every change of state. */
export function markAccessed(context: TransferContext, address: bigint, high: number): void {
  if ((high & ACCESSED) === 0) context.memory.write(address + 5n, 1, BigInt(((high | ACCESSED) >>> 8) & 0xff), false);
}

export function segmentBase(cpu: CpuState, index: number): bigint {
  return cpu.view.getBigUint64(cpu.offset + segmentOffset(index) + SEGMENT_FIELDS.base, true);
}

export function segmentLimit(cpu: CpuState, index: number): number {
  return cpu.view.getUint32(cpu.offset + segmentOffset(index) + SEGMENT_FIELDS.limit, true);
}

/** Fills a segment register's hidden part without allocating. */
export function writeSegment(
  cpu: CpuState,
  index: number,
  selector: number,
  base: number,
  limit: number,
  attributes: number,
): void {
  const { view } = cpu;
  const at = cpu.offset + segmentOffset(index);
  view.setUint32(at + SEGMENT_FIELDS.base, base, true);
  view.setUint32(at + SEGMENT_FIELDS.base + 4, 0, true);
  view.setUint32(at + SEGMENT_FIELDS.limit, limit, true);
  view.setUint32(at + SEGMENT_FIELDS.attributes, attributes, true);
  view.setUint32(at + SEGMENT_FIELDS.selector, selector, true);
}

/** Loads a code or data segment: the accessed bit counts as set. */
export function storeDescriptor(cpu: CpuState, index: number, selector: number, low: number, high: number): void {
  const attributes = ((high | ACCESSED) >>> 8) & 0xf0ff;
  writeSegment(cpu, index, selector, baseOf(low, high), limitOf(low, high), attributes);
}

/** A null selector: unusable, base 0. The DPL of SS says the CPL. */
export function storeNull(cpu: CpuState, index: number, selector: number): void {
  const dpl = index === SEGMENT.SS ? (selector & 3) << SEGMENT_ATTRIBUTE.DPL_SHIFT : 0;
  writeSegment(cpu, index, selector, 0, 0, SEGMENT_ATTRIBUTE.UNUSABLE | dpl);
}

/** Real-address mode: the base follows from the selector, limit and attributes stay (SDM volume 3, 21.1.1). */
export function storeReal(cpu: CpuState, index: number, selector: number): void {
  const usable = (cpu.attributes(index) & SEGMENT_ATTRIBUTE.UNUSABLE) === 0;
  const limit = usable ? segmentLimit(cpu, index) : 0xffff;
  writeSegment(cpu, index, selector, selector << 4, limit, usable ? cpu.attributes(index) : 0x93);
}

/** Entry to virtual-8086 mode (SDM volume 3, 21.2.1): 64 KiB, writable, DPL 3. */
export function storeVm86(cpu: CpuState, index: number, selector: number): void {
  writeSegment(cpu, index, selector, selector << 4, 0xffff, 0xf3);
}

/** True when `sizeBytes` from `offset` lie in the segment (SDM volume 3, 6.3); `attributes` are the hidden part's. */
export function isWithinLimit(offset: number, sizeBytes: number, limit: number, attributes: number): boolean {
  const last = offset + sizeBytes - 1;
  const expandDown = (attributes & 0x1c) === 0x14;
  if (!expandDown) return last <= limit;
  return offset > limit && last <= ((attributes & SEGMENT_ATTRIBUTE.DB) !== 0 ? 0xffff_ffff : 0xffff);
}
