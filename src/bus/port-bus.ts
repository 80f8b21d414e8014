// The 64 KiB I/O port space (SDM 1 chapter 19): from a port to the device that claims it.
// As on ISA, an access wider than the device takes is split, and an unclaimed port reads all ones.

import { EXIT_STATUS, UserError } from '../base/errors.ts';

/** Width of one bus access in bytes. */
export type AccessSizeBytes = 1 | 2 | 4;

/**
 * A device's side of a range of ports. `offset` counts from the range's first port. Values are unsigned and no wider
 * than the access. Neither call may throw, whatever the guest does.
 */
export interface PortHandler {
  readPort(offset: number, sizeBytes: AccessSizeBytes): number;
  writePort(offset: number, sizeBytes: AccessSizeBytes, value: number): void;
}

export interface PortRange {
  name: string;
  firstPort: number;
  count: number;
  /** The widest access that the device takes; a wider one reaches it in pieces, lowest port first. */
  widestBytes: AccessSizeBytes;
  handler: PortHandler;
}

const PORT_COUNT = 0x10000;

/** Every access goes whole to the range of its first port where that range takes the width, else in pieces. */
export class PortBus {
  /** Index into `ranges`; 0 is nobody. */
  private readonly owners = new Uint16Array(PORT_COUNT);
  private readonly ranges: (PortRange | undefined)[] = [undefined];

  /** Claims a range of ports. UserError where another device has one of them already. */
  map(range: PortRange): void {
    if (range.count < 1 || range.firstPort < 0 || range.firstPort + range.count > PORT_COUNT) {
      throw new RangeError(`${range.name}: ports from 0x${range.firstPort.toString(16)} leave the port space`);
    }
    for (let port = range.firstPort; port < range.firstPort + range.count; port++) {
      const owner = this.ranges[this.owners[port]!];
      if (owner) {
        throw new UserError(`${range.name}: port 0x${port.toString(16)} belongs to ${owner.name}`, {
          hint: 'choose a port that no device has, such as 0xf4',
          exitStatus: EXIT_STATUS.usage,
        });
      }
    }
    this.owners.fill(this.ranges.length, range.firstPort, range.firstPort + range.count);
    this.ranges.push(range);
  }

  /** Name of the range that claims a port, undefined for none. */
  ownerOf(port: number): string | undefined {
    return this.ranges[this.owners[port & 0xffff]!]?.name;
  }

  read(port: number, sizeBytes: AccessSizeBytes): number {
    const range = this.ranges[this.owners[port & 0xffff]!];
    if (range !== undefined && range.widestBytes >= sizeBytes) {
      return range.handler.readPort((port & 0xffff) - range.firstPort, sizeBytes);
    }
    if (sizeBytes === 1) return 0xff;
    const half = (sizeBytes >> 1) as AccessSizeBytes; // 4 and 2 have the halves 2 and 1
    const low = this.read(port, half);
    const high = this.read(port + half, half);
    return half === 1 ? low | (high << 8) : (low | (high << 16)) >>> 0;
  }

  write(port: number, sizeBytes: AccessSizeBytes, value: number): void {
    const range = this.ranges[this.owners[port & 0xffff]!];
    if (range !== undefined && range.widestBytes >= sizeBytes) {
      const masked = sizeBytes === 1 ? value & 0xff : sizeBytes === 2 ? value & 0xffff : value >>> 0;
      range.handler.writePort((port & 0xffff) - range.firstPort, sizeBytes, masked);
      return;
    }
    if (sizeBytes === 1) return;
    const half = (sizeBytes >> 1) as AccessSizeBytes; // 4 and 2 have the halves 2 and 1
    this.write(port, half, value);
    this.write(port + half, half, value >>> (8 * half));
  }
}
