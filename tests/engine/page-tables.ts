// Builds 4-level page tables in guest RAM (SDM volume 3, 4.5) from a list of mappings.

import type { GuestMemory } from '../../src/memory/guest-memory.ts';

export const PTE = {
  P: 1n << 0n,
  W: 1n << 1n,
  U: 1n << 2n,
  PWT: 1n << 3n,
  PCD: 1n << 4n,
  A: 1n << 5n,
  D: 1n << 6n,
  PS: 1n << 7n,
  G: 1n << 8n,
  NX: 1n << 63n,
} as const;

const ENTRIES_LEVEL = 9;
const ADDRESS = 0x000f_ffff_ffff_f000n;

/** Leaf sizes by level: 4 KiB, 2 MiB, 1 GiB. */
export type LeafLevel = 1 | 2 | 3;

export class PageTables {
  readonly root: number;
  private readonly memory: GuestMemory;
  private nextTable: number;

  /** Tables are taken from `firstTable` upwards, a page each; the first is the root that CR3 names. */
  constructor(memory: GuestMemory, firstTable: number) {
    this.memory = memory;
    this.root = firstTable;
    this.nextTable = firstTable;
    this.takeTable();
  }

  private takeTable(): number {
    const table = this.nextTable;
    this.memory.bytes(table, 4096).fill(0);
    this.nextTable += 4096;
    return table;
  }

  /**
   * Guest-physical address of the entry of `guestVirtual` at `level` (4: PML4E … 1: PTE); makes the tables above it.
   */
  entry(guestVirtual: bigint, level: 1 | 2 | 3 | 4): number {
    let table = this.root;
    for (let at = 4; ; at--) {
      const index = Number((guestVirtual >> BigInt(12 + (at - 1) * ENTRIES_LEVEL)) & 0x1ffn);
      const entry = table + index * 8;
      if (at === level) return entry;
      const value = this.memory.readU64(entry);
      if ((value & PTE.P) === 0n) {
        table = this.takeTable();
        this.memory.writeU64(entry, BigInt(table) | PTE.P | PTE.W | PTE.U);
      } else table = Number(value & ADDRESS);
    }
  }

  /** Maps one page (or a 2 MiB or 1 GiB one by `level`) with the flags given; P is included. */
  map(guestVirtual: bigint, guestPhysical: number, flags: bigint, level: LeafLevel = 1): void {
    const size = level > 1 ? PTE.PS : 0n;
    this.memory.writeU64(this.entry(guestVirtual, level), BigInt(guestPhysical) | flags | size | PTE.P);
  }
}
