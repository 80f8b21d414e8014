// The process's standard output or error as a place that takes bytes one write after the other. A pipe is written
// without blocking the thread, so that a reader that stalls stalls its writer and nothing else.

import { fstatSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { isatty } from 'node:tty';

export interface OutputStream {
  readonly isTerminal: boolean;
  /** Settles when the bytes are out; rejects when nobody reads any more. */
  write(bytes: Uint8Array | string): Promise<void>;
}

export class DescriptorOutput implements OutputStream {
  readonly isTerminal: boolean;
  private readonly stream: Writable;

  constructor(descriptor: 1 | 2) {
    this.isTerminal = isatty(descriptor);
    // The process's own stream of a pipe would block.
    if (isPipe(descriptor)) this.stream = new Socket({ fd: descriptor, readable: false, writable: true });
    else this.stream = descriptor === 1 ? process.stdout : process.stderr;
    // Every write hears of its own failure.
    this.stream.on('error', () => {});
  }

  write(bytes: Uint8Array | string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.stream.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
  }
}

function isPipe(descriptor: number): boolean {
  try {
    const stat = fstatSync(descriptor);
    return stat.isFIFO() || stat.isSocket();
  } catch {
    return false;
  }
}
