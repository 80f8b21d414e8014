// What an 8254 holds between two accesses. Times are relative to the moment of saving, in nanoseconds.

import { requireStateVersion, type SavedState } from '../../../bus/saved-state.ts';

export const PIT_STATE_VERSION = 1;

export interface CounterState {
  /** 0 to 5, or -1 before the first control word. */
  mode: number;
  access: number;
  bcd: boolean;
  gate: boolean;
  /** Counts of one period, 1 to 65536; 0 while no count is loaded. */
  reload: number;
  /** A count that a periodic mode takes at the end of its period, 0 for none. */
  nextReload: number;
  /** Hardware-triggered modes: whether a trigger came since the count was written. */
  triggered: boolean;
  /** Nanoseconds since counting began. Working copy: the clock's time at which it began. */
  startNs: number;
  /** Ticks counted when the gate stopped the counter, -1 while it runs. */
  frozenTicks: number;
  /** First byte of a two-byte count, -1 for none. */
  writeLow: number;
  /** The next read of a two-byte count gives its high byte. */
  readHigh: boolean;
  /** Latched count and how many of its bytes are still to be read. */
  latch: number;
  latchBytes: number;
  /** Latched status, -1 for none. */
  statusLatch: number;
}

export interface PitState extends SavedState {
  counters: CounterState[];
  systemControlB: number;
  /** Level of channel 0's output. */
  out0: boolean;
}

export function initialCounterState(gate: boolean): CounterState {
  return {
    mode: -1,
    access: 3,
    bcd: false,
    gate,
    reload: 0,
    nextReload: 0,
    triggered: false,
    startNs: 0,
    frozenTicks: -1,
    writeLow: -1,
    readHigh: false,
    latch: 0,
    latchBytes: 0,
    statusLatch: -1,
  };
}

export function savePit(counters: CounterState[], systemControlB: number, out0: boolean, nowNs: number): PitState {
  const saved = counters.map((counter) => ({ ...counter, startNs: nowNs - counter.startNs }));
  return { version: PIT_STATE_VERSION, counters: saved, systemControlB, out0 };
}

export function restorePit(state: PitState, counters: CounterState[], nowNs: number): void {
  requireStateVersion('pit', state, PIT_STATE_VERSION);
  for (const [index, counter] of counters.entries()) {
    const saved = state.counters[index]!;
    Object.assign(counter, saved, { startNs: nowNs - saved.startNs });
  }
}
