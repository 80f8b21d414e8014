// How the engine's own functions reach guest memory by linear address: descriptor tables, task state, stacks of
// another privilege. Implemented by the MMU (mmu.ts).

export interface LinearMemory {
  /**
   * Reads 1, 2, 4 or 8 bytes. `user`: with the rights of CPL 3, otherwise as an implicit supervisor access.
   * Throws GuestFault #PF (CR2 set). Addresses outside 64-bit mode are truncated to 32 bits by the caller.
   */
  read(linear: bigint, sizeBytes: number, user: boolean): bigint;
  write(linear: bigint, sizeBytes: number, value: bigint, user: boolean): void;
  /**
   * Host offset of `sizeBytes` in RAM within one page, with the rights as above; 0 where read() or write() is to be
   * used. Throws GuestFault #PF (CR2 set).
   */
  direct(low: number, high: number, sizeBytes: number, write: boolean, user: boolean): number;
  /** Throws #PF unless `sizeBytes` at `linear` can be written: pushes check before they change anything. */
  probeWrite(linear: bigint, sizeBytes: number, user: boolean): void;
}
