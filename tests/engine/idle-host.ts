// A machine with nothing in it, for tests of a processor alone: ports and MMIO answer all ones, time stands still
// unless moved, interrupts and NMIs come when a test asks for them.

import type { VcpuHost } from '../../src/engine/vcpu.ts';

export class IdleHost implements VcpuHost {
  /** Vectors to deliver, first in first out. */
  readonly interrupts: number[] = [];
  nmiPending = false;
  /** Comes while the processor waits in HLT. */
  interruptAtWait: number | undefined;
  /** Returns from run() at the next poll. */
  stopRequested = false;
  tsc = 0;
  readonly portWrites: { port: number; sizeBytes: number; value: number }[] = [];
  readonly mmioWrites: { guestPhysical: number; sizeBytes: number; value: number }[] = [];
  private taskPriority = 0;

  readPort(_port: number, sizeBytes: number): number {
    return 2 ** (sizeBytes * 8) - 1;
  }

  writePort(port: number, sizeBytes: number, value: number): void {
    this.portWrites.push({ port, sizeBytes, value });
  }

  readMmio(_guestPhysical: number, sizeBytes: number): number {
    return 2 ** (sizeBytes * 8) - 1;
  }

  writeMmio(guestPhysical: number, sizeBytes: number, value: number): void {
    this.mmioWrites.push({ guestPhysical, sizeBytes, value });
  }

  acknowledgeInterrupt(): number {
    return this.interrupts.shift() ?? -1;
  }

  interruptPending(): boolean {
    return this.interrupts.length > 0;
  }

  takeNmi(): boolean {
    const taken = this.nmiPending;
    this.nmiPending = false;
    return taken;
  }

  getCr8(): number {
    return this.taskPriority;
  }

  setCr8(value: number): void {
    this.taskPriority = value;
  }

  readMsr(): bigint | undefined {
    return undefined;
  }

  writeMsr(): boolean {
    return false;
  }

  poll(): boolean {
    return this.stopRequested;
  }

  waitForInterrupt(): void {
    if (this.interruptAtWait === undefined) this.stopRequested = true;
    else this.interrupts.push(this.interruptAtWait);
    this.interruptAtWait = undefined;
  }

  readTsc(): number {
    return this.tsc;
  }
}
