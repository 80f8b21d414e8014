// Repeated string instructions done many turns at a time: REP MOVS, REP STOS, INS and OUTS (Intel SDM volume 1, 7.3.9).
// Each call does some pages of source and destination, updates RSI, RDI and RCX, and returns; the generated handler
// calls again while RCX is not zero, so that interrupts and faults are taken between.

import type { BulkMemory } from '../../emit/bulk-memory.ts';
import { FLAT_SEGMENT_OFFSET, SEGMENT_FIELDS, STATE } from '../../ir/guest-state.ts';
import type { VcpuHost } from '../vcpu.ts';
import type { CpuState } from './cpu-state.ts';
import type { Mmu } from './mmu.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RSI = 6;
const RDI = 7;
const DIRECTION = 0x400;
const ES_OFFSET = 0x100;
const CODE_SIZE = STATE.codeSize.offset >> 2;
const SYSTEM_FLAGS = STATE.systemFlags.offset >> 2;

/** Elements in one call at most: a page's worth, so that a call ends soon. */
const MAXIMUM_TURNS = 4096;

/** Bytes that a call in 64-bit code moves at most: some microseconds. */
const MAXIMUM_BYTES = 0x1_0000;

/** As long as a jump takes, so many bytes are moved. */
const BYTES_PER_JUMP = 64;
/** What comes to a call by the slower way besides: the walks of the page tables. */
const JUMPS_PER_CALL = 32;

export interface BulkContext {
  readonly memory: BulkMemory;
  readonly cpu: CpuState;
  readonly mmu: Mmu;
  readonly host: VcpuHost;
  readonly bytes: Uint8Array;
  /** One turn only: single steps and debug registers are watching. */
  isStepping(): boolean;
  /** Legacy segment check; throws GuestFault. */
  checkSegment(segmentOffset: number, offset: bigint, sizeBytes: number, write: boolean): void;
  /** Data breakpoints that an access meets. */
  watch(low: number, high: number, sizeBytes: number, write: boolean): void;
  /** The permission check alone, which comes before the access to memory; throws GuestFault. */
  checkPort(port: number, sizeBytes: number): void;
  /** Port access with its permission check; throws GuestFault. */
  readPort(port: number, sizeBytes: number): number;
  writePort(port: number, sizeBytes: number, value: number): void;
}

/** A pointer register as it is used: its linear address in halves. */
interface Pointer {
  low: number;
  high: number;
}

const SOURCE: Pointer = { low: 0, high: 0 };
const DESTINATION: Pointer = { low: 0, high: 0 };

function locate(
  c: BulkContext,
  to: Pointer,
  register: number,
  address: number,
  segment: number,
  size: number,
  write: boolean,
): void {
  const { cpu } = c;
  const long = cpu.get32(STATE.codeSize) === 64;
  const { view, offset } = cpu;
  const at = offset + register * 8;
  let low = view.getInt32(at, true);
  let high = view.getInt32(at + 4, true);
  if (address === 4) high = 0;
  if (address === 2) {
    low &= 0xffff;
    high = 0;
  }
  if (!long) c.checkSegment(segment, BigInt(low >>> 0), size, write);
  const baseLow = view.getUint32(offset + segment + SEGMENT_FIELDS.base, true);
  const baseHigh = view.getInt32(offset + segment + SEGMENT_FIELDS.base + 4, true);
  const useBase = !long || segment === 0x180 || segment === 0x1a0;
  if (useBase && (baseLow !== 0 || baseHigh !== 0)) {
    const sum = (low >>> 0) + baseLow;
    high = (high + baseHigh + (sum > 0xffffffff ? 1 : 0)) | 0;
    low = sum | 0;
  }
  to.low = low;
  to.high = long ? high : 0;
  c.mmu.checkAligned(low, size);
}

/** Elements from `low` to the end of its page in the direction of travel; 0 when the first one crosses it. */
function turnsInPage(low: number, size: number, backwards: boolean): number {
  const within = low & 0xfff;
  if (within + size > 4096) return 0;
  return backwards ? Math.floor(within / size) + 1 : Math.floor((4096 - within) / size);
}

/** The count register of the address size, not more than `limit`. */
function countUpTo(c: BulkContext, address: number, limit: number): number {
  const { view, offset } = c.cpu;
  const at = offset + RCX * 8;
  const low = view.getUint32(at, true);
  if (address === 2) return Math.min(low & 0xffff, limit);
  if (address === 8 && view.getUint32(at + 4, true) !== 0) return limit;
  return Math.min(low, limit);
}

function advance(c: BulkContext, register: number, address: number, by: number): void {
  const { cpu } = c;
  if (address === 8) {
    cpu.setGpr(register, cpu.gpr(register) + BigInt(by));
  } else if (address === 4) {
    cpu.setGpr(register, BigInt((cpu.gpr32(register) + by) >>> 0));
  } else {
    cpu.view.setUint16(cpu.offset + register * 8, cpu.gpr32(register) + by, true);
  }
}

const isBackwards = (c: BulkContext): boolean => (c.cpu.get32(STATE.systemFlags) & DIRECTION) !== 0;

/** The count of 64-bit code that goes upwards, as bytes and not more than a call's; 0 where there is more to see to. */
function usualBytes(c: BulkContext, size: number): number {
  const { words, offset } = c.cpu;
  const state = offset >> 2;
  if (c.isStepping() || words[state + CODE_SIZE] !== 64 || (words[state + SYSTEM_FLAGS]! & DIRECTION) !== 0) return 0;
  if (words[state + 2 * RCX + 1] !== 0) return MAXIMUM_BYTES;
  const count = words[state + 2 * RCX]! >>> 0;
  return count >= MAXIMUM_BYTES ? MAXIMUM_BYTES : Math.min(count * size, MAXIMUM_BYTES);
}

/** Adds to a 64-bit register. */
function raise(words: Int32Array, at: number, by: number): void {
  const low = words[at]! >>> 0;
  const next = low + by;
  words[at] = next | 0;
  if (next > 0xffffffff) words[at + 1] = words[at + 1]! + 1;
  else if (next < 0) words[at + 1] = words[at + 1]! - 1;
}

/** REP MOVS by whole elements within pages; false when the first element wants another way. */
function moveUsual(c: BulkContext, size: number): boolean {
  const { words, offset } = c.cpu;
  const state = offset >> 2;
  let left = usualBytes(c, size);
  let done = false;
  while (left > 0) {
    const from = words[state + 2 * RSI]!;
    const to = words[state + 2 * RDI]!;
    let length = Math.min(left, 4096 - (from & 0xfff), 4096 - (to & 0xfff));
    length -= length % size;
    if (length === 0) return done;
    const source = c.mmu.place(from, words[state + 2 * RSI + 1]!, false);
    if (source === 0) return done;
    const target = c.mmu.place(to, words[state + 2 * RDI + 1]!, true);
    if (target === 0) return done;
    // A later element would read what an earlier one wrote.
    if (target > source && target < source + length) return done;
    c.memory.copy(target, source, length);
    raise(words, state + 2 * RSI, length);
    raise(words, state + 2 * RDI, length);
    raise(words, state + 2 * RCX, -length / size);
    c.cpu.charge(Math.ceil(length / BYTES_PER_JUMP));
    left -= length;
    done = true;
  }
  return done;
}

/** REP STOS likewise. */
function storeUsual(c: BulkContext, size: number): boolean {
  const { words, offset } = c.cpu;
  const state = offset >> 2;
  let left = usualBytes(c, size);
  let done = false;
  while (left > 0) {
    const to = words[state + 2 * RDI]!;
    let length = Math.min(left, 4096 - (to & 0xfff));
    length -= length % size;
    if (length === 0) return done;
    const target = c.mmu.place(to, words[state + 2 * RDI + 1]!, true);
    if (target === 0) return done;
    c.memory.fill(target, offset + RAX * 8, length, size);
    raise(words, state + 2 * RDI, length);
    raise(words, state + 2 * RCX, -length / size);
    c.cpu.charge(Math.ceil(length / BYTES_PER_JUMP));
    left -= length;
    done = true;
  }
  return done;
}

/** Throws GuestFault before the turn that faults; the turns before it are complete. */
export function repMovs(c: BulkContext, size: number, address: number, segment: number): void {
  if (address === 8 && segment === FLAT_SEGMENT_OFFSET && moveUsual(c, size)) return;
  const backwards = isBackwards(c);
  locate(c, SOURCE, RSI, address, segment, size, false);
  locate(c, DESTINATION, RDI, address, ES_OFFSET, size, true);
  const turns = Math.min(
    countUpTo(c, address, c.isStepping() ? 1 : MAXIMUM_TURNS),
    turnsInPage(SOURCE.low, size, backwards),
    turnsInPage(DESTINATION.low, size, backwards),
    address === 2 ? 1 : MAXIMUM_TURNS,
  );
  if (turns === 0 || c.isStepping()) {
    moveOne(c, size);
  } else {
    const length = turns * size;
    const lead = backwards ? length - size : 0;
    const from = c.mmu.bulk((SOURCE.low - lead) | 0, SOURCE.high, length, false);
    const to = c.mmu.bulk((DESTINATION.low - lead) | 0, DESTINATION.high, length, true);
    if (from === 0 || to === 0) {
      moveOne(c, size);
      finish(c, address, size, 1, backwards, true);
      return;
    }
    copy(c, from, to, length, size, backwards);
  }
  finish(c, address, size, Math.max(turns, 1), backwards, true);
}

function moveOne(c: BulkContext, size: number): void {
  loadOne(c, SOURCE, size);
  storeOne(c, DESTINATION, size);
}

function loadOne(c: BulkContext, from: Pointer, size: number): void {
  c.watch(from.low, from.high, size, false);
  c.mmu.loadSpecial(from.low, from.high, size, false);
}

function storeOne(c: BulkContext, to: Pointer, size: number): void {
  c.watch(to.low, to.high, size, true);
  c.mmu.storeSpecial(to.low, to.high, size);
}

/**
 * Copies as if element by element. Where later elements read what earlier ones wrote, the first `distance` bytes come
 * again and again: each copy takes all that has been written.
 */
function copy(c: BulkContext, from: number, to: number, length: number, size: number, backwards: boolean): void {
  const { memory } = c;
  const distance = backwards ? from - to : to - from;
  if (distance <= 0 || distance >= length) {
    memory.copy(to, from, length);
  } else if (distance >= size) {
    const [firstTo, firstFrom] = backwards ? [to + length - distance, from + length - distance] : [to, from];
    memory.copy(firstTo, firstFrom, distance);
    for (let done = distance; done < length; done *= 2) {
      const more = Math.min(done, length - done);
      if (backwards) memory.copy(to + length - done - more, to + length - more, more);
      else memory.copy(to + done, to, more);
    }
  } else {
    // Elements overlap with their own copies.
    for (let done = 0; done < length; done += size) {
      const at = backwards ? length - size - done : done;
      memory.copy(to + at, from + at, size);
    }
  }
}

function finish(c: BulkContext, address: number, size: number, turns: number, backwards: boolean, both: boolean): void {
  const by = backwards ? -turns * size : turns * size;
  c.cpu.charge(JUMPS_PER_CALL + Math.ceil((turns * size) / BYTES_PER_JUMP));
  if (both) advance(c, RSI, address, by);
  advance(c, RDI, address, by);
  advance(c, RCX, address, -turns);
}

export function repStos(c: BulkContext, size: number, address: number): void {
  if (address === 8 && storeUsual(c, size)) return;
  const backwards = isBackwards(c);
  locate(c, DESTINATION, RDI, address, ES_OFFSET, size, true);
  const turns = Math.min(
    countUpTo(c, address, c.isStepping() ? 1 : MAXIMUM_TURNS),
    turnsInPage(DESTINATION.low, size, backwards),
    address === 2 ? 1 : MAXIMUM_TURNS,
  );
  const length = turns * size;
  const lead = backwards ? length - size : 0;
  const to =
    turns === 0 || c.isStepping() ? 0 : c.mmu.bulk((DESTINATION.low - lead) | 0, DESTINATION.high, length, true);
  if (to === 0) {
    const { view } = c.cpu;
    view.setBigUint64(c.mmu.specialOffset, c.cpu.gpr(RAX), true);
    storeOne(c, DESTINATION, size);
    finish(c, address, size, 1, backwards, false);
    return;
  }
  fill(c, to, length, size);
  finish(c, address, size, turns, backwards, false);
}

function fill(c: BulkContext, to: number, length: number, size: number): void {
  const { bytes } = c;
  const value = c.cpu.view;
  const from = c.cpu.offset + RAX * 8;
  const first = value.getUint8(from);
  let uniform = true;
  for (let k = 1; k < size; k++) uniform &&= value.getUint8(from + k) === first;
  if (uniform) {
    bytes.fill(first, to, to + length);
    return;
  }
  for (let k = 0; k < size; k++) bytes[to + k] = value.getUint8(from + k);
  // Doubling copies: each turn copies all that has been written.
  for (let done = size; done < length; done *= 2) bytes.copyWithin(to + done, to, to + Math.min(done, length - done));
}

export function ins(c: BulkContext, size: number, address: number, repeated: boolean): void {
  c.checkPort(c.cpu.gpr32(RDX) & 0xffff, size);
  locate(c, DESTINATION, RDI, address, ES_OFFSET, size, true);
  // The place is checked before the port is read: a fault must not lose what the device gave.
  c.mmu.checkWritable(DESTINATION.low, DESTINATION.high, size);
  const value = c.readPort(c.cpu.gpr32(RDX) & 0xffff, size);
  c.cpu.view.setUint32(c.mmu.specialOffset, value, true);
  storeOne(c, DESTINATION, size);
  advance(c, RDI, address, isBackwards(c) ? -size : size);
  if (repeated) advance(c, RCX, address, -1);
}

export function outs(c: BulkContext, size: number, address: number, repeated: boolean, segment: number): void {
  c.checkPort(c.cpu.gpr32(RDX) & 0xffff, size);
  locate(c, SOURCE, RSI, address, segment, size, false);
  loadOne(c, SOURCE, size);
  const { view } = c.cpu;
  const at = c.mmu.specialOffset;
  const value = size === 1 ? view.getUint8(at) : size === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
  c.writePort(c.cpu.gpr32(RDX) & 0xffff, size, value);
  advance(c, RSI, address, isBackwards(c) ? -size : size);
  if (repeated) advance(c, RCX, address, -1);
}
