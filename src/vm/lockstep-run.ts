// A machine whose processor is two in lockstep, run on the calling thread until its console shows a text, it ends, or
// the two differ. Time is the guest's own: it passes with what the guest does, so that a run can be repeated.

import type { Clock } from '../base/clock.ts';
import {
  DEFAULT_SLICE_JUMPS,
  type LockstepDifference,
  type LockstepSettings,
  LockstepVcpu,
} from '../engine/software/lockstep/lockstep-vcpu.ts';
import { WatchedMemory } from '../engine/software/lockstep/watched-memory.ts';
import type { MachineConfig } from '../machine/config.ts';
import { Machine, type MachineEnvironment, type MachineExit } from '../machine/machine.ts';
import { nodeDecompressor } from './node-decompressor.ts';

export interface LockstepRunOptions {
  readonly config: MachineConfig;
  readonly settings: LockstepSettings;
  /** This text on the console ends the run. */
  readonly until: string | undefined;
  /** So many turns of the follower end it too. */
  readonly maximumTurns: number;
  /** Polls at one place before the leader translates it. */
  readonly translateAfterSamples: number;
  /** What the guest prints, as it comes. */
  onOutput(bytes: Uint8Array): void;
  onProgress(progress: LockstepProgress): void;
}

export interface LockstepProgress {
  readonly slices: number;
  readonly turns: number;
  /** How often a page differed in accessed bits alone that the leader had set ahead. */
  readonly adoptedPages: number;
  /** Time that has passed in the guest. */
  readonly guestMs: number;
}

export type LockstepEnd =
  | { readonly kind: 'difference'; readonly difference: LockstepDifference }
  | { readonly kind: 'text-shown' }
  | { readonly kind: 'turns-done' }
  /** The guest ended first. */
  | { readonly kind: 'guest-ended'; readonly exit: MachineExit };

export interface LockstepOutcome extends LockstepProgress {
  readonly end: LockstepEnd;
}

/** About what a jump takes on the translator, with the code around it. */
const JUMP_NS = 20;
/** A look at the clock takes time too, so that a guest that waits for it gets on. */
const LOOK_NS = 50;
const WALL_CLOCK_START_MS = Date.UTC(2026, 0, 1);
const CONSOLE_CHUNK_BYTES = 4096;
const PROGRESS_SLICES = 256;

class GuestClock implements Clock {
  private timeNs = 0;

  get elapsedNs(): number {
    return this.timeNs;
  }

  nowNs(): number {
    this.timeNs += LOOK_NS;
    return this.timeNs;
  }

  advanceNs(deltaNs: number): void {
    this.timeNs += deltaNs;
  }
}

/** A fixed sequence of 64-bit numbers with nothing to see in them (Weyl steps, mixed as MurmurHash3 ends). */
function createSequence(): () => bigint {
  let state = 0n;
  const mix = (value: bigint, shift: bigint, factor: bigint): bigint =>
    BigInt.asUintN(64, (value ^ (value >> shift)) * factor);
  return () => {
    state = BigInt.asUintN(64, state + 0x9e37_79b9_7f4a_7c15n);
    const mixed = mix(mix(state, 33n, 0xff51_afd7_ed55_8ccdn), 33n, 0xc4ce_b9fe_1a85_ec53n);
    return mixed ^ (mixed >> 33n);
  };
}

class Console {
  private readonly chunk = new Uint8Array(CONSOLE_CHUNK_BYTES);
  private used = 0;
  private tail = '';
  private readonly until: string | undefined;
  private readonly onOutput: (bytes: Uint8Array) => void;
  shown = false;

  constructor(until: string | undefined, onOutput: (bytes: Uint8Array) => void) {
    this.until = until;
    this.onOutput = onOutput;
  }

  write(byte: number): void {
    this.chunk[this.used++] = byte;
    if (this.until !== undefined) {
      this.tail = (this.tail + String.fromCharCode(byte)).slice(-this.until.length);
      if (this.tail === this.until) this.shown = true;
    }
    if (this.used === CONSOLE_CHUNK_BYTES) this.flush();
  }

  flush(): void {
    if (this.used === 0) return;
    this.onOutput(this.chunk.slice(0, this.used));
    this.used = 0;
  }
}

/** Blocks the thread until the end. Throws UserError for a configuration that cannot be run. */
export function runLockstep(options: LockstepRunOptions): LockstepOutcome {
  const clock = new GuestClock();
  const terminal = new Console(options.until, options.onOutput);
  const sliceJumps = options.settings.sliceJumps ?? DEFAULT_SLICE_JUMPS;
  const random = createSequence();
  let lockstep: LockstepVcpu | undefined;
  const progress = (): LockstepProgress => ({
    slices: lockstep?.slices ?? 0,
    turns: lockstep?.follower.turns ?? 0,
    adoptedPages: lockstep?.follower.adoptedPages ?? 0,
    guestMs: clock.elapsedNs / 1e6,
  });
  const turnsDone = (): boolean => (lockstep?.follower.turns ?? 0) >= options.maximumTurns;
  let polls = 0;
  const environment: MachineEnvironment = {
    clock,
    wallClock: { nowMs: () => WALL_CLOCK_START_MS + clock.elapsedNs / 1e6 },
    serial: [{ write: (byte) => terminal.write(byte), read: () => undefined }],
    inputWaiting: () => false,
    poll: () => {
      clock.advanceNs(sliceJumps * JUMP_NS);
      terminal.flush();
      if (++polls % PROGRESS_SLICES === 0) options.onProgress(progress());
      return terminal.shown || turnsDone();
    },
    decompressor: nodeDecompressor,
    sleep: (timeoutMs) => {
      if (Number.isFinite(timeoutMs)) clock.advanceNs(timeoutMs * 1e6);
    },
  };
  const machine = new Machine(options.config, environment, {
    createMemory: (memory, hostOffset, sizeBytes) => {
      const watched = new WatchedMemory(memory, hostOffset, sizeBytes);
      watched.onWrite = (guestPhysical, lengthBytes) => lockstep?.noteDeviceWrite(guestPhysical, lengthBytes);
      return watched;
    },
    createVcpu: (vcpu) => {
      const { translateAfterSamples } = options;
      lockstep = new LockstepVcpu({ ...vcpu, random, translateAfterSamples }, options.settings);
      return lockstep;
    },
  });
  const exit = machine.run();
  terminal.flush();
  const difference = lockstep?.difference ?? lockstep?.compareRam();
  const end: LockstepEnd =
    difference !== undefined
      ? { kind: 'difference', difference }
      : exit.kind !== 'stopped'
        ? { kind: 'guest-ended', exit }
        : { kind: terminal.shown ? 'text-shown' : 'turns-done' };
  return { end, ...progress() };
}
