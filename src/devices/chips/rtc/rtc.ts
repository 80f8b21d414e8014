// The MC146818 real-time clock with its CMOS bytes (Motorola MC146818 data sheet). The time of day is the host's wall
// clock in UTC plus what the guest made of it. Flags are worked out when they are read; a timer is armed only for an
// interrupt that the guest enabled.

import type { Timer, Timers } from '../../../base/timers.ts';
import type { InterruptLine } from '../../../bus/interrupt-line.ts';
import type { PortBus } from '../../../bus/port-bus.ts';
import { initialRtcState, type RtcState, restoreRtc, saveRtc } from './state.ts';
import {
  ALARM_ANY,
  HOURS_PM,
  INDEX_NMI_MASK,
  REGISTER_A,
  REGISTER_B,
  REGISTER_C,
  RTC,
  RTC_PORT,
  UPDATE_IN_PROGRESS_MS,
} from './wire.ts';

/** Milliseconds since 1970-01-01 UTC; fractions welcome. */
export interface WallClock {
  nowMs(): number;
}

export interface RtcOptions {
  ramSizeBytes: number;
}

/** A timer is never armed closer than this: the wall clock may be coarse and lag behind the monotonic one. */
const LEAST_DELAY_NS = 50_000;

const TIME_REGISTERS: readonly number[] = [
  RTC.SECONDS,
  RTC.MINUTES,
  RTC.HOURS,
  RTC.DAY_OF_WEEK,
  RTC.DAY_OF_MONTH,
  RTC.MONTH,
  RTC.YEAR,
  RTC.CENTURY,
];

export class Rtc {
  private readonly timers: Timers;
  private readonly wallClock: WallClock;
  private readonly line: InterruptLine;
  private readonly timer: Timer;
  private state: RtcState;
  /** The guest's time up to which flags are worked out. */
  private seenMs: number;

  constructor(ports: PortBus, timers: Timers, wallClock: WallClock, line: InterruptLine, options: RtcOptions) {
    this.timers = timers;
    this.wallClock = wallClock;
    this.line = line;
    this.state = initialRtcState(options.ramSizeBytes);
    this.seenMs = this.guestMs;
    this.timer = timers.create(() => this.refresh());
    ports.map({
      name: 'rtc',
      firstPort: RTC_PORT.INDEX,
      count: 2,
      widestBytes: 1,
      handler: {
        readPort: (offset) => (offset === 0 ? 0xff : this.read(this.state.index)),
        writePort: (offset, _sizeBytes, value) => {
          if (offset !== 0) this.write(this.state.index, value);
          else {
            this.state.index = value & ~INDEX_NMI_MASK;
            this.state.nmiMasked = (value & INDEX_NMI_MASK) !== 0;
          }
        },
      },
    });
  }

  /** Whether the guest masked NMIs at the index port. */
  get nmiMasked(): boolean {
    return this.state.nmiMasked;
  }

  /** RESET clears the interrupt enables and flags; the battery keeps the rest. */
  reset(): void {
    const { cmos } = this.state;
    cmos[RTC.B]! &= ~(REGISTER_B.PIE | REGISTER_B.AIE | REGISTER_B.UIE);
    cmos[RTC.C] = 0;
    this.state.nmiMasked = false;
    this.refresh();
  }

  save(): RtcState {
    this.catchUp();
    return saveRtc(this.state);
  }

  restore(state: RtcState): void {
    this.state = restoreRtc(state);
    this.seenMs = this.guestMs;
    this.refresh();
  }

  private get guestMs(): number {
    return this.wallClock.nowMs() + this.state.offsetMs;
  }

  private get registerB(): number {
    return this.state.cmos[RTC.B]!;
  }

  private get setting(): boolean {
    return (this.registerB & REGISTER_B.SET) !== 0;
  }

  private read(index: number): number {
    const { cmos } = this.state;
    if (TIME_REGISTERS.includes(index)) {
      if (!this.setting) this.storeTime();
      return cmos[index]!;
    }
    if (index === RTC.A) {
      const intoSecondMs = this.guestMs % 1000;
      const updating = !this.setting && intoSecondMs >= 1000 - UPDATE_IN_PROGRESS_MS;
      return cmos[RTC.A]! | (updating ? REGISTER_A.UIP : 0);
    }
    if (index === RTC.C) {
      this.catchUp();
      const flags = cmos[RTC.C]!;
      cmos[RTC.C] = 0;
      this.refresh();
      return flags;
    }
    return cmos[index]!;
  }

  private write(index: number, value: number): void {
    const { cmos } = this.state;
    if (index === RTC.C || index === RTC.D) return;
    this.catchUp();
    if (TIME_REGISTERS.includes(index)) {
      if (!this.setting) this.storeTime();
      cmos[index] = value;
      if (!this.setting) this.loadTime();
    } else if (index === RTC.A) this.writeA(value);
    else if (index === RTC.B) this.writeB(value);
    else cmos[index] = value;
    this.refresh();
  }

  private writeA(value: number): void {
    const { cmos } = this.state;
    const wasReset = (cmos[RTC.A]! & REGISTER_A.DIVIDER_RESET) === REGISTER_A.DIVIDER_RESET;
    cmos[RTC.A] = value & ~REGISTER_A.UIP;
    const isReset = (value & REGISTER_A.DIVIDER_RESET) === REGISTER_A.DIVIDER_RESET;
    if (!wasReset || isReset) return;
    // The first update comes half a second after the divider chain is released.
    const guestMs = this.guestMs;
    this.moveTo(Math.floor(guestMs / 1000) * 1000 + 500);
  }

  private writeB(value: number): void {
    const { cmos } = this.state;
    const wasSetting = this.setting;
    const isSetting = (value & REGISTER_B.SET) !== 0;
    if (!wasSetting && isSetting) this.storeTime();
    // SET clears the update interrupt's enable.
    cmos[RTC.B] = isSetting ? value & ~REGISTER_B.UIE : value;
    if (wasSetting && !isSetting) this.loadTime();
  }

  private moveTo(guestMs: number): void {
    this.state.offsetMs += guestMs - this.guestMs;
    this.seenMs = this.guestMs;
  }

  /** Writes the time of day to the time registers, in the guest's format. */
  private storeTime(): void {
    const { cmos } = this.state;
    const date = new Date(Math.floor(this.guestMs / 1000) * 1000);
    const hours = date.getUTCHours();
    const twelve = (this.registerB & REGISTER_B.HOURS_24) === 0;
    cmos[RTC.SECONDS] = this.encode(date.getUTCSeconds());
    cmos[RTC.MINUTES] = this.encode(date.getUTCMinutes());
    cmos[RTC.HOURS] = twelve ? this.encode(hours % 12 || 12) | (hours >= 12 ? HOURS_PM : 0) : this.encode(hours);
    cmos[RTC.DAY_OF_WEEK] = this.encode(date.getUTCDay() + 1);
    cmos[RTC.DAY_OF_MONTH] = this.encode(date.getUTCDate());
    cmos[RTC.MONTH] = this.encode(date.getUTCMonth() + 1);
    cmos[RTC.YEAR] = this.encode(date.getUTCFullYear() % 100);
    cmos[RTC.CENTURY] = this.encode(Math.floor(date.getUTCFullYear() / 100) % 100);
  }

  /** Makes what the time registers say the time of day. */
  private loadTime(): void {
    const { cmos } = this.state;
    const field = (index: number): number => this.decode(cmos[index]!);
    const year = field(RTC.CENTURY) * 100 + field(RTC.YEAR);
    const date = new Date(0);
    date.setUTCFullYear(year, field(RTC.MONTH) - 1, field(RTC.DAY_OF_MONTH));
    date.setUTCHours(this.decodeHours(cmos[RTC.HOURS]!), field(RTC.MINUTES), field(RTC.SECONDS));
    const intoSecondMs = ((this.guestMs % 1000) + 1000) % 1000;
    this.moveTo(date.getTime() + intoSecondMs);
  }

  private encode(value: number): number {
    return this.registerB & REGISTER_B.BINARY ? value : (Math.floor(value / 10) << 4) | (value % 10);
  }

  private decode(value: number): number {
    return this.registerB & REGISTER_B.BINARY ? value : (value >> 4) * 10 + (value & 0xf);
  }

  private decodeHours(value: number): number {
    if (this.registerB & REGISTER_B.HOURS_24) return this.decode(value);
    const hours = this.decode(value & ~HOURS_PM) % 12;
    return value & HOURS_PM ? hours + 12 : hours;
  }

  private get periodicHz(): number {
    const { cmos } = this.state;
    const rate = cmos[RTC.A]! & REGISTER_A.RATE;
    if (rate === 0 || (cmos[RTC.A]! & REGISTER_A.DIVIDER_RESET) === REGISTER_A.DIVIDER_RESET) return 0;
    return 32768 >> ((rate < 3 ? rate + 7 : rate) - 1);
  }

  /** Sets the flags of everything that happened since it was last asked for. */
  private catchUp(): void {
    const nowMs = this.guestMs;
    const { cmos } = this.state;
    if (nowMs > this.seenMs) {
      const nowSecond = Math.floor(nowMs / 1000);
      const seenSecond = Math.floor(this.seenMs / 1000);
      if (!this.setting && nowSecond > seenSecond) {
        cmos[RTC.C]! |= REGISTER_C.UF;
        if (this.nextAlarmSecond(seenSecond + 1) <= nowSecond) cmos[RTC.C]! |= REGISTER_C.AF;
      }
      const hz = this.periodicHz;
      if (Math.floor((nowMs * hz) / 1000) > Math.floor((this.seenMs * hz) / 1000)) cmos[RTC.C]! |= REGISTER_C.PF;
    }
    this.seenMs = nowMs;
    if (cmos[RTC.C]! & this.registerB & (REGISTER_C.UF | REGISTER_C.AF | REGISTER_C.PF)) {
      cmos[RTC.C]! |= REGISTER_C.IRQF;
    }
  }

  /** The first second from `second` on that the alarm bytes match, Infinity where none ever does. */
  private nextAlarmSecond(second: number): number {
    const { cmos } = this.state;
    const wanted = (index: number): number => {
      const value = cmos[index]!;
      if (value >= ALARM_ANY) return -1;
      return index === RTC.HOURS_ALARM ? this.decodeHours(value) : this.decode(value);
    };
    const hours = wanted(RTC.HOURS_ALARM);
    const minutes = wanted(RTC.MINUTES_ALARM);
    const seconds = wanted(RTC.SECONDS_ALARM);
    // At most 25 hours, 60 minutes and 60 seconds are skipped on the way.
    for (let candidate = second, steps = 0; steps < 150; steps++) {
      if (hours >= 0 && Math.floor(candidate / 3600) % 24 !== hours) {
        candidate = (Math.floor(candidate / 3600) + 1) * 3600;
      } else if (minutes >= 0 && Math.floor(candidate / 60) % 60 !== minutes) {
        candidate = (Math.floor(candidate / 60) + 1) * 60;
      } else if (seconds >= 0 && candidate % 60 !== seconds) candidate++;
      else return candidate;
    }
    return Number.POSITIVE_INFINITY;
  }

  /** Brings flags, interrupt line and timer up to date. */
  private refresh(): void {
    this.catchUp();
    const asserted = (this.state.cmos[RTC.C]! & REGISTER_C.IRQF) !== 0;
    this.line.set(asserted);
    // While the interrupt waits for its register C there is nothing to wake up for.
    const eventMs = asserted ? Number.POSITIVE_INFINITY : this.nextEventMs();
    if (eventMs === Number.POSITIVE_INFINITY) this.timers.cancel(this.timer);
    else {
      const delayNs = Math.max((eventMs - this.seenMs) * 1e6, LEAST_DELAY_NS);
      this.timers.arm(this.timer, this.timers.clock.nowNs() + delayNs);
    }
  }

  /** The guest's time of the next event whose interrupt is enabled. */
  private nextEventMs(): number {
    const second = Math.floor(this.seenMs / 1000) + 1;
    let eventMs = Number.POSITIVE_INFINITY;
    if (this.registerB & REGISTER_B.PIE && this.periodicHz > 0) {
      eventMs = ((Math.floor((this.seenMs * this.periodicHz) / 1000) + 1) * 1000) / this.periodicHz;
    }
    if (this.setting) return eventMs;
    if (this.registerB & REGISTER_B.UIE) eventMs = Math.min(eventMs, second * 1000);
    if (this.registerB & REGISTER_B.AIE) eventMs = Math.min(eventMs, this.nextAlarmSecond(second) * 1000);
    return eventMs;
  }
}
