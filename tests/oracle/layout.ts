// The user-mode address space in which every fuzzed instruction runs, the same on the host and in the guest:
// a few pages with unmapped and read-only neighbours, and the selectors of Linux's GDT plus a small LDT.

import { SEGMENT_ATTRIBUTE, type SegmentState } from '../../src/engine/vcpu-state.ts';

export const PAGE_BYTES = 4096;

export interface LayoutPage {
  readonly guestVirtual: number;
  readonly writable: boolean;
  readonly executable: boolean;
}

export const DATA_BASE = 0x1000_0000;
export const CODE_BASE = 0x2000_0000;

/** Everything else below 2^47 is unmapped; so are 0x10002000 and 0x10005000, and what lies around the code. */
export const PAGES: readonly LayoutPage[] = [
  { guestVirtual: DATA_BASE, writable: true, executable: false },
  { guestVirtual: DATA_BASE + 0x1000, writable: true, executable: false },
  { guestVirtual: DATA_BASE + 0x3000, writable: true, executable: false },
  { guestVirtual: DATA_BASE + 0x4000, writable: false, executable: false },
  { guestVirtual: CODE_BASE, writable: true, executable: true },
  { guestVirtual: CODE_BASE + 0x1000, writable: true, executable: true },
];

const BREAKPOINT = 0xcc;

/** What a page holds before a case: breakpoints in code, a fixed pattern with small and large numbers in data. */
export function pageContent(page: LayoutPage): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(PAGE_BYTES);
  if (page.executable) return bytes.fill(BREAKPOINT);
  let x = page.guestVirtual;
  for (let i = 0; i < PAGE_BYTES; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    bytes[i] = (i & 0x80) === 0 ? x >>> 24 : (x >>> 28) & (i & 7 ? 0 : 0xf);
  }
  return bytes;
}

const USER = 3;
const ldtSelector = (entry: number) => (entry << 3) | 4 | USER;

/** Selectors of Linux's GDT (arch/x86/include/asm/segment.h). */
export const SELECTOR = {
  userCode32: 0x23,
  userData: 0x2b,
  userCode64: 0x33,
  code16: ldtSelector(0),
  data16: ldtSelector(1),
  data32: ldtSelector(2),
  expandDown: ldtSelector(3),
  code32: ldtSelector(4),
  readOnly: ldtSelector(5),
} as const;

const A = SEGMENT_ATTRIBUTE;
const DATA = A.P | A.DPL_MASK | A.S | 0x3;
const CODE = A.P | A.DPL_MASK | A.S | 0xb;

const segment = (selector: number, base: number, limit: number, attributes: number): SegmentState => ({
  selector,
  base: BigInt(base),
  limit,
  attributes,
});

/** The descriptors that user code can load, as hidden parts of a segment register. */
export const GDT_SEGMENTS: readonly SegmentState[] = [
  segment(SELECTOR.userCode32, 0, 0xffff_ffff, CODE | A.DB | A.G),
  segment(SELECTOR.userData, 0, 0xffff_ffff, DATA | A.DB | A.G),
  segment(SELECTOR.userCode64, 0, 0xffff_ffff, CODE | A.L | A.G),
];

/** In the order of the entries. */
export const LDT_SEGMENTS: readonly SegmentState[] = [
  segment(SELECTOR.code16, CODE_BASE, 0x1fff, CODE),
  segment(SELECTOR.data16, DATA_BASE, 0xffff, DATA),
  segment(SELECTOR.data32, DATA_BASE, 0x4fff, DATA | A.DB),
  segment(SELECTOR.expandDown, DATA_BASE, 0x0fff, DATA | 0x4 | A.DB),
  segment(SELECTOR.code32, CODE_BASE, 0x1fff, CODE | A.DB),
  segment(SELECTOR.readOnly, DATA_BASE, 0x5fff, (DATA & ~0x2) | A.DB),
];

export const NULL_SEGMENT: SegmentState = segment(0, 0, 0, A.UNUSABLE);

export function findSegment(selector: number): SegmentState {
  if ((selector & ~3) === 0) return { ...NULL_SEGMENT, selector };
  const table = selector & 4 ? LDT_SEGMENTS : GDT_SEGMENTS;
  const found = table.find((entry) => (entry.selector | 3) === (selector | 3));
  if (found === undefined) throw new RangeError(`no descriptor for selector 0x${selector.toString(16)}`);
  return found;
}
