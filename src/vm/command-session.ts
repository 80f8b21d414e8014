// The host's half of running one command in a guest image: its output and errors go where this process's go, its input
// comes from there frame by frame, and its status ends the run (images/overlay.ts has the lines and their formats).

import type { Readable } from 'node:stream';
import type { OutputStream } from '../backends/output-stream.ts';
import { encodeInputFrame, type GuestRequest, GuestRequestDecoder, MAX_INPUT_FRAME_BYTES } from '../images/overlay.ts';
import type { LineReader, VirtualMachine } from './virtual-machine.ts';

const INPUT_LINE = 3;
/** How much of the console is kept for the case that something goes wrong. */
const CONSOLE_TAIL_BYTES = 16 * 1024;

export interface CommandOptions {
  /** undefined: the command has none. */
  input: Readable | undefined;
  output: OutputStream;
  errors: OutputStream;
  /** Where the console (the kernel's messages) goes; kept for `consoleTail` otherwise. */
  console: OutputStream | undefined;
  /** Nobody reads the output any more. */
  onOutputLost(): void;
}

/** Made before the machine, for its readers; `attach` opens the other direction. */
export class CommandSession {
  /** The command's exit status, once it has ended. */
  status: number | undefined;
  /** COM1: console, COM2: output, COM3: requests, COM4: errors. */
  readonly readers: readonly LineReader[];
  private readonly options: CommandOptions;
  private readonly decoder = new GuestRequestDecoder();
  private machine: VirtualMachine | undefined;
  private input: AsyncIterator<Uint8Array> | undefined;
  /** What a chunk of input had beyond one frame. */
  private rest: Uint8Array = new Uint8Array(0);
  private tail: Uint8Array[] = [];
  private tailBytes = 0;

  constructor(options: CommandOptions) {
    this.options = options;
    this.readers = [
      (bytes) => this.readConsole(bytes),
      (bytes) => options.output.write(bytes).catch(() => options.onOutputLost()),
      (bytes) => {
        for (const request of this.decoder.push(bytes)) this.answer(request);
        return undefined;
      },
      (bytes) => options.errors.write(bytes).catch(() => options.onOutputLost()),
    ];
  }

  attach(machine: VirtualMachine): void {
    this.machine = machine;
  }

  /** The end of what the console has said: for when the guest ends without a status. */
  consoleTail(): Uint8Array {
    return Buffer.concat(this.tail).subarray(-CONSOLE_TAIL_BYTES);
  }

  private readConsole(bytes: Uint8Array): Promise<void> | undefined {
    const { console } = this.options;
    if (console !== undefined) return console.write(bytes).catch(() => {});
    this.tail.push(bytes);
    this.tailBytes += bytes.length;
    while (this.tailBytes - this.tail[0]!.length >= CONSOLE_TAIL_BYTES) this.tailBytes -= this.tail.shift()!.length;
    return undefined;
  }

  private answer(request: GuestRequest): void {
    if (request.kind === 'read') {
      void this.sendFrame();
      return;
    }
    this.status = request.status;
    // The guest would now power off: what it wrote is out already.
    this.machine?.stop();
  }

  private async sendFrame(): Promise<void> {
    const bytes = await this.nextInput();
    await this.machine?.send(INPUT_LINE, encodeInputFrame(bytes));
  }

  /** The next bytes of input; none at its end. */
  private async nextInput(): Promise<Uint8Array> {
    const { input } = this.options;
    if (input === undefined) return new Uint8Array(0);
    this.input ??= input[Symbol.asyncIterator]();
    while (this.rest.length === 0) {
      try {
        const next = await this.input.next();
        if (next.done === true) return new Uint8Array(0);
        this.rest = next.value;
      } catch {
        // A terminal that has gone, or a file that cannot be read on: the input ends here.
        return new Uint8Array(0);
      }
    }
    const frame = this.rest.subarray(0, MAX_INPUT_FRAME_BYTES);
    this.rest = this.rest.subarray(frame.length);
    return frame;
  }
}
