// A queue of bytes in shared memory, from one thread to one other.
//
//     int32 written | int32 taken | bytes ...      both counts wrap at 2^32; the capacity is a power of two

const HEADER_BYTES = 8;
const WRITTEN = 0;
const TAKEN = 1;

/** Shared memory for a ring of `capacityBytes`, a power of two. */
export function createRingBuffer(capacityBytes: number): SharedArrayBuffer {
  if (capacityBytes < 1 || (capacityBytes & (capacityBytes - 1)) !== 0) {
    throw new RangeError(`a ring of ${capacityBytes} bytes: the capacity must be a power of two`);
  }
  return new SharedArrayBuffer(HEADER_BYTES + capacityBytes);
}

/** One end of a ring. `write` belongs to one thread, `read` to one other. Neither waits. */
export class ByteRing {
  readonly capacityBytes: number;
  private readonly counts: Int32Array;
  private readonly bytes: Uint8Array;

  constructor(buffer: SharedArrayBuffer) {
    this.counts = new Int32Array(buffer, 0, 2);
    this.bytes = new Uint8Array(buffer, HEADER_BYTES);
    this.capacityBytes = this.bytes.length;
  }

  /** How many bytes wait to be read. */
  get usedBytes(): number {
    return (Atomics.load(this.counts, WRITTEN) - Atomics.load(this.counts, TAKEN)) | 0;
  }

  get freeBytes(): number {
    return this.capacityBytes - this.usedBytes;
  }

  /** Appends as much of `source` as fits; returns how many bytes that was. */
  write(source: Uint8Array): number {
    const count = Math.min(source.length, this.freeBytes);
    if (count === 0) return 0;
    const written = Atomics.load(this.counts, WRITTEN);
    const at = written & (this.capacityBytes - 1);
    const first = Math.min(count, this.capacityBytes - at);
    this.bytes.set(source.subarray(0, first), at);
    this.bytes.set(source.subarray(first, count), 0);
    Atomics.store(this.counts, WRITTEN, (written + count) | 0);
    return count;
  }

  /** Takes up to `maxBytes` bytes; empty where nothing waits. The result is the caller's own. */
  read(maxBytes: number): Uint8Array {
    const count = Math.min(maxBytes, this.usedBytes);
    const result = new Uint8Array(count);
    if (count === 0) return result;
    const taken = Atomics.load(this.counts, TAKEN);
    const at = taken & (this.capacityBytes - 1);
    const first = Math.min(count, this.capacityBytes - at);
    result.set(this.bytes.subarray(at, at + first));
    result.set(this.bytes.subarray(0, count - first), first);
    Atomics.store(this.counts, TAKEN, (taken + count) | 0);
    return result;
  }
}
