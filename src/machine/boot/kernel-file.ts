// A kernel file's bytes with checked little-endian reads: whatever lies outside the file is one UserError.

import { UserError } from '../../base/errors.ts';

/** The bytes of a kernel, and the name that messages call it by. */
export class KernelFile {
  readonly name: string;
  readonly bytes: Uint8Array;
  private readonly view: DataView;

  constructor(name: string, bytes: Uint8Array) {
    this.name = name;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get sizeBytes(): number {
    return this.bytes.length;
  }

  u8(fileOffset: number, what: string): number {
    this.check(fileOffset, 1, what);
    return this.view.getUint8(fileOffset);
  }

  u16(fileOffset: number, what: string): number {
    this.check(fileOffset, 2, what);
    return this.view.getUint16(fileOffset, true);
  }

  u32(fileOffset: number, what: string): number {
    this.check(fileOffset, 4, what);
    return this.view.getUint32(fileOffset, true);
  }

  u64(fileOffset: number, what: string): bigint {
    this.check(fileOffset, 8, what);
    return this.view.getBigUint64(fileOffset, true);
  }

  /** A live view of a part of the file. */
  slice(fileOffset: number, sizeBytes: number, what: string): Uint8Array {
    this.check(fileOffset, sizeBytes, what);
    return this.bytes.subarray(fileOffset, fileOffset + sizeBytes);
  }

  /** The error for a file that is the right kind of kernel but breaks that kind's rules. */
  damaged(reason: string): UserError {
    return new UserError(`${this.name} is damaged: ${reason}`);
  }

  private check(fileOffset: number, sizeBytes: number, what: string): void {
    if (!(fileOffset >= 0 && sizeBytes >= 0 && fileOffset + sizeBytes <= this.bytes.length)) {
      throw this.damaged(`its ${what} lies outside the file (${this.bytes.length} bytes)`);
    }
  }
}
