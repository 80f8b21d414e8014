// Who owns which part of guest RAM while a kernel is being loaded: fixed ranges are claimed, the rest is placed.
// Nothing is written outside a range that was given out here, so that no two parts of a boot overlap.

import { UserError } from '../../base/errors.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';

export const PAGE_BYTES = 4096;
const MIB = 1024 * 1024;
/** The most RAM that a machine can have (src/memory/guest-memory.ts). */
export const MAXIMUM_RAM_BYTES = 3072 * MIB;

export const alignUp = (value: number, alignment: number): number => Math.ceil(value / alignment) * alignment;
export const alignDown = (value: number, alignment: number): number => Math.floor(value / alignment) * alignment;

interface Range {
  start: number;
  end: number;
  what: string;
}

export class BootSpace {
  readonly memory: GuestMemory;
  private readonly kernelName: string;
  /** Sorted by address, without overlaps. */
  private readonly taken: Range[] = [];

  constructor(memory: GuestMemory, kernelName: string) {
    this.memory = memory;
    this.kernelName = kernelName;
  }

  /** Takes a range whose place is given. Throws UserError when it lies outside RAM or meets another. */
  claim(start: number, sizeBytes: number, what: string): void {
    const end = start + sizeBytes;
    if (end > MAXIMUM_RAM_BYTES) {
      throw new UserError(
        `${this.kernelName} cannot be loaded: ${what} lies at ${hex(start)} to ${hex(end)}, ` +
          'beyond the 3 GiB of memory that a machine can have',
      );
    }
    if (end > this.memory.sizeBytes) throw tooLittleMemory(this.kernelName, end, this.memory.sizeBytes);
    const conflict = this.conflict(start, end);
    if (conflict !== undefined) {
      throw new UserError(
        `${this.kernelName} cannot be loaded: ${what} (${hex(start)} to ${hex(end)}) overlaps ` +
          `${conflict.what} (${hex(conflict.start)} to ${hex(conflict.end)})`,
      );
    }
    this.insert({ start, end, what });
  }

  /** Takes the lowest free range at or above `from` and returns its start. Throws UserError when RAM ends first. */
  placeLow(sizeBytes: number, alignment: number, from: number, what: string): number {
    let start = alignUp(from, alignment);
    for (const range of this.taken) {
      if (range.end > start && range.start < start + sizeBytes) start = alignUp(range.end, alignment);
    }
    if (start + sizeBytes > this.memory.sizeBytes) {
      throw tooLittleMemory(this.kernelName, start + sizeBytes, this.memory.sizeBytes);
    }
    this.insert({ start, end: start + sizeBytes, what });
    return start;
  }

  /**
   * Takes the highest free range that ends at or below `limit` and starts at or above `from`; returns its start.
   * Throws UserError when there is none.
   */
  placeHigh(sizeBytes: number, alignment: number, from: number, limit: number, what: string): number {
    let start = alignDown(Math.min(limit, this.memory.sizeBytes) - sizeBytes, alignment);
    for (const range of this.taken.toReversed()) {
      if (range.end > start && range.start < start + sizeBytes) start = alignDown(range.start - sizeBytes, alignment);
    }
    if (start < from) {
      const needed = alignUp(from, alignment) + alignUp(sizeBytes, alignment);
      if (needed > limit) {
        throw new UserError(
          `${what} of ${mebibytes(sizeBytes)} MiB does not fit: ${this.kernelName} takes it between ` +
            `${hex(from)} and ${hex(limit)}`,
        );
      }
      throw tooLittleMemory(
        `${this.kernelName} with ${what} of ${mebibytes(sizeBytes)} MiB`,
        needed,
        this.memory.sizeBytes,
      );
    }
    this.insert({ start, end: start + sizeBytes, what });
    return start;
  }

  private conflict(start: number, end: number): Range | undefined {
    return this.taken.find((range) => range.end > start && range.start < end);
  }

  private insert(range: Range): void {
    if (range.start === range.end) return;
    const index = this.taken.findIndex((other) => other.start > range.start);
    this.taken.splice(index === -1 ? this.taken.length : index, 0, range);
  }
}

/** Throws UserError when `memory` is smaller than `neededBytes`, which `what` needs. */
export function requireRam(memory: GuestMemory, what: string, neededBytes: number): void {
  if (neededBytes > memory.sizeBytes) throw tooLittleMemory(what, neededBytes, memory.sizeBytes);
}

const hex = (value: number): string => `0x${value.toString(16)}`;
const mebibytes = (sizeBytes: number): number => Math.ceil(sizeBytes / MIB);

function tooLittleMemory(what: string, neededBytes: number, ramBytes: number): UserError {
  const needed = mebibytes(neededBytes);
  if (neededBytes > MAXIMUM_RAM_BYTES) {
    return new UserError(`${what} needs ${needed} MiB of guest memory, and a machine can have at most 3072 MiB`);
  }
  return new UserError(
    `${what} needs at least ${needed} MiB of guest memory to start, and this machine has ${mebibytes(ramBytes)} MiB`,
    { hint: `give the machine more memory, for example ${Math.max(256, alignUp(needed * 2, 64))} MiB` },
  );
}
