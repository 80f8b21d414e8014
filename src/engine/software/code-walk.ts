// Where code lies, by page tables that somebody else may be changing: a page walk for whoever translates elsewhere.
// What it finds is a guess that the processor checks before it runs anything. Intel SDM volume 3A, 4.5.

import { PTE } from '../../isa/page-tables.ts';
import { GUEST_RAM_OFFSET } from './layout.ts';

/** An address space as 64-bit code of one privilege sees it. */
export interface CodeSpace {
  /** Guest-physical address of the topmost table. */
  readonly root: number;
  readonly user: boolean;
}

const LEVELS = [39n, 30n, 21n, 12n] as const;

/**
 * The number of the physical page at a linear address; undefined where it is not plainly one of `ramBytes` of RAM that
 * may be executed at that privilege and has been used already.
 */
export function walkCode(words: Int32Array, ramBytes: number, space: CodeSpace, linear: bigint): number | undefined {
  let table = space.root;
  for (const shift of LEVELS) {
    if (table + 4096 > ramBytes) return undefined;
    const at = (GUEST_RAM_OFFSET + table + Number((linear >> shift) & 0x1ffn) * 8) >>> 2;
    const low = words[at]!;
    const high = words[at + 1]!;
    // Bits 62:52 mean nothing to the processor; bit 63 forbids execution.
    if ((low & (PTE.P | PTE.A)) !== (PTE.P | PTE.A) || (high & 0x800fffff) !== 0) return undefined;
    // Supervisor code in a user's page is rare, and SMEP forbids it.
    if (space.user && (low & PTE.U) === 0) return undefined;
    const isLarge = (low & PTE.PS) !== 0 && (shift === 30n || shift === 21n);
    table = (low & ~0xfff) >>> 0;
    if (shift === 12n || isLarge) {
      if (!space.user && (low & PTE.U) !== 0) return undefined;
      const within = Number((linear >> 12n) & ((1n << (shift - 12n)) - 1n));
      const page = (isLarge ? (table >>> 12) & ~((1 << Number(shift - 12n)) - 1) : table >>> 12) + within;
      return page < ramBytes / 4096 ? page : undefined;
    }
  }
  return undefined;
}
