// Which pages of guest RAM were written since one last asked: what live migration, incremental snapshots and displays
// go by. Both engines stand behind it.

/** Guest pages of 4 KiB. */
export const DIRTY_PAGE_BYTES = 4096;

/**
 * A log of pages that processors write: stores, and what goes with them, such as exception frames and the accessed and
 * dirty bits of page tables. All of those are in it; KVM adds pages that it made writable when they were first read.
 * Calls come while no processor of the VM is in run(), or from VcpuHost.poll().
 *
 * Writes that devices make on the host's side are their own affair: whoever copies RAM asks the devices too. What
 * Vcpu.invalidateCode is told of is noted.
 */
export interface DirtyLog {
  /** From now on writes are noted; nothing is dirty, whether the log was on before or not. */
  start(): void;
  stop(): void;
  /**
   * Pages written since start() or the last take(), which are clean again: bit n % 8 of byte n / 8 is page n from
   * guest-physical 0. The length is a multiple of 8 bytes. Throws where the log is not on.
   */
  take(): Uint8Array;
}

/** The bitmap of a log, for those who keep it themselves. */
export class DirtyBitmap {
  private bits: Uint8Array;
  private readonly pages: number;

  constructor(ramBytes: number) {
    this.pages = Math.ceil(ramBytes / DIRTY_PAGE_BYTES);
    this.bits = new Uint8Array(Math.ceil(this.pages / 64) * 8);
  }

  has(page: number): boolean {
    return (this.bits[page >>> 3]! & (1 << (page & 7))) !== 0;
  }

  /** Pages outside RAM are none. */
  notePage(page: number): void {
    if (page < this.pages) this.bits[page >>> 3]! |= 1 << (page & 7);
  }

  note(guestPhysical: number, lengthBytes: number): void {
    if (lengthBytes <= 0) return;
    const last = Math.min(Math.floor((guestPhysical + lengthBytes - 1) / DIRTY_PAGE_BYTES), this.pages - 1);
    for (let page = Math.floor(guestPhysical / DIRTY_PAGE_BYTES); page <= last; page++) this.notePage(page);
  }

  /** Notes all pages of another bitmap of the same size. */
  add(bitmap: Uint8Array): void {
    for (const [index, byte] of bitmap.entries()) this.bits[index]! |= byte;
  }

  /** What was noted since the last call. */
  take(): Uint8Array {
    const { bits } = this;
    this.bits = new Uint8Array(bits.length);
    return bits;
  }
}

/** Page numbers in a bitmap, ascending. */
export function* dirtyPages(bitmap: Uint8Array): Generator<number> {
  for (const [index, byte] of bitmap.entries()) {
    for (let bits = byte; bits !== 0; bits &= bits - 1) yield index * 8 + 31 - Math.clz32(bits & -bits);
  }
}
