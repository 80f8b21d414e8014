// What a run of the suite tells: medians, ratios, as a table for people and as JSON.

import { cpus, release, totalmem } from 'node:os';
import type { Measurement } from './guest.ts';
import type { Mode } from './rows/row.ts';
import type { SuiteResult } from './suite.ts';

/** The peer whose ratios to the others are told. */
const OURS = 'bulkhead';
/** The guest's clock counts in steps of 10 ms, at both ends. */
const CLOCK_STEPS_MS = 20;
const CLOCK_TOLERANCE = 0.02;

export interface PeerSummary {
  /** Medians of the runs. */
  hostMs: number;
  guestMs: number | null;
  cpuMs: number;
  peakMemoryBytes: number;
  /** Million guest instructions a second, from the work's known count or from the peer's own. */
  guestMips: number | null;
  /** WebAssembly modules that the work brought, where the peer counts them. */
  modules: number | null;
  runs: Measurement[];
}

export interface RowSummary {
  name: string;
  summary: string;
  instructions: number | null;
  peers: Record<string, PeerSummary>;
  /**
   * By other peer: Bulkhead's speed over its speed, which is its time over Bulkhead's. 1 is as fast, 2 twice as fast.
   */
  speedRatios: Record<string, number>;
  /** The same of processor time: says more where other work keeps the host busy. */
  cpuSpeedRatios: Record<string, number>;
}

export interface Report {
  /** ISO 8601. */
  date: string;
  mode: Mode;
  runs: number;
  host: { processor: string; processors: number; memoryBytes: number; kernel: string; node: string };
  peers: SuiteResult['peers'];
  rows: RowSummary[];
  /** Geometric means over the rows but boot. */
  meanSpeedRatios: Record<string, number>;
  meanCpuSpeedRatios: Record<string, number>;
  skipped: SuiteResult['skipped'];
  failures: SuiteResult['failures'];
  /** Where the medians by the guest's clock and by the host's differ. */
  clockDifferences: { peer: string; row: string; hostMs: number; guestMs: number }[];
}

export function createReport(result: SuiteResult, mode: Mode, runs: number): Report {
  const rows = result.rows.map((row): RowSummary => {
    const measured = Object.entries(row.measurements).filter(([, measurements]) => measurements.length > 0);
    const peers = Object.fromEntries(measured.map(([peer, list]) => [peer, summarize(list, row.instructions)]));
    return {
      name: row.name,
      summary: row.summary,
      instructions: row.instructions,
      peers,
      speedRatios: speedRatios(peers, ({ hostMs }) => hostMs),
      cpuSpeedRatios: speedRatios(peers, ({ cpuMs }) => cpuMs),
    };
  });
  return {
    date: new Date().toISOString(),
    mode,
    runs,
    host: {
      processor: cpus()[0]?.model ?? 'unknown',
      processors: cpus().length,
      memoryBytes: totalmem(),
      kernel: release(),
      node: process.versions.node,
    },
    peers: result.peers,
    rows,
    meanSpeedRatios: meanRatios(rows.slice(1).map((row) => row.speedRatios)),
    meanCpuSpeedRatios: meanRatios(rows.slice(1).map((row) => row.cpuSpeedRatios)),
    skipped: result.skipped,
    failures: result.failures,
    clockDifferences: rows.flatMap((row) =>
      Object.entries(row.peers).flatMap(([peer, { hostMs, guestMs }]) =>
        guestMs !== null && Math.abs(guestMs - hostMs) > CLOCK_STEPS_MS + CLOCK_TOLERANCE * hostMs
          ? [{ peer, row: row.name, hostMs, guestMs }]
          : [],
      ),
    ),
  };
}

function summarize(runs: Measurement[], instructions: number | null): PeerSummary {
  const hostMs = median(runs.map((run) => run.hostMs));
  const counted = runs.flatMap(({ counters }) => (counters === null ? [] : [counters]));
  const known =
    instructions ?? (counted.length > 0 ? median(counted.flatMap((counters) => counters.instructions ?? [])) : null);
  return {
    hostMs,
    guestMs: runs.every((run) => run.guestMs !== null) ? median(runs.map((run) => run.guestMs!)) : null,
    cpuMs: median(runs.map((run) => run.cpuMs)),
    peakMemoryBytes: median(runs.map((run) => run.peakMemoryBytes)),
    guestMips: known === null ? null : known / hostMs / 1000,
    modules: counted.length > 0 ? median(counted.flatMap((counters) => counters.modules ?? [])) : null,
    runs,
  };
}

function speedRatios(
  peers: Record<string, PeerSummary>,
  timeOf: (summary: PeerSummary) => number,
): Record<string, number> {
  const ours = peers[OURS];
  if (ours === undefined) return {};
  const others = Object.entries(peers).filter(([peer]) => peer !== OURS);
  return Object.fromEntries(others.map(([peer, summary]) => [peer, timeOf(summary) / timeOf(ours)]));
}

/** Geometric means by peer. */
function meanRatios(rows: readonly Record<string, number>[]): Record<string, number> {
  const names = new Set(rows.flatMap((row) => Object.keys(row)));
  return Object.fromEntries(
    [...names].map((name) => {
      const ratios = rows.flatMap((row) => row[name] ?? []);
      return [name, Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length)];
    }),
  );
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

// For people.

export function formatReport(report: Report): string {
  const peers = Object.keys(report.peers);
  const others = peers.filter((peer) => peer !== OURS);
  const ratio = (value: number | undefined): string => (value === undefined ? '-' : `${value.toPrecision(2)}x`);
  const cell = <T>(value: T | null | undefined, format: (value: T) => string): string =>
    value === null || value === undefined ? '-' : format(value);
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
  const mebibytes = (bytes: number): string => `${Math.round(bytes / 1024 ** 2)} MiB`;
  const ofPeers = (row: RowSummary, format: (summary: PeerSummary) => string): string[] =>
    peers.map((peer) => cell(row.peers[peer], format));
  const compared = peers.includes(OURS) ? others : [];
  const times = [
    ['time', ...peers, ...compared.flatMap((peer) => [`speed to ${peer}`, 'by CPU time'])],
    ...report.rows.map((row) => [
      row.name,
      ...ofPeers(row, ({ hostMs }) => seconds(hostMs)),
      ...compared.flatMap((peer) => [ratio(row.speedRatios[peer]), ratio(row.cpuSpeedRatios[peer])]),
    ]),
  ];
  const costs = [
    ['cost', ...['MIPS', 'CPU', 'peak'].flatMap((cost) => peers.map((peer) => `${peer} ${cost}`))],
    ...report.rows.map((row) => [
      row.name,
      ...ofPeers(row, ({ guestMips }) => cell(guestMips, (mips) => mips.toFixed(0))),
      ...ofPeers(row, ({ cpuMs }) => seconds(cpuMs)),
      ...ofPeers(row, ({ peakMemoryBytes }) => mebibytes(peakMemoryBytes)),
    ]),
  ];
  const boot = report.rows[0];
  const lines = [
    `Medians of ${report.runs} runs (${report.mode}), host time. Speed: 1x is as fast, 2x twice as fast as the peer.`,
    `${report.host.processors} x ${report.host.processor}, Linux ${report.host.kernel}, Node ${report.host.node}`,
    ...peers.map((peer) => `${peer}: ${report.peers[peer]!.version}; guest kernel ${report.peers[peer]!.kernel}`),
    '',
    ...alignColumns(times),
    '',
    ...alignColumns(costs),
    '',
    ...report.rows.map((row) => `${row.name}: ${row.summary}`),
    '',
    ...others.flatMap((peer) => {
      const bootRatio = boot?.speedRatios[peer];
      const mean = report.meanSpeedRatios[peer];
      return [
        ...(bootRatio === undefined ? [] : [`boot takes ${(1 / bootRatio).toPrecision(2)} times the time of ${peer}`]),
        ...(mean === undefined
          ? []
          : [
              `geometric mean of the other rows: ${ratio(mean)} the speed of ${peer}, ` +
                `${ratio(report.meanCpuSpeedRatios[peer])} by CPU time`,
            ]),
      ];
    }),
    ...report.skipped.map(({ what, reason }) => `skipped ${what}: ${reason}`),
    ...report.failures.map(({ peer, row, run, reason }) => `FAILED ${row} on ${peer} in run ${run}: ${reason}`),
    ...report.clockDifferences.map(
      ({ peer, row, hostMs, guestMs }) =>
        `clock of ${peer} in ${row}: ${guestMs} ms in the guest, ${Math.round(hostMs)} ms on the host`,
    ),
  ];
  return `${lines.join('\n')}\n`;
}

function alignColumns(table: readonly string[][]): string[] {
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  return table.map((row) =>
    row.map((text, column) => (column === 0 ? text.padEnd(widths[0]!) : text.padStart(widths[column]!))).join('  '),
  );
}

/** `2026-11-22-2x-some-processor.json` */
export function resultFileName({ date, host }: Report): string {
  const words = host.processor.toLowerCase().match(/[a-z0-9.]+/g) ?? ['unknown'];
  const slug = words.filter((word) => !['r', 'tm', 'cpu', 'processor'].includes(word)).join('-');
  return `${date.slice(0, 10)}-${host.processors}x-${slug}.json`;
}
