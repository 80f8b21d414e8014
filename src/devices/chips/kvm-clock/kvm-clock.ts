// The KVM paravirtual clock of one processor (Linux Documentation/virt/kvm/x86/msr.rst): the guest gives an address,
// the clock writes there how to get nanoseconds from the time-stamp counter. As that has one constant rate on all
// processors, a structure is written once and stays right until the machine is paused or the counter is written.

import type { Clock } from '../../../base/clock.ts';
import type { GuestMemory } from '../../../memory/guest-memory.ts';
import { type KvmClockState, restoreKvmClock, saveKvmClock } from './state.ts';
import { KVM_MSR, SYSTEM_TIME_ENABLE, TIME_INFO_FLAG, TIME_INFO_STRUCT, WALL_CLOCK_STRUCT } from './wire.ts';

/** The guest's time-stamp counter: what RDTSC would give now, and its constant rate. */
export interface TimeStampCounter {
  now(): bigint;
  readonly hz: number;
}

/** Milliseconds since 1970-01-01 UTC; fractions welcome. */
export interface WallClock {
  nowMs(): number;
}

/**
 * The multiplier and shift with which ns = ((ticks << shift) * multiplier) >> 32 at `hz` ticks a second; a negative
 * shift goes right. The multiplier has its top bit set: 31 bits of precision at least.
 */
export function tscScale(hz: number): { multiplier: number; shift: number } {
  const ticks = BigInt(Math.round(hz));
  let shift = 0;
  const multiplierAt = (): bigint => (1_000_000_000n << BigInt(32 - shift)) / ticks;
  while (multiplierAt() >= 1n << 32n && shift < 31) shift++;
  while (multiplierAt() < 1n << 31n && shift > -31) shift--;
  return { multiplier: Number(multiplierAt()), shift };
}

export class KvmClock {
  private readonly memory: GuestMemory;
  private readonly clock: Clock;
  private readonly wallClock: WallClock;
  private readonly timeStampCounter: TimeStampCounter;
  private readonly scale: { multiplier: number; shift: number };
  private wallClockMsr = 0n;
  private systemTimeMsr = 0n;
  /** The clock's time at which the guest's system time was 0. */
  private startNs: number;

  constructor(memory: GuestMemory, clock: Clock, wallClock: WallClock, timeStampCounter: TimeStampCounter) {
    this.memory = memory;
    this.clock = clock;
    this.wallClock = wallClock;
    this.timeStampCounter = timeStampCounter;
    this.scale = tscScale(timeStampCounter.hz);
    this.startNs = clock.nowNs();
  }

  /** undefined where the MSR is none of this clock's: #GP. */
  readMsr(index: number): bigint | undefined {
    switch (index) {
      case KVM_MSR.WALL_CLOCK:
      case KVM_MSR.WALL_CLOCK_NEW:
        return this.wallClockMsr;
      case KVM_MSR.SYSTEM_TIME:
      case KVM_MSR.SYSTEM_TIME_NEW:
        return this.systemTimeMsr;
      default:
        return undefined;
    }
  }

  /** false where the MSR is none of this clock's: #GP. An address outside RAM is remembered and nothing is written. */
  writeMsr(index: number, value: bigint): boolean {
    switch (index) {
      case KVM_MSR.WALL_CLOCK:
      case KVM_MSR.WALL_CLOCK_NEW:
        this.wallClockMsr = value;
        this.writeWallClock();
        return true;
      case KVM_MSR.SYSTEM_TIME:
      case KVM_MSR.SYSTEM_TIME_NEW:
        this.systemTimeMsr = value;
        this.writeTimeInfo(0);
        return true;
      default:
        return false;
    }
  }

  /** The relation of time and time-stamp counter changed: the guest wrote its counter. */
  onTimeStampCounterChanged(): void {
    this.writeTimeInfo(0);
  }

  /** The machine goes on after a pause: the guest's watchdogs are told that it was not theirs. */
  onResume(): void {
    this.writeTimeInfo(TIME_INFO_FLAG.GUEST_STOPPED);
  }

  reset(): void {
    this.wallClockMsr = 0n;
    this.systemTimeMsr = 0n;
  }

  save(): KvmClockState {
    return saveKvmClock(this.wallClockMsr, this.systemTimeMsr, this.systemTimeNs);
  }

  /** System time goes on from where it was saved. RAM and the time-stamp counter must have been restored before. */
  restore(state: KvmClockState): void {
    const { wallClock, systemTime } = restoreKvmClock(state);
    this.wallClockMsr = wallClock;
    this.systemTimeMsr = systemTime;
    this.startNs = this.clock.nowNs() - state.systemTimeNs;
    this.onResume();
  }

  private get systemTimeNs(): number {
    return this.clock.nowNs() - this.startNs;
  }

  /** Bumps the version to odd, writes, and makes it even again: a reader in between tries again. */
  private update(guestPhysical: number, write: () => void): void {
    const version = (this.memory.readU32(guestPhysical) | 1) >>> 0;
    this.memory.writeU32(guestPhysical, version);
    write();
    this.memory.writeU32(guestPhysical, (version + 1) >>> 0);
  }

  private locate(msr: bigint, sizeBytes: number): number | undefined {
    if (msr > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
    const guestPhysical = Number(msr);
    return this.memory.contains(guestPhysical, sizeBytes) ? guestPhysical : undefined;
  }

  /** The wall clock at system time 0. */
  private writeWallClock(): void {
    const at = this.locate(this.wallClockMsr, WALL_CLOCK_STRUCT.SIZE_BYTES);
    if (at === undefined) return;
    const bootMs = Math.max(0, this.wallClock.nowMs() - this.systemTimeNs / 1e6);
    const seconds = Math.floor(bootMs / 1000);
    this.update(at, () => {
      this.memory.writeU32(at + WALL_CLOCK_STRUCT.SEC, seconds >>> 0);
      this.memory.writeU32(at + WALL_CLOCK_STRUCT.NSEC, Math.floor((bootMs - seconds * 1000) * 1e6));
    });
  }

  private writeTimeInfo(extraFlags: number): void {
    if ((this.systemTimeMsr & SYSTEM_TIME_ENABLE) === 0n) return;
    const at = this.locate(this.systemTimeMsr & ~SYSTEM_TIME_ENABLE, TIME_INFO_STRUCT.SIZE_BYTES);
    if (at === undefined) return;
    this.update(at, () => {
      const { memory } = this;
      memory.writeU64(at + TIME_INFO_STRUCT.TSC_TIMESTAMP, this.timeStampCounter.now());
      memory.writeU64(at + TIME_INFO_STRUCT.SYSTEM_TIME, BigInt(Math.floor(this.systemTimeNs)));
      memory.writeU32(at + TIME_INFO_STRUCT.TSC_TO_SYSTEM_MUL, this.scale.multiplier);
      memory.writeU8(at + TIME_INFO_STRUCT.TSC_SHIFT, this.scale.shift & 0xff);
      memory.writeU8(at + TIME_INFO_STRUCT.FLAGS, TIME_INFO_FLAG.TSC_STABLE | extraFlags);
    });
  }
}
