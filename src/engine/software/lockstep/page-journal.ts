// The pages of RAM that a processor has touched since begin(), with what was in them: so that they alone need be
// compared, and so that the processor can be taken back.
//
// A page is noted where the MMU lets stores through: when it fills a TLB entry (at which it asks whether the page holds
// code), and before each store of its own. begin() empties the write side of the TLB, so that every page's first store
// comes by.

import { TLB } from '../../../emit/record.ts';
import { DATA_TLB_BYTES, GUEST_RAM_OFFSET, layoutVcpu } from '../layout.ts';
import type { SoftwareVcpu } from '../vcpu.ts';

const PAGE_BYTES = 4096;
const PAGE_WORDS = PAGE_BYTES / 4;

export class PageJournal {
  private readonly vcpu: SoftwareVcpu;
  private readonly bytes: Uint8Array;
  private readonly words: Int32Array;
  /** Page -> index of its copy. */
  private readonly kept = new Map<number, number>();
  private readonly copies: Uint8Array[] = [];
  private readonly pages: number;

  /** Takes the place of what watches the processor's stores for code. */
  constructor(vcpu: SoftwareVcpu, memory: WebAssembly.Memory, ramBytes: number) {
    this.vcpu = vcpu;
    this.bytes = new Uint8Array(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.pages = Math.floor(ramBytes / PAGE_BYTES);
    const { code } = vcpu;
    vcpu.mmu.attachCode({
      holdsCode: (page) => {
        this.keep(page);
        return code.holdsCode(page);
      },
      noteWrite: (guestPhysical, lengthBytes) => {
        this.keepRange(guestPhysical, lengthBytes);
        code.noteWrite(guestPhysical, lengthBytes);
      },
    });
  }

  /** Forgets the pages; what is in them now counts. */
  begin(): void {
    this.kept.clear();
    this.vcpu.mmu.forbidAllDirectWrites();
  }

  keepRange(guestPhysical: number, lengthBytes: number): void {
    const last = Math.floor((guestPhysical + lengthBytes - 1) / PAGE_BYTES);
    for (let page = Math.floor(guestPhysical / PAGE_BYTES); page <= last; page++) this.keep(page);
  }

  private keep(page: number): void {
    if (this.kept.has(page) || page >= this.pages) return;
    const index = this.kept.size;
    this.kept.set(page, index);
    let copy = this.copies[index];
    if (copy === undefined) {
      copy = new Uint8Array(PAGE_BYTES);
      this.copies[index] = copy;
    }
    const at = GUEST_RAM_OFFSET + page * PAGE_BYTES;
    copy.set(this.bytes.subarray(at, at + PAGE_BYTES));
  }

  /** Whether the touched pages are the same in `other`, the words of another processor's memory. */
  isSame(other: Int32Array): boolean {
    for (const page of this.kept.keys()) if (!isSamePage(this.words, other, page)) return false;
    return true;
  }

  /** Those that are not. */
  differences(other: Int32Array): number[] {
    return [...this.kept.keys()].filter((page) => !isSamePage(this.words, other, page));
  }

  /** Puts back what was in the pages at begin(). */
  restore(): void {
    for (const [page, index] of this.kept) {
      this.bytes.set(this.copies[index]!, GUEST_RAM_OFFSET + page * PAGE_BYTES);
      this.vcpu.code.noteWrite(page * PAGE_BYTES, PAGE_BYTES);
    }
  }
}

/**
 * Whether all pages pass that a processor may have written through its TLB, of late or long ago. `words` are its
 * memory's.
 */
export function everyWritablePage(words: Int32Array, passes: (page: number) => boolean): boolean {
  const first = layoutVcpu(0, 1).tlbOffset / 4;
  const stride = (1 << TLB.strideLog2) / 4;
  for (let at = first; at < first + DATA_TLB_BYTES / 4; at += stride) {
    const tag = words[at + TLB.writeTag / 4]!;
    if ((tag & 0xfff) === 0) continue;
    const hostOffset = (words[at + TLB.addend / 4]! + (tag & ~0xfff)) >>> 0;
    if (!passes((hostOffset - GUEST_RAM_OFFSET) / PAGE_BYTES)) return false;
  }
  return true;
}

export function isSamePage(one: Int32Array, other: Int32Array, page: number): boolean {
  const first = GUEST_RAM_OFFSET / 4 + page * PAGE_WORDS;
  for (let at = first; at < first + PAGE_WORDS; at++) if (one[at] !== other[at]) return false;
  return true;
}

const ENTRY = { PRESENT: 1, ACCESSED: 0x20, LARGE: 0x80 } as const;

/**
 * Whether all that is different in a page is that the leader alone has set accessed bits of present page-table entries.
 * A processor may do that ahead of its execution (Intel SDM volume 3A, 4.8), and the translator does where it looks for
 * code. 8-byte entries; whether the page holds any is for isPageTable() to say.
 */
export function isAccessedAhead(follower: Int32Array, leader: Int32Array, page: number): boolean {
  const first = GUEST_RAM_OFFSET / 4 + page * PAGE_WORDS;
  for (let at = first; at < first + PAGE_WORDS; at++) {
    const [own, other] = [follower[at]!, leader[at]!];
    if (own === other) continue;
    if ((at & 1) !== 0 || (own | ENTRY.ACCESSED) !== other || (own & ENTRY.PRESENT) === 0) return false;
  }
  return true;
}

/** Whether a page is among the tables of 4-level paging from `root` on, which is a page too. */
export function isPageTable(words: Int32Array, ramBytes: number, root: number, page: number, level = 4): boolean {
  if (root === page) return true;
  if (level === 1 || (root + 1) * PAGE_BYTES > ramBytes) return false;
  const first = GUEST_RAM_OFFSET / 4 + root * PAGE_WORDS;
  for (let at = first; at < first + PAGE_WORDS; at += 2) {
    const low = words[at]!;
    if ((low & ENTRY.PRESENT) === 0 || (level < 4 && (low & ENTRY.LARGE) !== 0)) continue;
    const next = (words[at + 1]! & 0xff) * 0x10_0000 + (low >>> 12);
    if (isPageTable(words, ramBytes, next, page, level - 1)) return true;
  }
  return false;
}

/** Pages of RAM, from 0 on, that are not the same in two memories. */
export function findDifferingPages(one: Int32Array, other: Int32Array, ramBytes: number): number[] {
  const pages: number[] = [];
  for (let page = 0; page < Math.floor(ramBytes / PAGE_BYTES); page++) {
    if (!isSamePage(one, other, page)) pages.push(page);
  }
  return pages;
}
