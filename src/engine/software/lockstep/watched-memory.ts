// Guest RAM that tells of what devices write to it, so that a second copy of the RAM can follow.

import { GuestMemory } from '../../../memory/guest-memory.ts';

export class WatchedMemory extends GuestMemory {
  /** Called with every range that was written or, for bytes(), that its caller may write from now on. */
  onWrite: (guestPhysical: number, lengthBytes: number) => void = () => {};

  override bytes(guestPhysical: number, lengthBytes: number): Uint8Array {
    const bytes = super.bytes(guestPhysical, lengthBytes);
    this.onWrite(guestPhysical, lengthBytes);
    return bytes;
  }

  override writeU8(guestPhysical: number, value: number): void {
    super.writeU8(guestPhysical, value);
    this.onWrite(guestPhysical, 1);
  }

  override writeU16(guestPhysical: number, value: number): void {
    super.writeU16(guestPhysical, value);
    this.onWrite(guestPhysical, 2);
  }

  override writeU32(guestPhysical: number, value: number): void {
    super.writeU32(guestPhysical, value);
    this.onWrite(guestPhysical, 4);
  }

  override writeU64(guestPhysical: number, value: bigint): void {
    super.writeU64(guestPhysical, value);
    this.onWrite(guestPhysical, 8);
  }
}
