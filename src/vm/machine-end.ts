// The machine's end of a channel, and the run of a machine on it: what Node's worker and a browser's have in common.
// The thread that calls runMachine() is the virtual processor with all its devices until the run ends; it sleeps in
// Atomics.wait, so it gets no message meanwhile: whatever comes in comes through the channel.

import { hostClock } from '../base/clock.ts';
import { UserError } from '../base/errors.ts';
import type { TranslationPort } from '../engine/software/translation.ts';
import type { Decompressor } from '../machine/boot/decompression/decompressor.ts';
import type { MachineConfig } from '../machine/config.ts';
import {
  Machine,
  type MachineEnvironment,
  type MachineParts,
  type SerialLine,
  type Statistics,
} from '../machine/machine.ts';
import { ByteRing } from './byte-ring.ts';
import { type Channel, CONTROL } from './channel.ts';
import type { FromMachine } from './messages.ts';

/** What the thread brings along. */
export interface MachineThreadParts {
  /** To the main thread; delivered also while this thread sleeps or works. */
  post(message: FromMachine): void;
  decompressor: Decompressor;
  /** Begins translation on another thread, of code in this memory. Without it the machine's thread translates. */
  startTranslation?(memory: WebAssembly.Memory): TranslationPort;
  /** Of another engine; the software engine's by default. */
  machineParts?: MachineParts;
}

/** While the guest works, main hears of output no oftener. */
const TELL_INTERVAL_NS = 1e6;
const STAGE_BYTES = 16 * 1024;

/** The guest's end of a line: output gathers in `stage` between two polls, so that a byte costs a store. */
class Line implements SerialLine {
  private readonly channelEnd: ChannelEnd;
  private readonly output: ByteRing;
  private readonly input: ByteRing;
  private readonly stage = new Uint8Array(STAGE_BYTES);
  private staged = 0;

  constructor(channelEnd: ChannelEnd, output: ByteRing, input: ByteRing) {
    this.channelEnd = channelEnd;
    this.output = output;
    this.input = input;
  }

  write(byte: number): void {
    if (this.staged === STAGE_BYTES) this.flush();
    if (this.staged === 0) this.channelEnd.noteOutput();
    this.stage[this.staged++] = byte;
  }

  get hasInput(): boolean {
    return this.input.usedBytes > 0;
  }

  read(maxBytes: number): Uint8Array | undefined {
    if (!this.hasInput) return undefined;
    const bytes = this.input.read(maxBytes);
    this.channelEnd.tookInput();
    return bytes;
  }

  /** Hands the staged bytes over; waits where the reader has fallen a ring behind. True when there were any. */
  flush(): boolean {
    if (this.staged === 0) return false;
    let rest = this.stage.subarray(0, this.staged);
    this.staged = 0;
    for (;;) {
      rest = rest.subarray(this.output.write(rest));
      if (rest.length === 0) return true;
      if (!this.channelEnd.waitUntilTaken(this.output)) return true;
    }
  }
}

/** This thread's end of the channel. */
class ChannelEnd implements MachineEnvironment {
  readonly clock = hostClock;
  readonly wallClock = { nowMs: () => Date.now() };
  readonly serial: readonly Line[];
  readonly decompressor: Decompressor;
  readonly post: MachineThreadParts['post'];
  readonly startTranslation: MachineThreadParts['startTranslation'];
  /** The machine's, once there is one. */
  statistics: () => Statistics = () => ({});
  private readonly control: Int32Array;
  /** Main counts it up when it has sent anything. */
  private seenWake = -1;
  private someInput = false;
  private asked = true;
  private stopping = false;
  private toldAtNs = 0;
  private untold = false;
  /** When the next poll is wanted, for what is staged or not told yet. */
  private dueNs = Number.POSITIVE_INFINITY;

  constructor(channel: Channel, { post, decompressor, startTranslation }: MachineThreadParts) {
    this.post = post;
    this.startTranslation = startTranslation;
    this.decompressor = decompressor;
    this.control = new Int32Array(channel.control);
    this.serial = channel.output.map(
      (output, line) => new Line(this, new ByteRing(output), new ByteRing(channel.input[line]!)),
    );
  }

  private get stopRequested(): boolean {
    return Atomics.load(this.control, CONTROL.stop) !== 0;
  }

  inputWaiting(): boolean {
    const wake = Atomics.load(this.control, CONTROL.wake);
    if (wake !== this.seenWake) this.asked = true;
    else if (!this.someInput) return false;
    // Before the lines are looked at, so that what comes in later ends the next sleep.
    this.seenWake = wake;
    this.someInput = this.serial.some((line) => line.hasInput);
    return this.someInput;
  }

  poll(): boolean {
    // Nothing is staged or to be told otherwise.
    if (this.dueNs !== Number.POSITIVE_INFINITY) {
      this.flush();
      this.dueNs = this.toldAtNs + TELL_INTERVAL_NS;
      if (this.clock.nowNs() >= this.dueNs) this.tell();
    }
    if (this.asked) this.answer();
    return this.stopping;
  }

  private answer(): void {
    this.asked = false;
    if (Atomics.exchange(this.control, CONTROL.statistics, 0) !== 0) {
      this.post({ kind: 'statistics', statistics: this.statistics() });
    }
    this.stopping = this.stopRequested;
  }

  nextPollNs(): number {
    return this.dueNs;
  }

  /** A line has its first byte since the last flush. */
  noteOutput(): void {
    if (this.dueNs === Number.POSITIVE_INFINITY) this.dueNs = this.clock.nowNs() + TELL_INTERVAL_NS;
  }

  sleep(timeoutMs: number): void {
    this.flush();
    if (this.untold) this.tell();
    Atomics.wait(this.control, CONTROL.wake, this.seenWake, timeoutMs);
  }

  /** Hands everything over, whatever the time. */
  finish(): void {
    this.flush();
    this.tell();
  }

  private flush(): void {
    for (const line of this.serial) if (line.flush()) this.untold = true;
  }

  private tell(): void {
    this.untold = false;
    this.dueNs = Number.POSITIVE_INFINITY;
    this.toldAtNs = this.clock.nowNs();
    // One message is enough until main has looked.
    if (Atomics.exchange(this.control, CONTROL.told, 1) === 0) this.post({ kind: 'look' });
  }

  /** Main may be waiting for the room that has come. */
  tookInput(): void {
    if (Atomics.exchange(this.control, CONTROL.roomWanted, 0) !== 0) this.tell();
  }

  /** False when the run is to end instead. */
  waitUntilTaken(ring: ByteRing): boolean {
    this.tell();
    const seen = Atomics.load(this.control, CONTROL.taken);
    if (ring.freeBytes === 0 && !this.stopRequested) Atomics.wait(this.control, CONTROL.taken, seen);
    return !this.stopRequested;
  }
}

/**
 * Runs a machine to its end, which it tells as `ended`; a configuration that cannot be run as `refused`. Returns the
 * machine as it stands then, for whoever wants to look at it; undefined where there was none.
 */
export function runMachine(channel: Channel, config: MachineConfig, parts: MachineThreadParts): Machine | undefined {
  const end = new ChannelEnd(channel, parts);
  try {
    const machine = new Machine(config, end, parts.machineParts);
    end.statistics = () => machine.statistics();
    end.post({ kind: 'started', kernel: machine.kernel.description });
    const exit = machine.run();
    end.finish();
    end.post({ kind: 'ended', exit, statistics: machine.statistics() });
    return machine;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    end.post({ kind: 'refused', message: error.message, hint: error.hint, exitStatus: error.exitStatus });
    return undefined;
  }
}
