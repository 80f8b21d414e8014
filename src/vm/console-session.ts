// A person, or a pipe, at the guest's console: COM1 on the process's standard input and output.

import type { Readable } from 'node:stream';
import type { OutputStream } from '../backends/output-stream.ts';
import type { Terminal } from '../backends/terminal.ts';
import type { LineReader, VirtualMachine } from './virtual-machine.ts';

/** Ctrl-], as in telnet. */
const LEAVE_KEY = 0x1d;
/**
 * Busybox' line editor asks for the cursor's position (DSR) when it waits for a line. A guest that is not there yet
 * may lose input: its serial driver clears what came before it was opened.
 */
const CURSOR_POSITION_REQUEST = '\x1b[6n';
/** Ctrl-D: the end of the input, where the guest's terminal is at the start of a line. */
const END_OF_INPUT = Uint8Array.of(4);
const END_OF_INPUT_INTERVAL_MS = 250;

export interface ConsoleOptions {
  input: Readable;
  output: OutputStream;
  /** Set where input and output are a terminal: keys go over one by one, and Ctrl-] leaves. */
  terminal: Terminal | undefined;
  /**
   * The guest has busybox' shell on its console: input from a pipe waits until that asks for it, and the pipe's end is
   * the end of the shell's input. Otherwise input goes over as it comes, and its end means nothing to the guest.
   */
  hasShell: boolean;
  /** The person has pressed Ctrl-]. */
  onLeave(): void;
  /** Nobody reads the output any more. */
  onOutputLost(): void;
}

/** Made before the machine, as its reader of COM1; `attach` opens the other direction. */
export class ConsoleSession {
  private readonly options: ConsoleOptions;
  private readonly prompted: Promise<void>;
  private resolvePrompted: () => void = () => {};
  /** The last bytes of output, until the first prompt has been seen. */
  private seen: string | undefined = '';
  private endTimer: NodeJS.Timeout | undefined;

  constructor(options: ConsoleOptions) {
    this.options = options;
    this.prompted = new Promise((resolve) => {
      this.resolvePrompted = resolve;
    });
  }

  readonly read: LineReader = (bytes) => {
    this.lookForPrompt(bytes);
    return this.options.output.write(bytes).catch(() => this.options.onOutputLost());
  };

  attach(machine: VirtualMachine): void {
    const { input, terminal } = this.options;
    terminal?.makeRaw();
    input.on('data', (bytes: Uint8Array) => void this.forward(machine, bytes));
    input.once('end', () => void this.end(machine));
    input.once('error', () => void this.end(machine));
  }

  /** Gives the terminal back. */
  close(): void {
    clearInterval(this.endTimer);
    this.options.terminal?.restore();
    this.options.input.pause();
  }

  private lookForPrompt(bytes: Uint8Array): void {
    if (this.seen === undefined) return;
    this.seen += Buffer.from(bytes).toString('latin1');
    if (this.seen.includes(CURSOR_POSITION_REQUEST)) {
      this.seen = undefined;
      this.resolvePrompted();
    } else {
      this.seen = this.seen.slice(-CURSOR_POSITION_REQUEST.length);
    }
  }

  private async forward(machine: VirtualMachine, bytes: Uint8Array): Promise<void> {
    const { input, terminal, hasShell } = this.options;
    const leave = terminal === undefined ? -1 : bytes.indexOf(LEAVE_KEY);
    const sent = leave < 0 ? bytes : bytes.subarray(0, leave);
    if (sent.length > 0) {
      // One chunk at a time, so that a pipe is read as fast as the guest reads.
      input.pause();
      if (terminal === undefined && hasShell) await this.prompted;
      await machine.send(0, sent);
      input.resume();
    }
    if (leave >= 0) this.options.onLeave();
  }

  private async end(machine: VirtualMachine): Promise<void> {
    if (!this.options.hasShell) return;
    await this.prompted;
    // A shell that is not at its prompt does not see it: until it goes, it hears it again.
    void machine.send(0, END_OF_INPUT);
    this.endTimer = setInterval(() => void machine.send(0, END_OF_INPUT), END_OF_INPUT_INTERVAL_MS);
    this.endTimer.unref();
  }
}
