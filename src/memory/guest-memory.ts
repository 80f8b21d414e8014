// Guest RAM: one window of a shared WebAssembly.Memory, addressed by guest-physical address from 0.
// The bytes before the window belong to the engine (src/engine/software/layout.ts); guest code never reaches them.

/** An access outside guest RAM; a device answers it as its specification says, a loader reports it. */
export class GuestMemoryError extends RangeError {
  override readonly name = 'GuestMemoryError';
}

/**
 * Guest RAM as little-endian bytes, halves, words and doublewords. Every accessor checks its range and throws
 * GuestMemoryError outside it. RAM is one block from guest-physical 0, at most 3 GiB.
 */
export class GuestMemory {
  readonly memory: WebAssembly.Memory;
  /** Offset of guest-physical 0 within `memory`, in bytes. */
  readonly hostOffset: number;
  readonly sizeBytes: number;
  private readonly view: DataView;

  constructor(memory: WebAssembly.Memory, hostOffset: number, sizeBytes: number) {
    if (hostOffset + sizeBytes > memory.buffer.byteLength) throw new GuestMemoryError('guest RAM exceeds its memory');
    this.memory = memory;
    this.hostOffset = hostOffset;
    this.sizeBytes = sizeBytes;
    this.view = new DataView(memory.buffer, hostOffset, sizeBytes);
  }

  contains(guestPhysical: number, lengthBytes: number): boolean {
    return guestPhysical >= 0 && lengthBytes >= 0 && guestPhysical + lengthBytes <= this.sizeBytes;
  }

  /** A live view of `lengthBytes` bytes of RAM. */
  bytes(guestPhysical: number, lengthBytes: number): Uint8Array {
    this.check(guestPhysical, lengthBytes);
    return new Uint8Array(this.memory.buffer, this.hostOffset + guestPhysical, lengthBytes);
  }

  write(guestPhysical: number, source: Uint8Array): void {
    this.bytes(guestPhysical, source.length).set(source);
  }

  readU8(guestPhysical: number): number {
    this.check(guestPhysical, 1);
    return this.view.getUint8(guestPhysical);
  }

  readU16(guestPhysical: number): number {
    this.check(guestPhysical, 2);
    return this.view.getUint16(guestPhysical, true);
  }

  readU32(guestPhysical: number): number {
    this.check(guestPhysical, 4);
    return this.view.getUint32(guestPhysical, true);
  }

  readU64(guestPhysical: number): bigint {
    this.check(guestPhysical, 8);
    return this.view.getBigUint64(guestPhysical, true);
  }

  writeU8(guestPhysical: number, value: number): void {
    this.check(guestPhysical, 1);
    this.view.setUint8(guestPhysical, value);
  }

  writeU16(guestPhysical: number, value: number): void {
    this.check(guestPhysical, 2);
    this.view.setUint16(guestPhysical, value, true);
  }

  writeU32(guestPhysical: number, value: number): void {
    this.check(guestPhysical, 4);
    this.view.setUint32(guestPhysical, value, true);
  }

  writeU64(guestPhysical: number, value: bigint): void {
    this.check(guestPhysical, 8);
    this.view.setBigUint64(guestPhysical, value, true);
  }

  private check(guestPhysical: number, lengthBytes: number): void {
    if (!this.contains(guestPhysical, lengthBytes)) {
      throw new GuestMemoryError(
        `guest-physical 0x${guestPhysical.toString(16)} + ${lengthBytes} lies outside RAM of ${this.sizeBytes} bytes`,
      );
    }
  }
}
