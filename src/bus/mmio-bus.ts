// Guest-physical addresses that are not RAM: from an address to the device that decodes it.
// Addresses are JavaScript numbers (exact to 53 bits, more than any processor's physical address width).

import type { AccessSizeBytes } from './port-bus.ts';

/**
 * A device's side of a range of guest-physical addresses. `offset` counts from the range's start. Values are unsigned
 * and no wider than the access. Neither call may throw, whatever the guest does.
 */
export interface MmioHandler {
  readMmio(offset: number, sizeBytes: AccessSizeBytes): number;
  writeMmio(offset: number, sizeBytes: AccessSizeBytes, value: number): void;
}

export interface MmioRange {
  name: string;
  guestPhysical: number;
  sizeBytes: number;
  handler: MmioHandler;
}

const ALL_ONES = { 1: 0xff, 2: 0xffff, 4: 0xffffffff } as const;

/** An access belongs to the range that holds its first byte. Unclaimed addresses read all ones and drop writes. */
export class MmioBus {
  private readonly ranges: MmioRange[] = [];
  private lastHit: MmioRange | undefined;

  /** Claims a range. Throws where it overlaps another: that is a defect of the machine. */
  map(range: MmioRange): void {
    const end = range.guestPhysical + range.sizeBytes;
    const other = this.ranges.find(
      (one) => one.guestPhysical < end && range.guestPhysical < one.guestPhysical + one.sizeBytes,
    );
    if (other) throw new RangeError(`${range.name}: 0x${range.guestPhysical.toString(16)} overlaps ${other.name}`);
    this.ranges.push(range);
  }

  /** Gives a range back, as when a PCI base address register moves. */
  unmap(range: MmioRange): void {
    const index = this.ranges.indexOf(range);
    if (index >= 0) this.ranges.splice(index, 1);
    this.lastHit = undefined;
  }

  read(guestPhysical: number, sizeBytes: AccessSizeBytes): number {
    const range = this.find(guestPhysical);
    return range === undefined
      ? ALL_ONES[sizeBytes]
      : range.handler.readMmio(guestPhysical - range.guestPhysical, sizeBytes);
  }

  write(guestPhysical: number, sizeBytes: AccessSizeBytes, value: number): void {
    const range = this.find(guestPhysical);
    if (range === undefined) return;
    const masked = (value & ALL_ONES[sizeBytes]) >>> 0;
    range.handler.writeMmio(guestPhysical - range.guestPhysical, sizeBytes, masked);
  }

  /** An 8-byte read as two of 4 bytes: [low, high]. */
  read64(guestPhysical: number): [low: number, high: number] {
    return [this.read(guestPhysical, 4), this.read(guestPhysical + 4, 4)];
  }

  /** An 8-byte write as two of 4 bytes, the low half first. */
  write64(guestPhysical: number, low: number, high: number): void {
    this.write(guestPhysical, 4, low);
    this.write(guestPhysical + 4, 4, high);
  }

  private find(guestPhysical: number): MmioRange | undefined {
    const last = this.lastHit;
    if (
      last !== undefined &&
      guestPhysical >= last.guestPhysical &&
      guestPhysical < last.guestPhysical + last.sizeBytes
    ) {
      return last;
    }
    for (const range of this.ranges) {
      if (guestPhysical >= range.guestPhysical && guestPhysical < range.guestPhysical + range.sizeBytes) {
        this.lastHit = range;
        return range;
      }
    }
    return undefined;
  }
}
