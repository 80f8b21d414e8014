// The 8254 interval timer and port 0x61 with counter 2's gate and output (Intel 8254 data sheet).
// A counter is its reload value and the time at which it began: counts are computed when they are read, and a timer
// is armed only for counter 0's next rising edge. The one clock between a write and its loading is left out.

import type { Clock } from '../../../base/clock.ts';
import type { Timer, Timers } from '../../../base/timers.ts';
import type { InterruptLine } from '../../../bus/interrupt-line.ts';
import type { PortBus } from '../../../bus/port-bus.ts';
import { type CounterState, initialCounterState, type PitState, restorePit, savePit } from './state.ts';
import {
  ACCESS,
  PIT_CONTROL_OFFSET,
  PIT_FREQUENCY_HZ,
  PIT_MODE,
  PIT_PORT,
  PIT_STATUS,
  READ_BACK,
  REFRESH_TOGGLE_NS,
  SYSTEM_CONTROL_B,
} from './wire.ts';

const NS_PER_TICK = 1e9 / PIT_FREQUENCY_HZ;

const fromBcd = (value: number): number =>
  (value & 0xf) + ((value >> 4) & 0xf) * 10 + ((value >> 8) & 0xf) * 100 + ((value >> 12) & 0xf) * 1000;

const toBcd = (value: number): number =>
  (value % 10) |
  ((Math.floor(value / 10) % 10) << 4) |
  ((Math.floor(value / 100) % 10) << 8) |
  ((Math.floor(value / 1000) % 10) << 12);

/** One counter. Every call says what time it is. */
class Counter {
  readonly state: CounterState;

  constructor(gate: boolean) {
    this.state = initialCounterState(gate);
  }

  private get periodic(): boolean {
    return this.state.mode === PIT_MODE.RATE_GENERATOR || this.state.mode === PIT_MODE.SQUARE_WAVE;
  }

  private get hardwareTriggered(): boolean {
    return this.state.mode === PIT_MODE.HARDWARE_ONE_SHOT || this.state.mode === PIT_MODE.HARDWARE_STROBE;
  }

  /** Whether the counter has a count and, where it needs one, a trigger. */
  private get loaded(): boolean {
    return this.state.reload > 0 && (!this.hardwareTriggered || this.state.triggered);
  }

  /** Ticks counted since the start. */
  private ticks(nowNs: number): number {
    const { frozenTicks, startNs } = this.state;
    if (frozenTicks >= 0) return frozenTicks;
    // A nanosecond's fraction is lost where a deadline was rounded: half of one is far below a tick.
    return Math.max(0, Math.floor((nowNs - startNs + 0.5) / NS_PER_TICK));
  }

  /** Lets a count that waits for the end of a period take effect once that has passed. */
  private catchUp(nowNs: number): void {
    const state = this.state;
    if (state.nextReload === 0 || state.frozenTicks >= 0) return;
    const ticks = this.ticks(nowNs);
    if (ticks < state.reload) return;
    state.startNs += state.reload * NS_PER_TICK;
    state.reload = state.nextReload;
    state.nextReload = 0;
  }

  /** Moves the start forward by whole periods, so that products stay small however long the counter runs. */
  private shorten(nowNs: number): void {
    const state = this.state;
    if (!this.periodic || state.frozenTicks >= 0 || state.reload === 0) return;
    const periods = Math.floor(this.ticks(nowNs) / state.reload);
    if (periods > 0) state.startNs += periods * state.reload * NS_PER_TICK;
  }

  control(access: number, mode: number, bcd: boolean): void {
    const { gate } = this.state;
    Object.assign(this.state, initialCounterState(gate), { access, mode, bcd });
  }

  load(raw: number, nowNs: number): void {
    const state = this.state;
    const value = state.bcd ? fromBcd(raw) : raw;
    const reload = value === 0 ? (state.bcd ? 10_000 : 0x10000) : value;
    this.catchUp(nowNs);
    if (this.periodic && state.reload > 0) {
      this.shorten(nowNs);
      state.nextReload = reload;
      return;
    }
    state.reload = reload;
    if (this.hardwareTriggered) {
      state.triggered = false;
      return;
    }
    state.startNs = nowNs;
    state.frozenTicks = state.gate ? -1 : 0;
  }

  setGate(gate: boolean, nowNs: number): void {
    const state = this.state;
    if (gate === state.gate) return;
    this.catchUp(nowNs);
    state.gate = gate;
    if (this.hardwareTriggered) {
      if (gate && state.reload > 0) {
        state.triggered = true;
        state.startNs = nowNs;
      }
    } else if (!gate) {
      state.frozenTicks = this.ticks(nowNs);
    } else {
      state.startNs = this.periodic ? nowNs : nowNs - Math.max(0, state.frozenTicks) * NS_PER_TICK;
      state.frozenTicks = -1;
    }
  }

  /** The counting element's value. */
  count(nowNs: number): number {
    const state = this.state;
    this.catchUp(nowNs);
    if (state.reload === 0) return 0;
    const whole = state.bcd ? 10_000 : 0x10000;
    let value = state.reload;
    if (this.loaded) {
      const ticks = this.ticks(nowNs);
      if (state.mode === PIT_MODE.SQUARE_WAVE) {
        // Counts down by two, twice a period; an odd count begins one lower.
        const position = ticks % state.reload;
        const high = (state.reload + 1) >> 1;
        value = (state.reload & ~1) - 2 * (position < high ? position : position - high);
      } else if (state.mode === PIT_MODE.RATE_GENERATOR) value = state.reload - (ticks % state.reload);
      else value = (((state.reload - ticks) % whole) + whole) % whole;
    }
    return state.bcd ? toBcd(value % 10_000) : value & 0xffff;
  }

  out(nowNs: number): boolean {
    const state = this.state;
    this.catchUp(nowNs);
    const initial = state.mode !== PIT_MODE.INTERRUPT_ON_TERMINAL_COUNT && state.mode >= 0;
    if (!this.loaded || state.writeLow >= 0) return initial;
    const ticks = this.ticks(nowNs);
    switch (state.mode) {
      case PIT_MODE.INTERRUPT_ON_TERMINAL_COUNT:
      case PIT_MODE.HARDWARE_ONE_SHOT:
        return ticks >= state.reload;
      case PIT_MODE.RATE_GENERATOR:
        return state.frozenTicks >= 0 || ticks % state.reload !== state.reload - 1;
      case PIT_MODE.SQUARE_WAVE:
        return state.frozenTicks >= 0 || ticks % state.reload < (state.reload + 1) >> 1;
      default:
        return ticks !== state.reload;
    }
  }

  /** When OUT next rises, Infinity where it does not by itself. */
  nextRiseNs(nowNs: number): number {
    const state = this.state;
    this.catchUp(nowNs);
    if (!this.loaded || state.frozenTicks >= 0 || state.writeLow >= 0) return Number.POSITIVE_INFINITY;
    const ticks = this.ticks(nowNs);
    let riseTicks: number;
    if (this.periodic) riseTicks = (Math.floor(ticks / state.reload) + 1) * state.reload;
    else if (state.mode === PIT_MODE.SOFTWARE_STROBE || state.mode === PIT_MODE.HARDWARE_STROBE) {
      riseTicks = state.reload + 1;
    } else riseTicks = state.reload;
    if (riseTicks <= ticks) return Number.POSITIVE_INFINITY;
    return state.startNs + riseTicks * NS_PER_TICK;
  }

  write(value: number, nowNs: number): void {
    const state = this.state;
    if (state.mode < 0) return;
    if (state.access === ACCESS.LOW) this.load(value, nowNs);
    else if (state.access === ACCESS.HIGH) this.load(value << 8, nowNs);
    else if (state.writeLow < 0) state.writeLow = value;
    else {
      const raw = state.writeLow | (value << 8);
      state.writeLow = -1;
      this.load(raw, nowNs);
    }
  }

  read(nowNs: number): number {
    const state = this.state;
    if (state.statusLatch >= 0) {
      const status = state.statusLatch;
      state.statusLatch = -1;
      return status;
    }
    if (state.latchBytes > 0) {
      const high = state.access === ACCESS.HIGH || (state.access === ACCESS.LOW_THEN_HIGH && state.latchBytes === 1);
      state.latchBytes--;
      return high ? state.latch >> 8 : state.latch & 0xff;
    }
    const value = this.count(nowNs);
    if (state.access === ACCESS.LOW) return value & 0xff;
    if (state.access === ACCESS.HIGH) return value >> 8;
    state.readHigh = !state.readHigh;
    return state.readHigh ? value & 0xff : value >> 8;
  }

  latchCount(nowNs: number): void {
    const state = this.state;
    if (state.latchBytes > 0) return;
    state.latch = this.count(nowNs);
    state.latchBytes = state.access === ACCESS.LOW_THEN_HIGH ? 2 : 1;
    state.readHigh = false;
  }

  latchStatus(nowNs: number): void {
    const state = this.state;
    if (state.statusLatch >= 0) return;
    const nothingLoaded = state.reload === 0 || state.nextReload > 0 || state.writeLow >= 0;
    state.statusLatch =
      (this.out(nowNs) ? PIT_STATUS.OUT : 0) |
      (nothingLoaded ? PIT_STATUS.NULL_COUNT : 0) |
      (state.access << 4) |
      (Math.max(0, state.mode) << 1) |
      (state.bcd ? 1 : 0);
  }
}

/** The chip. Counter 0's output drives `output` (ISA interrupt 0), counter 2's is read at port 0x61. */
export class Pit {
  private readonly clock: Clock;
  private readonly timers: Timers;
  private readonly output: InterruptLine;
  private readonly counters = [new Counter(true), new Counter(true), new Counter(false)] as const;
  private readonly rise: Timer;
  private systemControlB = 0;

  constructor(ports: PortBus, timers: Timers, output: InterruptLine) {
    this.clock = timers.clock;
    this.timers = timers;
    this.output = output;
    this.rise = timers.create(() => this.onRise());
    ports.map({
      name: 'pit',
      firstPort: PIT_PORT.COUNTER_0,
      count: 4,
      widestBytes: 1,
      handler: {
        readPort: (offset) => (offset === PIT_CONTROL_OFFSET ? 0xff : this.counters[offset]!.read(this.clock.nowNs())),
        writePort: (offset, _sizeBytes, value) => this.write(offset, value),
      },
    });
    ports.map({
      name: 'pit',
      firstPort: PIT_PORT.SYSTEM_CONTROL_B,
      count: 1,
      widestBytes: 1,
      handler: {
        readPort: () => this.readSystemControlB(),
        writePort: (_offset, _sizeBytes, value) => this.writeSystemControlB(value),
      },
    });
  }

  reset(): void {
    for (const [index, counter] of this.counters.entries()) {
      Object.assign(counter.state, initialCounterState(index !== 2));
    }
    this.systemControlB = 0;
    this.follow();
  }

  save(): PitState {
    const states = this.counters.map((counter) => counter.state);
    return savePit(states, this.systemControlB, this.output.level, this.clock.nowNs());
  }

  restore(state: PitState): void {
    const nowNs = this.clock.nowNs();
    restorePit(
      state,
      this.counters.map((counter) => counter.state),
      nowNs,
    );
    this.systemControlB = state.systemControlB;
    this.output.set(state.out0);
    this.timers.arm(this.rise, this.counters[0].nextRiseNs(nowNs));
  }

  private write(offset: number, value: number): void {
    const nowNs = this.clock.nowNs();
    if (offset !== PIT_CONTROL_OFFSET) {
      this.counters[offset]!.write(value, nowNs);
      if (offset === 0) this.follow();
      return;
    }
    const select = value >> 6;
    if (select === READ_BACK.SELECT) {
      for (const [index, counter] of this.counters.entries()) {
        if ((value & (2 << index)) === 0) continue;
        if ((value & READ_BACK.NO_COUNT) === 0) counter.latchCount(nowNs);
        if ((value & READ_BACK.NO_STATUS) === 0) counter.latchStatus(nowNs);
      }
      return;
    }
    const counter = this.counters[select]!;
    const access = (value >> 4) & 3;
    if (access === ACCESS.LATCH) {
      counter.latchCount(nowNs);
      return;
    }
    const mode = (value >> 1) & 7;
    counter.control(access, mode > 5 ? mode - 4 : mode, (value & 1) !== 0);
    if (select === 0) this.follow();
  }

  /** Brings the interrupt line to counter 0's output and arms its next rise. */
  private follow(): void {
    const nowNs = this.clock.nowNs();
    this.output.set(this.counters[0].out(nowNs));
    this.timers.arm(this.rise, this.counters[0].nextRiseNs(nowNs));
  }

  /**
   * Falling edges have no timer: the line falls just before it rises again. Rises that the host slept through are one.
   */
  private onRise(): void {
    const nowNs = this.clock.nowNs();
    this.output.set(false);
    this.output.set(true);
    this.timers.arm(this.rise, this.counters[0].nextRiseNs(nowNs));
  }

  private readSystemControlB(): number {
    const nowNs = this.clock.nowNs();
    const refresh = Math.floor(nowNs / REFRESH_TOGGLE_NS) % 2 === 0 ? 0 : SYSTEM_CONTROL_B.REFRESH;
    const out = this.counters[2].out(nowNs) ? SYSTEM_CONTROL_B.OUT_2 : 0;
    return this.systemControlB | refresh | out;
  }

  private writeSystemControlB(value: number): void {
    this.systemControlB = value & SYSTEM_CONTROL_B.WRITABLE;
    this.counters[2].setGate((value & SYSTEM_CONTROL_B.GATE_2) !== 0, this.clock.nowNs());
  }
}
