// Which pages of guest RAM were written since one last asked: what live migration, incremental snapshots and displays
// go by. Both engines stand behind it.

/** Guest pages of 4 KiB. */
export const DIRTY_PAGE_BYTES = 4096;

/**
 * A log of written pages. Calls come while no processor of the VM is in run(), or from the thread that runs them all.
 * Writes that devices make on the host's side are their own affair: whoever copies RAM asks the devices too.
 */
export interface DirtyLog {
  /** From now on writes are noted; nothing is dirty. */
  start(): void;
  stop(): void;
  /**
   * Pages written since start() or the last take(), which are clean again: bit n % 8 of byte n / 8 is page n from
   * guest-physical 0.
   */
  take(): Uint8Array;
}

/** Page numbers in a bitmap, ascending. */
export function* dirtyPages(bitmap: Uint8Array): Generator<number> {
  for (const [index, byte] of bitmap.entries()) {
    for (let bits = byte; bits !== 0; bits &= bits - 1) yield index * 8 + 31 - Math.clz32(bits & -bits);
  }
}
