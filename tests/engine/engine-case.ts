// The shape of an engine test as data: code in a prepared guest, and the state that it must leave.

import type { Guest, GuestMode } from './guest.ts';

export interface Expectation {
  /** The last step's exception, intercepted; undefined: it retires. Not for `run`. */
  readonly vector?: number;
  readonly errorCode?: number;
  readonly cr2?: number | bigint;
  /** After `run`: the vector whose handler the processor halts in. Without it the code's own HLT ends the run. */
  readonly handler?: number;
  /** After `run`: it ends by a triple fault. */
  readonly shutdown?: boolean;
  readonly rip?: number | bigint;
  readonly registers?: Readonly<Record<string, bigint>>;
  /** Flags that must be set and clear. */
  readonly flagsSet?: number;
  readonly flagsClear?: number;
  readonly dr6?: bigint;
  /** Selectors by segment register. */
  readonly selectors?: Readonly<Record<string, number>>;
  /** Quadwords from RSP upwards; undefined: any. */
  readonly stack?: readonly (bigint | undefined)[];
  /** Quadwords by guest-physical address. */
  readonly memory?: Readonly<Record<number, bigint>>;
  readonly check?: (guest: Guest) => void;
}

export interface EngineCase {
  /** The behaviour. */
  readonly name: string;
  readonly mode: GuestMode;
  /** Hexadecimal bytes at the entry point; spaces are free. */
  readonly code: string;
  readonly prepare?: (guest: Guest) => void;
  /** Instructions to step through, all but the last retiring (default 1); `run`: until the processor halts. */
  readonly steps?: number | 'run';
  /** Between the steps: called before step n (from 1). */
  readonly beforeStep?: Readonly<Record<number, (guest: Guest) => void>>;
  readonly expect: Expectation;
  /** Why no engine is held to it now. */
  readonly skip?: string;
}
