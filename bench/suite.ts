// Runs rows on peers. A run boots one guest of each peer after the other and does all rows there; the peers take turns
// in being first. Only one guest is up at a time: a peer may use a third of a processor while its guest does nothing.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '../src/base/errors.ts';
import type { OverlayFile } from '../src/images/overlay.ts';
import { Guest, type Measurement, rowScript } from './guest.ts';
import { compileGuestProgram, whyNoGuestPrograms } from './guest-programs.ts';
import type { Architecture, CommandLine, Peer, PeerDescription } from './peers/peer.ts';
import type { Row } from './rows/row.ts';

export interface SuiteOptions {
  peers: readonly Peer[];
  rows: readonly Row[];
  runs: number;
  /** Hears of every step, in a line. */
  onProgress(text: string): void;
}

export interface RowResult {
  name: string;
  summary: string;
  instructions: number | null;
  /** By peer: one measurement a run. */
  measurements: Record<string, Measurement[]>;
}

export interface SuiteResult {
  peers: Record<string, PeerDescription>;
  /** The first is the boot. */
  rows: RowResult[];
  /** What was left out before the start, with the reason. */
  skipped: { what: string; reason: string }[];
  /** What went wrong on the way. */
  failures: { peer: string; row: string; run: number; reason: string }[];
}

const BOOT_ROW = { name: 'boot', summary: 'from the start of the process to the prompt of the shell' };

export async function runSuite(options: SuiteOptions): Promise<SuiteResult> {
  const folder = mkdtempSync(join(tmpdir(), 'bulkhead-bench-'));
  // Also where a signal ends the process.
  process.once('exit', () => rmSync(folder, { recursive: true }));
  return new Suite(options, folder).run();
}

interface ReadyPeer {
  peer: Peer;
  commandLine: CommandLine;
}

class Suite {
  private readonly options: SuiteOptions;
  private readonly folder: string;
  private readonly result: SuiteResult = { peers: {}, rows: [], skipped: [], failures: [] };

  constructor(options: SuiteOptions, folder: string) {
    this.options = options;
    this.folder = folder;
  }

  async run(): Promise<SuiteResult> {
    const rows = await this.chooseRows();
    const ready = await this.preparePeers(rows);
    this.result.rows = [BOOT_ROW, ...rows].map((row: Pick<Row, 'name' | 'summary' | 'instructions'>) => ({
      name: row.name,
      summary: row.summary,
      instructions: row.instructions ?? null,
      measurements: Object.fromEntries(ready.map(({ peer }) => [peer.name, []])),
    }));
    for (let run = 1; run <= this.options.runs; run++) {
      for (const peer of rotate(ready, run - 1)) await this.runGuest(run, peer, rows);
    }
    return this.result;
  }

  private skip(what: string, reason: string): void {
    this.result.skipped.push({ what, reason });
    this.options.onProgress(`${what}: skipped: ${reason}`);
  }

  private async chooseRows(): Promise<Row[]> {
    const reason = await whyNoGuestPrograms();
    return this.options.rows.filter((row) => {
      if (row.program === undefined || reason === undefined) return true;
      this.skip(row.name, reason);
      return false;
    });
  }

  private async preparePeers(rows: readonly Row[]): Promise<ReadyPeer[]> {
    const files = new Map<Architecture, OverlayFile[]>();
    const ready: ReadyPeer[] = [];
    for (const peer of this.options.peers) {
      try {
        const reason = await peer.whyUnavailable();
        if (reason !== undefined) {
          this.skip(peer.name, reason);
          continue;
        }
        const folder = join(this.folder, peer.name);
        mkdirSync(folder);
        const guestFiles = files.get(peer.architecture) ?? (await this.guestFiles(rows, peer.architecture));
        files.set(peer.architecture, guestFiles);
        ready.push({ peer, commandLine: await peer.prepare(guestFiles, folder) });
        this.result.peers[peer.name] = await peer.describe();
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        this.skip(peer.name, [error.message, ...(error.hint === undefined ? [] : [error.hint])].join('; '));
      }
    }
    return ready;
  }

  private async guestFiles(rows: readonly Row[], architecture: Architecture): Promise<OverlayFile[]> {
    const files = rows.map(rowScript);
    for (const { program } of rows) {
      if (program === undefined) continue;
      const data = await compileGuestProgram(program, architecture, this.folder);
      files.push({ path: `/bench/program-${program.source}`, data, mode: 0o755 });
    }
    return files;
  }

  /** All rows in one new guest; a failure ends it, as the guest's state is unknown then. */
  private async runGuest(run: number, { peer, commandLine }: ReadyPeer, rows: readonly Row[]): Promise<void> {
    const guest = new Guest(commandLine);
    const steps = [
      { name: BOOT_ROW.name, work: () => guest.boot() },
      ...rows.map((row) => ({ name: row.name, work: () => guest.run(row) })),
    ];
    try {
      for (const { name, work } of steps) {
        const step = `run ${run}: ${name} on ${peer.name}`;
        try {
          const measurement = await work();
          this.result.rows.find((row) => row.name === name)!.measurements[peer.name]!.push(measurement);
          this.options.onProgress(`${step}: ${Math.round(measurement.hostMs)} ms`);
        } catch (error) {
          const reason = error instanceof Error ? error.message : String(error);
          this.result.failures.push({ peer: peer.name, row: name, run, reason });
          this.options.onProgress(`${step}: failed: ${reason}`);
          return;
        }
      }
    } finally {
      await guest.close();
    }
  }
}

/** So that no peer is always the first. */
function rotate<T>(items: readonly T[], by: number): T[] {
  const start = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}
