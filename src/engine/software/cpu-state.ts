// Typed access to one processor's state block (src/ir/guest-state.ts) from the engine's TypeScript.

import { type Field, gprOffset, SEGMENT_FIELDS, STATE, segmentOffset } from '../../ir/guest-state.ts';
import type { SegmentState } from '../vcpu-state.ts';

/** Fields are named by their constants, STATE.rip and the like: a look-up by string costs as much as a guest's load. */
type U64Field = Field & { readonly type: 'u64' };
type U32Field = Field & { readonly type: 'u32' | 'i32' };

const FLAG_Z = STATE.flagZ.offset >> 2;
const FLAG_N = STATE.flagN.offset >> 2;
const FLAG_C = STATE.flagC.offset >> 2;
const FLAG_A = STATE.flagA.offset >> 2;
const SYSTEM_FLAGS = STATE.systemFlags.offset >> 2;
const BUDGET = STATE.budget.offset >> 2;
const SIGN = 0x8000_0000 | 0;

export class CpuState {
  readonly view: DataView;
  /** The same as words, for what is frequent. */
  readonly words: Int32Array;
  /** Host offset of the state block. */
  readonly offset: number;

  constructor(buffer: ArrayBufferLike, offset: number) {
    this.view = new DataView(buffer);
    this.words = new Int32Array(buffer);
    this.offset = offset;
  }

  get(field: U64Field): bigint {
    return this.view.getBigUint64(this.offset + field.offset, true);
  }

  set(field: U64Field, value: bigint): void {
    this.view.setBigUint64(this.offset + field.offset, value, true);
  }

  /** The low half of a 64-bit field, without the cost of a bigint. */
  getLow(field: U64Field): number {
    return this.view.getUint32(this.offset + field.offset, true);
  }

  get32(field: U32Field): number {
    return this.view.getUint32(this.offset + field.offset, true);
  }

  set32(field: U32Field, value: number): void {
    this.view.setUint32(this.offset + field.offset, value, true);
  }

  /** What has been done counts as so many jumps, some 8 ns each: the next poll comes the sooner. */
  charge(jumps: number): void {
    const at = (this.offset >> 2) + BUDGET;
    this.words[at] = this.words[at]! - jumps;
  }

  gpr(index: number): bigint {
    return this.view.getBigUint64(this.offset + gprOffset(index), true);
  }

  setGpr(index: number, value: bigint): void {
    this.view.setBigUint64(this.offset + gprOffset(index), value, true);
  }

  gpr32(index: number): number {
    return this.view.getUint32(this.offset + gprOffset(index), true);
  }

  segment(index: number): SegmentState {
    const at = this.offset + segmentOffset(index);
    return {
      base: this.view.getBigUint64(at + SEGMENT_FIELDS.base, true),
      limit: this.view.getUint32(at + SEGMENT_FIELDS.limit, true),
      attributes: this.view.getUint32(at + SEGMENT_FIELDS.attributes, true),
      selector: this.view.getUint32(at + SEGMENT_FIELDS.selector, true),
    };
  }

  selector(index: number): number {
    return this.view.getUint32(this.offset + segmentOffset(index) + SEGMENT_FIELDS.selector, true);
  }

  attributes(index: number): number {
    return this.view.getUint32(this.offset + segmentOffset(index) + SEGMENT_FIELDS.attributes, true);
  }

  /**
   * Writes a segment's state. What is derived from it (flat marks, modes) is refreshed by SoftwareVcpu.refreshMode().
   */
  setSegment(index: number, segment: SegmentState): void {
    const at = this.offset + segmentOffset(index);
    this.view.setBigUint64(at + SEGMENT_FIELDS.base, segment.base, true);
    this.view.setUint32(at + SEGMENT_FIELDS.limit, segment.limit, true);
    this.view.setUint32(at + SEGMENT_FIELDS.attributes, segment.attributes, true);
    this.view.setUint32(at + SEGMENT_FIELDS.selector, segment.selector, true);
  }

  /** EFLAGS composed from the lazy words and the system bits. */
  get eflags(): number {
    const { words } = this;
    const state = this.offset >> 2;
    const zero = (words[state + FLAG_Z]! | words[state + FLAG_Z + 1]!) === 0;
    const signLow = words[state + FLAG_N]!;
    const carryHigh = words[state + FLAG_C + 1]!;
    let parity = signLow & 0xff;
    parity ^= parity >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return (
      (words[state + SYSTEM_FLAGS]! |
        2 |
        (carryHigh < 0 ? 1 : 0) |
        ((parity & 1) === 0 ? 4 : 0) |
        ((words[state + FLAG_A]! & 8) << 1) |
        (zero ? 0x40 : 0) |
        (words[state + FLAG_N + 1]! < 0 ? 0x80 : 0) |
        ((carryHigh ^ (carryHigh << 1)) < 0 ? 0x800 : 0)) >>>
      0
    );
  }

  set eflags(value: number) {
    const { words } = this;
    const state = this.offset >> 2;
    words[state + FLAG_Z] = (value & 0x40) !== 0 ? 0 : 1;
    words[state + FLAG_Z + 1] = 0;
    words[state + FLAG_N] = (value & 4) === 0 ? 1 : 0;
    words[state + FLAG_N + 1] = (value & 0x80) !== 0 ? SIGN : 0;
    const carry = (value & 1) !== 0;
    const overflow = (value & 0x800) !== 0;
    words[state + FLAG_C] = 0;
    words[state + FLAG_C + 1] = (carry ? SIGN : 0) | (carry !== overflow ? SIGN >>> 1 : 0);
    words[state + FLAG_A] = (value & 0x10) >> 1;
    words[state + SYSTEM_FLAGS] = value & 0x3f7700;
  }
}
