// The memory of decoded records and of pages' tables, in chunks. What is given back may still be in use by code that is
// on its way: it is given out again after the next settle(), which is called when none is.

/** Chunks are this long, or a multiple of it. */
export const CHUNK_BYTES = 4096;

export class RecordPool {
  private readonly begin: number;
  private readonly end: number;
  private next: number;
  /** By length. */
  private readonly free = new Map<number, number[]>();
  private leaving: { at: number; sizeBytes: number }[] = [];
  /** Given out, and not given back. */
  usedBytes = 0;
  /** Given back, and not yet to be given out again. */
  leavingBytes = 0;

  constructor(begin: number, end: number) {
    this.begin = begin;
    this.end = end;
    this.next = begin;
  }

  /** Host offset of `sizeBytes`, a multiple of CHUNK_BYTES, filled with zeros; 0 when there is no room. */
  take(bytes: Uint8Array, sizeBytes: number): number {
    let at = this.free.get(sizeBytes)?.pop() ?? 0;
    if (at === 0) {
      if (this.next + sizeBytes > this.end) return 0;
      at = this.next;
      this.next += sizeBytes;
    }
    bytes.fill(0, at, at + sizeBytes);
    this.usedBytes += sizeBytes;
    return at;
  }

  giveBack(at: number, sizeBytes: number): void {
    this.leaving.push({ at, sizeBytes });
    this.leavingBytes += sizeBytes;
    this.usedBytes -= sizeBytes;
  }

  /** No generated code is on its way. */
  settle(): void {
    for (const { at, sizeBytes } of this.leaving) {
      const list = this.free.get(sizeBytes);
      if (list === undefined) this.free.set(sizeBytes, [at]);
      else list.push(at);
    }
    this.leaving = [];
    this.leavingBytes = 0;
  }

  /** Takes everything back at once. */
  reset(): void {
    this.free.clear();
    this.leaving = [];
    this.leavingBytes = 0;
    this.usedBytes = 0;
    this.next = this.begin;
  }
}
