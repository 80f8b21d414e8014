// Runs rows on peers. A run boots guests of each peer one after the other and does the rows there; the peers take turns
// in being first. Only one guest is up at a time: a peer may use a third of a processor while its guest does nothing.
// Rows with packages have guests of their own, so that the boot that is measured does not unpack those.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '../src/base/errors.ts';
import type { OverlayFile } from '../src/images/overlay.ts';
import { Guest, type Measurement, rowScript, scriptPath, TIME_STAMP_PROGRAM } from './guest.ts';
import { GuestPrograms, nameOf, whyNoGuestPrograms } from './guest-programs.ts';
import { packageFiles } from './packages.ts';
import type { Architecture, CommandLine, Peer, PeerDescription } from './peers/peer.ts';
import type { Row } from './rows/row.ts';

export interface SuiteOptions {
  peers: readonly Peer[];
  rows: readonly Row[];
  /** Whether the boot is a row. */
  boot: boolean;
  runs: number;
  /** Hears of every step, in a line. */
  onProgress(text: string): void;
}

export type RowResult = Pick<Row, 'name' | 'group' | 'summary' | 'operations'> & {
  /** By peer: one measurement a run. */
  measurements: Record<string, Measurement[]>;
};

export interface SuiteResult {
  peers: Record<string, PeerDescription>;
  rows: RowResult[];
  /** What was left out before the start, with the reason. */
  skipped: { what: string; reason: string }[];
  /** What went wrong on the way. */
  failures: { peer: string; row: string; run: number; reason: string }[];
}

export const BOOT_ROW = {
  name: 'boot',
  group: 'boot',
  summary: 'from the start of the process to the prompt of the shell',
} as const;

export async function runSuite(options: SuiteOptions): Promise<SuiteResult> {
  const folder = mkdtempSync(join(tmpdir(), 'bulkhead-bench-'));
  // Also where a signal ends the process.
  process.once('exit', () => rmSync(folder, { recursive: true }));
  return new Suite(options, folder).run();
}

export interface PreparedGuest {
  peer: string;
  commandLine: CommandLine;
  /** What to type into its shell. */
  scripts: string[];
}

/** Writes into `folder` what the guests need, and runs nothing. */
export function prepareGuests(options: SuiteOptions, folder: string): Promise<PreparedGuest[]> {
  return new Suite(options, folder).prepare();
}

/** Rows that run in one guest, with the files for them. */
interface GuestKind {
  name: string;
  rows: readonly Row[];
  /** Whether its boot is a row. */
  boot: boolean;
}

interface ReadyPeer {
  peer: Peer;
  guests: readonly { kind: GuestKind; commandLine: CommandLine }[];
}

class Suite {
  private readonly options: SuiteOptions;
  private readonly folder: string;
  private readonly programs: GuestPrograms;
  private readonly expected = new Map<Row, string>();
  private hasCompiler = false;
  private readonly result: SuiteResult = { peers: {}, rows: [], skipped: [], failures: [] };

  constructor(options: SuiteOptions, folder: string) {
    this.options = options;
    this.folder = folder;
    const programFolder = join(folder, 'programs');
    mkdirSync(programFolder, { recursive: true });
    this.programs = new GuestPrograms(programFolder);
  }

  async prepare(): Promise<PreparedGuest[]> {
    const ready = await this.preparePeers(this.guestKinds(await this.chooseRows()));
    return ready.flatMap(({ peer, guests }) =>
      guests.map(({ kind, commandLine }) => {
        return { peer: peer.name, commandLine, scripts: kind.rows.map((row) => `sh ${scriptPath(row)}`) };
      }),
    );
  }

  async run(): Promise<SuiteResult> {
    const rows = await this.chooseRows();
    const ready = await this.preparePeers(this.guestKinds(rows));
    for (const row of rows) this.expected.set(row, await this.expectedOf(row));
    this.result.rows = [...(this.options.boot ? [BOOT_ROW] : []), ...rows].map(
      (row: Omit<Row, 'work' | 'expected'>) => ({
        name: row.name,
        group: row.group,
        summary: row.summary,
        ...(row.operations !== undefined && { operations: row.operations }),
        measurements: Object.fromEntries(ready.map(({ peer }) => [peer.name, []])),
      }),
    );
    for (let run = 1; run <= this.options.runs; run++) {
      for (const peer of rotate(ready, run - 1)) await this.runPeer(run, peer);
    }
    return this.result;
  }

  private guestKinds(rows: readonly Row[]): GuestKind[] {
    return [
      { name: 'plain', rows: rows.filter((row) => row.packages === undefined), boot: this.options.boot },
      { name: 'packages', rows: rows.filter((row) => row.packages !== undefined), boot: false },
    ].filter((kind) => kind.boot || kind.rows.length > 0);
  }

  private skip(what: string, reason: string): void {
    this.result.skipped.push({ what, reason });
    this.options.onProgress(`${what}: skipped: ${reason}`);
  }

  private async chooseRows(): Promise<Row[]> {
    const reason = await whyNoGuestPrograms();
    this.hasCompiler = reason === undefined;
    return this.options.rows.filter((row) => {
      if (row.programs === undefined || reason === undefined) return true;
      this.skip(row.name, reason);
      return false;
    });
  }

  private async expectedOf({ expected }: Row): Promise<string> {
    return typeof expected === 'string' ? expected : expected((program) => this.programs.output(program));
  }

  private async preparePeers(kinds: readonly GuestKind[]): Promise<ReadyPeer[]> {
    const files = new Map<string, OverlayFile[]>();
    const filesOf = async (kind: GuestKind, architecture: Architecture): Promise<OverlayFile[]> => {
      const key = `${kind.name} ${architecture}`;
      const known = files.get(key) ?? (await this.guestFiles(kind.rows, architecture));
      files.set(key, known);
      return known;
    };
    const ready: ReadyPeer[] = [];
    for (const peer of this.options.peers) {
      try {
        const reason = await peer.whyUnavailable();
        if (reason !== undefined) {
          this.skip(peer.name, reason);
          continue;
        }
        const guests = [];
        for (const kind of kinds) {
          const folder = join(this.folder, peer.name, kind.name);
          mkdirSync(folder, { recursive: true });
          const commandLine = await peer.prepare(await filesOf(kind, peer.architecture), folder);
          guests.push({ kind: { ...kind, rows: this.rowsOf(peer, kind) }, commandLine });
        }
        ready.push({ peer, guests: guests.filter(({ kind }) => kind.boot || kind.rows.length > 0) });
        this.result.peers[peer.name] = await peer.describe();
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        this.skip(peer.name, [error.message, ...(error.hint === undefined ? [] : [error.hint])].join('; '));
      }
    }
    return ready;
  }

  private rowsOf(peer: Peer, kind: GuestKind): Row[] {
    return kind.rows.filter((row) => {
      const reason = row.skip?.[peer.name];
      if (reason !== undefined) this.skip(`${row.name} on ${peer.name}`, reason);
      return reason === undefined;
    });
  }

  private async guestFiles(rows: readonly Row[], architecture: Architecture): Promise<OverlayFile[]> {
    const files = new Map<string, OverlayFile>();
    const packages = new Set(rows.flatMap((row) => row.packages ?? []));
    for (const file of await packageFiles([...packages], architecture)) files.set(file.path, file);
    for (const row of rows) {
      for (const file of [rowScript(row), ...(row.files ?? [])]) files.set(file.path, file);
    }
    const own = this.hasCompiler ? [TIME_STAMP_PROGRAM] : [];
    for (const program of [...own, ...rows.flatMap((row) => row.programs ?? [])]) {
      const path = `/bench/${nameOf(program)}`;
      files.set(path, { path, data: await this.programs.read(program, architecture), mode: 0o755 });
    }
    return [...files.values()];
  }

  private async runPeer(run: number, { peer, guests }: ReadyPeer): Promise<void> {
    for (const { kind, commandLine } of guests) {
      let rows = kind.rows;
      let boot = kind.boot;
      // The state of a guest in which a row has failed is unknown: the rows after it get a new one.
      do {
        const done = await this.runGuest(run, peer, commandLine, rows, boot);
        rows = rows.slice(done);
        boot = false;
      } while (rows.length > 0);
    }
  }

  /** How many rows need no other guest: all but those after one that failed. */
  private async runGuest(
    run: number,
    peer: Peer,
    commandLine: CommandLine,
    rows: readonly Row[],
    boot: boolean,
  ): Promise<number> {
    const guest = new Guest(commandLine);
    const step = async (name: string, isRow: boolean, work: () => Promise<Measurement>): Promise<boolean> => {
      const label = `run ${run}: ${name} on ${peer.name}`;
      try {
        const measurement = await work();
        if (isRow) this.result.rows.find((row) => row.name === name)!.measurements[peer.name]!.push(measurement);
        this.options.onProgress(`${label}: ${Math.round(measurement.hostMs)} ms`);
        return true;
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        this.result.failures.push({ peer: peer.name, row: name, run, reason });
        this.options.onProgress(`${label}: failed: ${reason}`);
        return false;
      }
    };
    try {
      if (!(await step(BOOT_ROW.name, boot, () => guest.boot()))) return rows.length;
      for (const [index, row] of rows.entries()) {
        if (!(await step(row.name, true, () => guest.run(row, this.expected.get(row)!)))) return index + 1;
      }
      return rows.length;
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
