// The decoded record: what a handler reads of its instruction, 32 bytes in engine memory, and the software TLBs.
// Offsets in bytes. Records of consecutive instructions follow each other, so that the next one is 32 bytes on.

import { TLB_BYTES_LOG2 } from '../ir/guest-state.ts';

export const RECORD = {
  sizeBytes: 32,
  /** u16: index of the handler in the table. */
  handler: 0,
  /** u16: byte offset in the processor's state of the first and second register operand, or a plain register number. */
  r0: 2,
  r1: 4,
  /** u16: state offsets of base and index; the `zero` field where there is none. */
  base: 6,
  index: 8,
  /** u8: left shift of the index. */
  scale: 10,
  /** u8: length of the instruction. */
  length: 11,
  /** u16: offset of the instruction in its page. */
  ip: 12,
  /** u16: state offset of the segment (a multiple of 32), plus ADDRESS_SIZE_CODE. */
  segment: 14,
  /** i32: displacement; second immediate where there is no memory operand. */
  displacement: 16,
  /** u32: host offset of the record that a direct branch leads to, once known; 0 before. Same page only. */
  link: 20,
  /** i64: first immediate; for a direct branch its target relative to the code page. */
  imm0: 24,
} as const;

/**
 * Where calls, returns and jumps out of regions went last: `entries` x 32 bytes, by a hash of the address. An entry
 * counts when the address and the epoch are those of now.
 */
export const JUMP_CACHE = {
  entriesLog2: 12,
  strideLog2: 5,
  sizeBytes: 32 << 12,
  /** u64: the address. */
  target: 0,
  /** u32: codeEpoch then. */
  epoch: 8,
  /** u32: host offset of the region's record there, plus REGION_VERIFIED; u32: its place in the table of handlers. */
  record: 12,
  handler: 16,
} as const;

/** Added to the record that a region is called with: its pages are known to be in place. */
export const REGION_VERIFIED = 1;

/** Fields of a region's own record, which has no operands. */
export const REGION_RECORD = {
  /** u32: codeEpoch when the region's pages were last found in place, at `verifiedPage`. */
  verifiedEpoch: RECORD.displacement,
  /** u64: codePage then. */
  verifiedPage: RECORD.imm0,
  /** u8: 1 when the region has more than one page. */
  spansPages: RECORD.scale,
} as const;

/** Of a direct branch, which has no displacement: i32, how often it may still be taken before its target is hot. */
export const BRANCH_COUNT = RECORD.displacement;
/** Of a direct branch, which has no register: u16, the jumps that it counts as, more at the end of a long loop. */
export const BRANCH_JUMPS = RECORD.r0;

/** Counters of where indirect jumps go, hashed by address: `entries` x u32 behind the processor's TLBs. */
export const HEAT = { entriesLog2: 12, sizeBytes: 4 << 12 } as const;

export const ADDRESS_SIZE_CODE = { 8: 0, 4: 1, 2: 2 } as const;

/**
 * Data TLB of one privilege: `entries` x 32 bytes, direct-mapped by page number, and behind them as many victims:
 * entries that had to make room, by another hash, which is asked where the first one misses.
 * A tag is the page's address with the address-space key in its low 12 bits; 0 never matches a key in use.
 */
export const TLB = {
  entriesLog2: 11,
  strideLog2: 5,
  readTag: 0,
  writeTag: 8,
  /** u32: host offset minus the low half of the guest-virtual address. */
  addend: 16,
  sizeBytes: 1 << TLB_BYTES_LOG2,
  victims: 1 << (TLB_BYTES_LOG2 - 1),
} as const;

/** The exclusive or of an address shifted so gives a victim's place: what meets in the TLB does not meet there. */
export const VICTIM_SHIFTS = [12, 23, 34] as const;

/** Code TLB of one privilege and code size: tag, then the host offset of the page's table of records by offset. */
export const CODE_TLB = {
  entriesLog2: 11,
  strideLog2: 4,
  tag: 0,
  page: 8,
  sizeBytes: 16 << 11,
} as const;

/** A code page's table: 4096 x u32, the record for an instruction that starts at that offset, or 0. */
export const CODE_PAGE_TABLE_BYTES = 4096 * 4;

/**
 * The privileges that have a data TLB of their own: SMAP makes supervisor accesses depend on EFLAGS.AC; with AC, CPL 3
 * accesses are checked for alignment, and the TLB of that class stays empty.
 */
export const TLB_CLASS = { supervisor: 0, supervisorWithAc: 1, user: 2, userAligned: 3 } as const;
