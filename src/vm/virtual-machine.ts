// One VM as the main thread of a process, or of a page, sees it: it starts the machine's thread, carries the serial
// lines' bytes to and fro, and says how the run ended. Its states:
//
//     made --start--> running --(guest | stop)--> ended        a worker that dies ends it too, with MachineCrash

import { UserError } from '../base/errors.ts';
import type { KickTarget } from '../engine/kvm/libc.ts';
import type { MachineConfig } from '../machine/config.ts';
import type { MachineExit, Statistics } from '../machine/machine.ts';
import { ByteRing } from './byte-ring.ts';
import { type Channel, CONTROL, createChannel } from './channel.ts';
import type { EngineChoice, FromMachine, ToMachine } from './messages.ts';

/** The machine's thread ended without saying why: a defect of Bulkhead, or no memory left. */
export class MachineCrash extends Error {
  override readonly name = 'MachineCrash';
}

/**
 * Takes what the guest sent on a line. While a promise that it returned is pending, the line's next bytes wait, and
 * with a ring full of them the guest does too. A reader that fails has had the bytes.
 */
export type LineReader = (bytes: Uint8Array) => Promise<void> | undefined;

/** The thread that is to run the machine, made by whoever knows the host: a worker of Node or of a browser. */
export interface MachineThread {
  post(message: ToMachine): void;
  /** Ends the thread by force. */
  terminate(): void;
  /** Brings a thread that is inside its guest on KVM back to look at the channel; CONTROL.guestThread names it. */
  kick?(target: KickTarget): void;
}

export interface MachineThreadEvents {
  onMessage(message: FromMachine): void;
  /** The thread is gone, or about to go. May be called again, and after the end of the run: that means nothing. */
  onCrash(error: Error): void;
}

/** Starts a thread that awaits one `start` message and then calls runMachine() (machine-end.ts) on the channel. */
export type StartThread = (channel: Channel, events: MachineThreadEvents) => MachineThread;

/** How long a machine may take to notice that it should stop before its thread is ended by force. */
const STOP_TIMEOUT_MS = 2000;
const CHUNK_BYTES = 64 * 1024;

interface Line {
  readonly output: ByteRing;
  readonly input: ByteRing;
  readonly reader: LineReader | undefined;
  /** The reader is taking bytes. */
  busy: boolean;
  /** Input that has not fit yet, in order. */
  pending: { bytes: Uint8Array; done: () => void }[];
}

export class VirtualMachine {
  /** Settles when the guest begins to run: a line about its kernel. Rejects as `ended` does. */
  readonly started: Promise<string>;
  /**
   * Settles when the run is over and the readers have taken all output. Rejects with a UserError for a configuration
   * that cannot be run, with MachineCrash when the thread died.
   */
  readonly ended: Promise<MachineExit>;
  private readonly thread: MachineThread;
  private readonly control: Int32Array;
  private readonly lines: readonly Line[];
  private readonly resolveStarted: (kernel: string) => void;
  private readonly rejectStarted: (error: Error) => void;
  private readonly resolveEnded: (exit: MachineExit) => void;
  private readonly rejectEnded: (error: Error) => void;
  private outcome: { exit: MachineExit } | { error: Error } | undefined;
  private lastStatistics: Statistics = {};
  /** What the guest's code runs on, once that is decided: from start() on. */
  engine: EngineChoice['name'] | undefined;
  private readonly statisticsWanted: ((statistics: Statistics) => void)[] = [];
  private stopTimer: ReturnType<typeof setTimeout> | undefined;

  /** Starts the machine's thread, which loads its code until `start` is called. `readers`: one a line, from COM1 on. */
  constructor(readers: readonly (LineReader | undefined)[], startThread: StartThread) {
    const channel = createChannel();
    this.control = new Int32Array(channel.control);
    this.lines = channel.output.map((output, line) => ({
      output: new ByteRing(output),
      input: new ByteRing(channel.input[line]!),
      reader: readers[line],
      busy: false,
      pending: [],
    }));
    const started = Promise.withResolvers<string>();
    const ended = Promise.withResolvers<MachineExit>();
    this.started = started.promise;
    this.ended = ended.promise;
    this.resolveStarted = started.resolve;
    this.rejectStarted = started.reject;
    this.resolveEnded = ended.resolve;
    this.rejectEnded = ended.reject;
    // Whoever waits for `ended` hears the same error.
    this.started.catch(() => {});
    this.thread = startThread(channel, {
      onMessage: (message) => this.receive(message),
      onCrash: (error) => this.crashed(error),
    });
  }

  start(config: MachineConfig, engine: EngineChoice = { name: 'software' }): void {
    this.engine = engine.name;
    this.thread.post({ kind: 'start', config, engine });
  }

  /** Queues input for a line; settles when the last of it is on its way. Never settles for a machine that has ended. */
  send(line: number, bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0 || this.outcome !== undefined) return Promise.resolve();
    return new Promise((done) => {
      this.lines[line]!.pending.push({ bytes, done });
      this.pushInput();
    });
  }

  /** Asks the machine to stop: `ended` settles with `stopped`, unless the guest ended by itself just before. */
  stop(): void {
    if (this.outcome !== undefined || this.stopTimer !== undefined) return;
    Atomics.store(this.control, CONTROL.stop, 1);
    this.wake(CONTROL.wake);
    this.wake(CONTROL.taken);
    this.stopTimer = setTimeout(() => {
      this.settle({ exit: { kind: 'stopped' } });
      this.thread.terminate();
    }, STOP_TIMEOUT_MS);
  }

  /** What the engine has counted so far, or had at the end. Waits while the machine's thread is loading. */
  statistics(): Promise<Statistics> {
    if (this.outcome !== undefined) return Promise.resolve(this.lastStatistics);
    const { promise, resolve } = Promise.withResolvers<Statistics>();
    this.statisticsWanted.push(resolve);
    Atomics.store(this.control, CONTROL.statistics, 1);
    this.wake(CONTROL.wake);
    return promise;
  }

  private tellStatistics(statistics: Statistics): void {
    this.lastStatistics = statistics;
    for (const resolve of this.statisticsWanted.splice(0)) resolve(statistics);
  }

  private wake(word: number): void {
    Atomics.add(this.control, word, 1);
    Atomics.notify(this.control, word);
    const thread = Atomics.load(this.control, CONTROL.guestThread);
    if (thread !== 0) this.thread.kick?.({ thread, timer: Atomics.load(this.control, CONTROL.kickTimer) });
  }

  private receive(message: FromMachine): void {
    switch (message.kind) {
      case 'started':
        this.resolveStarted(message.kernel);
        return;
      case 'look':
        Atomics.store(this.control, CONTROL.told, 0);
        this.drain();
        this.pushInput();
        return;
      case 'statistics':
        this.tellStatistics(message.statistics);
        return;
      case 'ended':
        this.tellStatistics(message.statistics);
        this.settle({ exit: message.exit });
        return;
      case 'refused': {
        const { hint, exitStatus } = message;
        this.settle({
          error: new UserError(message.message, hint === undefined ? { exitStatus } : { hint, exitStatus }),
        });
      }
    }
  }

  private crashed(cause: Error): void {
    if (this.outcome !== undefined) return;
    const isForPeople = cause instanceof UserError;
    const error = isForPeople ? cause : new MachineCrash(`the machine's thread failed: ${cause.message}`, { cause });
    this.settle({ error });
  }

  private settle(outcome: { exit: MachineExit } | { error: Error }): void {
    if (this.outcome !== undefined) return;
    this.outcome = outcome;
    this.tellStatistics(this.lastStatistics);
    clearTimeout(this.stopTimer);
    for (const line of this.lines) {
      for (const { done } of line.pending) done();
      line.pending = [];
    }
    this.drain();
    this.announce();
  }

  /** Tells the outcome once the readers have everything. */
  private announce(): void {
    const { outcome } = this;
    if (outcome === undefined || this.lines.some((line) => line.busy)) return;
    if ('exit' in outcome) {
      this.resolveEnded(outcome.exit);
    } else {
      this.rejectStarted(outcome.error);
      this.rejectEnded(outcome.error);
    }
  }

  private drain(): void {
    for (const line of this.lines) this.drainLine(line);
  }

  private drainLine(line: Line): void {
    if (line.busy) return;
    for (;;) {
      const bytes = line.output.read(CHUNK_BYTES);
      if (bytes.length === 0) return;
      this.wake(CONTROL.taken);
      const pending = line.reader?.(bytes);
      if (pending === undefined) continue;
      line.busy = true;
      const go = (): void => {
        line.busy = false;
        this.drainLine(line);
        this.announce();
      };
      pending.then(go, go);
      return;
    }
  }

  private pushInput(): void {
    let sent = false;
    for (const [index, line] of this.lines.entries()) {
      for (let entry = line.pending[0]; entry !== undefined; entry = line.pending[0]) {
        let written = line.input.write(entry.bytes);
        if (written < entry.bytes.length) {
          // Asked first, tried again after: the machine may have taken everything in between.
          Atomics.or(this.control, CONTROL.roomWanted, 1 << index);
          written += line.input.write(entry.bytes.subarray(written));
        }
        sent ||= written > 0;
        entry.bytes = entry.bytes.subarray(written);
        if (entry.bytes.length > 0) break;
        line.pending.shift();
        entry.done();
      }
    }
    if (sent) this.wake(CONTROL.wake);
  }
}
