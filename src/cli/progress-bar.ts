// The progress of downloads on standard error: a bar where a person watches, one plain line a transfer elsewhere.

import { type Clock, hostClock } from '../base/clock.ts';
import type { Progress } from '../images/progress.ts';

export interface ProgressStream {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

const REDRAW_INTERVAL_NS = 100e6;
const BAR_CELLS = 24;
const CLEAR_LINE = '\r\x1b[K';

export function createProgressBar(stream: ProgressStream, clock: Clock = hostClock): Progress {
  return stream.isTTY === true ? new ProgressBar(stream, clock) : plainProgress(stream);
}

/** Lines for a log: what is being fetched, nothing that moves. */
function plainProgress(stream: ProgressStream): Progress {
  return {
    start: (label, totalBytes) => {
      stream.write(`fetching ${label}${totalBytes === undefined ? '' : ` (${megabytes(totalBytes)} MB)`}\n`);
    },
    advance: () => {},
    finish: () => {},
  };
}

class ProgressBar implements Progress {
  private readonly stream: ProgressStream;
  private readonly clock: Clock;
  private label = '';
  private totalBytes: number | undefined;
  private receivedBytes = 0;
  private drawnAtNs = 0;

  constructor(stream: ProgressStream, clock: Clock) {
    this.stream = stream;
    this.clock = clock;
  }

  start(label: string, totalBytes: number | undefined): void {
    this.label = label;
    this.totalBytes = totalBytes;
    this.receivedBytes = 0;
    this.draw();
  }

  advance(bytes: number): void {
    this.receivedBytes += bytes;
    if (this.clock.nowNs() - this.drawnAtNs >= REDRAW_INTERVAL_NS) this.draw();
  }

  /** The bar goes, and one line stays that says what came. */
  finish(): void {
    this.stream.write(`${CLEAR_LINE}${this.fit(`${this.amount()}  ${this.label}`)}\n`);
  }

  private draw(): void {
    this.drawnAtNs = this.clock.nowNs();
    const total = this.totalBytes;
    const share = total === undefined || total === 0 ? undefined : Math.min(1, this.receivedBytes / total);
    const filled = Math.floor((share ?? 0) * BAR_CELLS);
    const bar = share === undefined ? '' : `${'█'.repeat(filled)}${'░'.repeat(BAR_CELLS - filled)}  `;
    this.stream.write(`${CLEAR_LINE}${this.fit(`${bar}${this.amount()}  ${this.label}`)}`);
  }

  private amount(): string {
    const received = megabytes(this.receivedBytes);
    const isWhole = this.totalBytes === undefined || this.receivedBytes >= this.totalBytes;
    return isWhole ? `${received} MB` : `${received} of ${megabytes(this.totalBytes ?? 0)} MB`;
  }

  /** A line that wrapped could not be cleared. */
  private fit(line: string): string {
    return line.slice(0, Math.max(0, (this.stream.columns || 80) - 1));
  }
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
