// The local APIC's timer: one-shot, periodic and TSC-deadline (SDM 3A 11.5.4). It counts APIC_TIMER_HZ, divided.

import type { Timer, Timers } from '../../../base/timers.ts';
import type { LocalApicRegisters } from './state.ts';
import { APIC_TIMER_HZ, LVT, TIMER_MODE } from './wire.ts';

/** The guest's time-stamp counter: what RDTSC would give now, and its constant rate. */
export interface TimeStampCounter {
  now(): bigint;
  readonly hz: number;
}

/** A periodic timer fires no oftener: the guest's own instructions must get on between two ticks. */
const LEAST_PERIOD_NS = 20_000;

const NS_PER_TICK = 1e9 / APIC_TIMER_HZ;

export class LocalApicTimer {
  tscDeadline = 0n;
  private readonly timers: Timers;
  private readonly timeStampCounter: TimeStampCounter;
  private readonly registers: () => LocalApicRegisters;
  private readonly expired: () => void;
  private readonly timer: Timer;

  constructor(
    timers: Timers,
    timeStampCounter: TimeStampCounter,
    registers: () => LocalApicRegisters,
    expired: () => void,
  ) {
    this.timers = timers;
    this.timeStampCounter = timeStampCounter;
    this.registers = registers;
    this.expired = expired;
    this.timer = timers.create(() => this.onDeadline());
  }

  get mode(): number {
    return (this.registers().lvt[0]! >> LVT.TIMER_MODE_SHIFT) & 3;
  }

  setMode(lvt: number): void {
    const registers = this.registers();
    const before = this.mode;
    registers.lvt[0] = lvt;
    if (before === this.mode) return;
    // Into and out of TSC-deadline mode both timers stop; between the other two the count goes on.
    if (before === TIMER_MODE.TSC_DEADLINE || this.mode === TIMER_MODE.TSC_DEADLINE) {
      registers.initialCount = 0;
      this.tscDeadline = 0n;
    }
    this.arm();
  }

  setInitialCount(count: number): void {
    if (this.mode === TIMER_MODE.TSC_DEADLINE) return;
    const registers = this.registers();
    registers.initialCount = count;
    registers.startNs = this.timers.clock.nowNs();
    this.arm();
  }

  setDivide(divide: number): void {
    const registers = this.registers();
    const counted = registers.initialCount - this.currentCount();
    registers.divide = divide;
    registers.startNs = this.timers.clock.nowNs() - counted * this.tickNs;
    this.arm();
  }

  setTscDeadline(deadline: bigint): void {
    if (this.mode !== TIMER_MODE.TSC_DEADLINE) return;
    this.tscDeadline = deadline;
    this.arm();
  }

  currentCount(): number {
    const { initialCount } = this.registers();
    if (initialCount === 0) return 0;
    const ticks = this.ticks();
    if (this.mode === TIMER_MODE.PERIODIC) return initialCount - (ticks % initialCount);
    return Math.max(0, initialCount - ticks);
  }

  /** Sets the deadline anew from the registers, as after a restore or when the guest wrote its time-stamp counter. */
  arm(): void {
    this.timers.arm(this.timer, this.nextDeadlineNs());
  }

  private get tickNs(): number {
    const { divide } = this.registers();
    const code = ((divide & 8) >> 1) | (divide & 3);
    return NS_PER_TICK * (1 << ((code + 1) & 7));
  }

  private ticks(): number {
    const elapsedNs = this.timers.clock.nowNs() - this.registers().startNs;
    return Math.max(0, Math.floor(elapsedNs / this.tickNs));
  }

  private nextDeadlineNs(): number {
    const { initialCount, startNs } = this.registers();
    const nowNs = this.timers.clock.nowNs();
    if (this.mode === TIMER_MODE.TSC_DEADLINE) {
      if (this.tscDeadline === 0n) return Number.POSITIVE_INFINITY;
      const remaining = Number(this.tscDeadline - this.timeStampCounter.now());
      return remaining <= 0 ? nowNs : nowNs + Math.ceil((remaining * 1e9) / this.timeStampCounter.hz);
    }
    if (initialCount === 0) return Number.POSITIVE_INFINITY;
    const periodNs = initialCount * this.tickNs;
    if (this.mode === TIMER_MODE.PERIODIC) {
      const next = startNs + (Math.floor((nowNs - startNs) / periodNs) + 1) * periodNs;
      return periodNs < LEAST_PERIOD_NS ? Math.max(next, nowNs + LEAST_PERIOD_NS) : next;
    }
    return startNs + periodNs > nowNs ? startNs + periodNs : Number.POSITIVE_INFINITY;
  }

  private onDeadline(): void {
    if (this.mode === TIMER_MODE.TSC_DEADLINE) {
      if (this.tscDeadline > this.timeStampCounter.now()) {
        // The two clocks were rounded apart: a moment more.
        this.timers.arm(this.timer, Math.max(this.nextDeadlineNs(), this.timers.clock.nowNs() + 1));
        return;
      }
      this.tscDeadline = 0n;
    } else if (this.mode === TIMER_MODE.PERIODIC) this.arm(); // ticks that the host slept through are one
    this.expired();
  }
}
