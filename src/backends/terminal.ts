// The terminal that this process runs in: raw mode while a guest has it, and the settings from before on every way out.
// Exits, signals and uncaught errors are the process's own affair; for its sudden death a small shell stands by, which
// sees the pipe from here close and puts the terminal right.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { isatty, type ReadStream, type WriteStream } from 'node:tty';

export interface TerminalSize {
  rows: number;
  columns: number;
}

export class Terminal {
  private readonly input: ReadStream;
  private readonly output: WriteStream;
  private guard: ChildProcess | undefined;
  private raw = false;
  private readonly onExit = (): void => this.restore();
  private readonly onContinue = (): void => {
    // Whoever stopped us has given the terminal back to its shell meanwhile.
    this.input.setRawMode(false);
    this.input.setRawMode(true);
  };

  constructor(input: ReadStream, output: WriteStream) {
    this.input = input;
    this.output = output;
  }

  /** The terminal of standard input and output; undefined where one of them is something else. */
  static ofProcess(): Terminal | undefined {
    return isatty(0) && isatty(1) ? new Terminal(process.stdin, process.stdout) : undefined;
  }

  /** In character cells; undefined where the terminal does not say. */
  get size(): TerminalSize | undefined {
    const { rows, columns } = this.output;
    return rows > 0 && columns > 0 ? { rows, columns } : undefined;
  }

  /** Every key goes to the guest from now on. */
  makeRaw(): void {
    if (this.raw) return;
    this.guard = startGuard();
    process.on('exit', this.onExit);
    process.on('SIGCONT', this.onContinue);
    this.input.setRawMode(true);
    this.raw = true;
  }

  /** Puts the terminal back; twice does no harm. */
  restore(): void {
    if (!this.raw) return;
    this.raw = false;
    process.off('exit', this.onExit);
    process.off('SIGCONT', this.onContinue);
    try {
      this.input.setRawMode(false);
    } catch {
      // The terminal has gone: there is nothing to put right.
    }
    // A word instead of the bare end of the pipe tells the guard that all is well.
    this.guard?.stdin?.end('restored\n');
    this.guard = undefined;
  }
}

/** A shell, in a session of its own, that restores the present settings if this process dies without a word. */
function startGuard(): ChildProcess | undefined {
  const saved = spawnSync('stty', ['-g'], { stdio: ['inherit', 'pipe', 'ignore'], encoding: 'utf8' });
  // Without stty there is nobody to stand by; the process's own ways out restore all the same.
  if (saved.status !== 0 || !/^[\w:=]+\s*$/.test(saved.stdout)) return undefined;
  const guard = spawn('sh', ['-c', `read -r word || stty '${saved.stdout.trim()}' <&3`], {
    stdio: ['pipe', 'ignore', 'ignore', process.stdin.fd],
    detached: true,
  });
  guard.on('error', () => {});
  guard.stdin?.on('error', () => {});
  guard.unref();
  return guard;
}
