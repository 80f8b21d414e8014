// A running guest of any peer, used as a person would: wait for the prompt, type a command, read what comes. Times are
// the host's, taken when the text that tells of an event arrives; the guest's own clock comes with it as a check.

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { OverlayFile } from '../src/images/overlay.ts';
import { type GuestProgram, nameOf } from './guest-programs.ts';
import type { CommandLine } from './peers/peer.ts';
import type { Row } from './rows/row.ts';

/**
 * Sums since the start of the process, by name: `instructions` are the guest's, `modules` WebAssembly's, names that end
 * in `Ms` times; further ones are the peer's own.
 */
export type Counters = Readonly<Record<string, number>>;

export interface Measurement {
  hostMs: number;
  /** By the guest's clock, in steps of 10 ms; null for the boot, before which it has none. */
  guestMs: number | null;
  /** Processor time of all the peer's threads, in steps of 10 ms. */
  cpuMs: number;
  /** The most resident memory during the measurement. */
  peakMemoryBytes: number;
  /** Of the work alone, where the peer counts them. */
  counters: Counters | null;
}

const PROMPT = 'root@debian:~# ';
/** Busybox's line editor asks the terminal for the cursor's position, and goes on without an answer. */
const CURSOR_QUESTION = '\x1b[6n';
const BOOT_TIMEOUT_MS = 120_000;
const ROW_TIMEOUT_MS = 900_000;
const COUNTERS_TIMEOUT_MS = 10_000;
const COUNTERS_PAUSE_MS = 5;
/** What an error shows of the console. */
const TAIL_CHARACTERS = 600;

/** Prints the time-stamp counter. */
export const TIME_STAMP_PROGRAM: GuestProgram = { source: 'time-stamp', defines: {} };
const TIME_STAMP_PATH = `/bench/${nameOf(TIME_STAMP_PROGRAM)}`;

/** The script of a row, for the guests' file system: markers with the guest's clock around the work. */
export function rowScript(row: Row): OverlayFile {
  const mark = (name: string): string =>
    `read -r up rest </proc/uptime; [ -z "$COUNT" ] || up="$up $(${TIME_STAMP_PATH})"; echo "@${name} $up"`;
  const lines = [row.setUp ?? '', mark('start'), row.work, mark('end'), row.cleanUp ?? ''];
  return { path: scriptPath(row), data: `${lines.join('\n')}\n`, mode: 0o755 };
}

export function scriptPath(row: Row): string {
  return `/bench/${row.name}.sh`;
}

/** None outlives this process. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class Guest {
  private readonly child: ChildProcess;
  private readonly commandLine: CommandLine;
  private readonly startedAtMs = performance.now();
  private console = '';
  private ended: string | undefined;
  /** Called at every change. */
  private onChange: () => void = () => {};

  constructor(commandLine: CommandLine) {
    this.commandLine = commandLine;
    const channel = commandLine.answersCounters === true ? (['ipc'] as const) : [];
    this.child = spawn(commandLine.file, commandLine.args, {
      stdio: ['pipe', 'pipe', 'pipe', ...channel],
      env: { ...process.env, ...commandLine.environment },
    });
    running.add(this.child);
    const take = (chunk: Buffer): void => {
      this.console += chunk.toString('latin1');
      this.onChange();
    };
    this.child.stdout!.on('data', take);
    this.child.stderr!.on('data', take);
    // Its end is what `ended` tells; a write after it would say the same once more.
    this.child.stdin!.on('error', () => {});
    const end = (reason: string): void => {
      running.delete(this.child);
      this.ended ??= reason;
      this.onChange();
    };
    this.child.once('error', (error) => end(error.message));
    this.child.once('exit', (code, signal) => end(`ended with ${signal ?? `status ${code}`}`));
  }

  /** From the start of the process to the shell's prompt. */
  async boot(): Promise<Measurement> {
    await this.wait('the prompt', BOOT_TIMEOUT_MS, () => this.isAtPrompt());
    const hostMs = performance.now() - this.startedAtMs;
    const counters = await this.readCounters();
    return { hostMs, guestMs: null, cpuMs: this.cpuMs(), peakMemoryBytes: this.peakMemoryBytes(), counters };
  }

  /** Throws where the work does not print what it must: `expected`. */
  async run(row: Row, expected: string): Promise<Measurement> {
    this.console = '';
    const marker = (name: string): RegExpExecArray | null =>
      new RegExp(`^@${name} (\\d+\\.\\d+)(?: ([0-9a-f]{16}))?\\r?\\n`, 'm').exec(this.console);
    const { countsInTimeStamp } = this.commandLine;
    this.child.stdin!.write(`${countsInTimeStamp === true ? 'COUNT=yes ' : ''}sh ${scriptPath(row)}\n`);
    await this.wait('the start of the work', ROW_TIMEOUT_MS, () => marker('start') !== null);
    const startMs = performance.now();
    const cpuBeforeMs = this.cpuMs();
    this.resetPeakMemory();
    // Both at once: the work goes on while the peer answers, and may end before.
    const countersAtStart = this.readCounters();
    countersAtStart.catch(() => {});
    await this.wait('the end of the work', ROW_TIMEOUT_MS, () => marker('end') !== null);
    const hostMs = performance.now() - startMs;
    const cpuMs = this.cpuMs() - cpuBeforeMs;
    const peakMemoryBytes = this.peakMemoryBytes();
    const countersBefore = await countersAtStart;
    const countersAfter = await this.readCounters();
    const [start, end] = [marker('start')!, marker('end')!];
    const guestMs = Math.round((Number(end[1]) - Number(start[1])) * 1000);
    const printed = this.console.slice(start.index + start[0].length, end.index);
    // A message of the kernel's may come between.
    const lines = printed.split(/\r?\n/).filter((line) => line !== '' && !/^\[ *\d+\.\d+\] /.test(line));
    if (lines.join('\n') !== expected) {
      throw new Error(`wrong result: ${JSON.stringify(lines.join('\n'))} instead of ${JSON.stringify(expected)}`);
    }
    await this.wait('the prompt', BOOT_TIMEOUT_MS, () => this.isAtPrompt());
    return {
      hostMs,
      guestMs,
      cpuMs,
      peakMemoryBytes,
      counters:
        countsInTimeStamp === true
          ? { instructions: Number(BigInt(`0x${end[2]}`) - BigInt(`0x${start[2]}`)) }
          : countersAfter && difference(countersAfter, countersBefore ?? {}),
    };
  }

  /** What is resident now, the largest mapping's part of it, and what the peer has counted since its start. */
  async look(): Promise<{ residentBytes: number; largestMappingBytes: number; counters: Counters | null }> {
    const counters = await this.readCounters();
    const mappings = readFileSync(`/proc/${this.child.pid}/smaps`, 'latin1').matchAll(/^Rss:\s+(\d+) kB$/gm);
    const largestMappingBytes = Math.max(...[...mappings].map(([, kibibytes]) => Number(kibibytes))) * 1024;
    return { residentBytes: this.memoryBytes('VmRSS'), largestMappingBytes, counters };
  }

  /** Ends the process; what the guest would still do does not matter. */
  async close(): Promise<void> {
    if (this.ended !== undefined) return;
    this.child.kill('SIGKILL');
    await this.wait('the end', BOOT_TIMEOUT_MS, () => this.ended !== undefined, true);
  }

  private isAtPrompt(): boolean {
    return this.console.endsWith(PROMPT) || this.console.endsWith(PROMPT + CURSOR_QUESTION);
  }

  private wait(what: string, timeoutMs: number, isThere: () => boolean, endIsFine = false): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (error?: Error): void => {
        clearTimeout(timer);
        this.onChange = () => {};
        if (error === undefined) resolve();
        else reject(error);
      };
      const fail = (reason: string): void => {
        settle(new Error(`waited for ${what}: ${reason}; the console's end: ${this.console.slice(-TAIL_CHARACTERS)}`));
      };
      const timer = setTimeout(() => fail(`not there after ${timeoutMs / 1000} s`), timeoutMs);
      this.onChange = () => {
        if (isThere()) settle();
        else if (this.ended !== undefined && !endIsFine) fail(this.ended);
      };
      this.onChange();
    });
  }

  private async readCounters(): Promise<Counters | null> {
    if (this.commandLine.answersCounters === true) return this.askCounters();
    const { countersFile } = this.commandLine;
    if (countersFile === undefined || !this.catchesUserSignal()) return null;
    rmSync(countersFile, { force: true });
    this.child.kill('SIGUSR2');
    const deadlineMs = performance.now() + COUNTERS_TIMEOUT_MS;
    while (performance.now() < deadlineMs) {
      await sleep(COUNTERS_PAUSE_MS);
      const counters = readJsonObject(countersFile);
      if (counters !== undefined) return counters;
    }
    throw new Error(`no counters in ${countersFile} after SIGUSR2`);
  }

  private askCounters(): Promise<Counters> {
    return new Promise((resolve, reject) => {
      const onExit = (): void => reject(new Error('the process ended before it told its counters'));
      this.child.once('exit', onExit);
      this.child.once('message', (counters) => {
        this.child.off('exit', onExit);
        resolve(counters as Counters);
      });
      this.child.send('counters');
    });
  }

  // The host's view of the process: proc(5).

  private cpuMs(): number {
    // The second field, the program's name in parentheses, may have spaces; utime and stime are the 14th and 15th.
    const stat = readFileSync(`/proc/${this.child.pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * CLOCK_TICK_MS;
  }

  private peakMemoryBytes(): number {
    return this.memoryBytes('VmHWM');
  }

  private memoryBytes(name: 'VmHWM' | 'VmRSS'): number {
    const status = readFileSync(`/proc/${this.child.pid}/status`, 'latin1');
    return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024;
  }

  /** A process that does not would end of it. */
  private catchesUserSignal(): boolean {
    const status = readFileSync(`/proc/${this.child.pid}/status`, 'latin1');
    const caught = BigInt(`0x${/^SigCgt:\s+([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
    return (caught & (1n << BigInt(constants.signals.SIGUSR2 - 1))) !== 0n;
  }

  /** Lets the peak start from what is resident now. */
  private resetPeakMemory(): void {
    writeFileSync(`/proc/${this.child.pid}/clear_refs`, '5');
  }
}

function difference(after: Counters, before: Counters): Counters {
  return Object.fromEntries(Object.entries(after).map(([name, value]) => [name, value - (before[name] ?? 0)]));
}

/** Undefined while the file is not there, or not whole. */
function readJsonObject(path: string): Counters | undefined {
  try {
    const content = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    // The engine's name is there too.
    return Object.fromEntries(Object.entries(content).filter(([, value]) => typeof value === 'number')) as Counters;
  } catch {
    return undefined;
  }
}

/** USER_HZ: 100 on every architecture that the peers run on. */
const CLOCK_TICK_MS = 10;
