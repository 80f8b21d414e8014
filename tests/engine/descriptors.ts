// Segment and gate descriptors as 8- and 16-byte table entries (SDM volume 3, 3.4.5, 5.8.3, 6.14.1, 7.2.3).

import { SEGMENT_ATTRIBUTE, type SegmentState } from '../../src/engine/vcpu-state.ts';

/** The 8-byte descriptor of a code or data segment, or the low half of a system one, from its hidden part. */
export function segmentDescriptor(segment: SegmentState): bigint {
  const { attributes } = segment;
  if (attributes & SEGMENT_ATTRIBUTE.UNUSABLE) return 0n;
  const limit = BigInt(attributes & SEGMENT_ATTRIBUTE.G ? segment.limit >>> 12 : segment.limit);
  const base = segment.base;
  return (
    (limit & 0xffffn) |
    ((base & 0xff_ffffn) << 16n) |
    (BigInt(attributes & 0xff) << 40n) |
    (((limit >> 16n) & 0xfn) << 48n) |
    (BigInt((attributes >> 12) & 0xf) << 52n) |
    (((base >> 24n) & 0xffn) << 56n)
  );
}

/** A 64-bit interrupt (type 14) or trap (type 15) gate, or call gate (type 12): two words. */
export function gateDescriptor(fields: {
  selector: number;
  offset: bigint;
  type: number;
  dpl: number;
  ist?: number;
  present?: boolean;
}): [bigint, bigint] {
  const { selector, offset, type, dpl, ist = 0, present = true } = fields;
  const low =
    (offset & 0xffffn) |
    (BigInt(selector) << 16n) |
    (BigInt(ist) << 32n) |
    (BigInt(type | (dpl << 5) | (present ? 0x80 : 0)) << 40n) |
    (((offset >> 16n) & 0xffffn) << 48n);
  return [low, (offset >> 32n) & 0xffff_ffffn];
}
