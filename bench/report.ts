// What a run of the suite tells: medians, ratios, means over groups, what of its targets is met; as tables for people
// (report-text.ts) and as JSON.

import { cpus, release, totalmem } from 'node:os';
import type { Counters, Measurement } from './guest.ts';
import { readInstructionCount } from './instruction-counts.ts';
import { geometricMean, median } from './means.ts';
import type { Group, Mode } from './rows/row.ts';
import { GROUPS } from './rows/rows.ts';
import type { RowResult, SuiteResult } from './suite.ts';
import { checkTargets, type TargetResult } from './targets.ts';

/** The peer whose ratios to the others are told. */
export const OURS = 'bulkhead';
/** The guest's clock counts in steps of 10 ms, at both ends. */
const CLOCK_STEPS_MS = 20;
const CLOCK_TOLERANCE = 0.02;

export interface PeerSummary {
  /** Medians of the runs. */
  hostMs: number;
  guestMs: number | null;
  cpuMs: number;
  peakMemoryBytes: number;
  /** Million guest instructions a second: the peer's own count, or else that of a 64-bit guest. */
  guestMips: number | null;
  operationsPerSecond: number | null;
  /** Each a median of the runs; empty where the peer does not count. */
  counters: Counters;
  /** Machine code of the translations that the work brought, over the guest instructions that were translated. */
  codeBytesPerInstruction: number | null;
  runs: Measurement[];
}

/** By peer: our speed over its speed, which is its time over ours. 1 is as fast, 2 twice as fast. */
export type SpeedRatios = Record<string, number>;

export interface RowSummary {
  name: string;
  group: Group;
  summary: string;
  /** Of a 64-bit guest. */
  instructions: number | null;
  operations: NonNullable<RowResult['operations']> | null;
  peers: Record<string, PeerSummary>;
  speedRatios: SpeedRatios;
  /** The same of processor time: says more where other work keeps the host busy. */
  cpuSpeedRatios: SpeedRatios;
}

export interface GroupSummary {
  name: Group;
  /** Geometric means of the rows' ratios. */
  speedRatios: SpeedRatios;
  cpuSpeedRatios: SpeedRatios;
}

export interface Report {
  /** ISO 8601. */
  date: string;
  mode: Mode;
  runs: number;
  host: { processor: string; processors: number; memoryBytes: number; kernel: string; node: string };
  peers: SuiteResult['peers'];
  rows: RowSummary[];
  groups: GroupSummary[];
  targets: TargetResult[];
  skipped: SuiteResult['skipped'];
  failures: SuiteResult['failures'];
  /** Where the medians by the guest's clock and by the host's differ. */
  clockDifferences: { peer: string; row: string; hostMs: number; guestMs: number }[];
}

export function createReport(result: SuiteResult, mode: Mode, runs: number): Report {
  const rows = result.rows.map((row) => summarizeRow(row, mode));
  const groups = summarizeGroups(rows);
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
    groups,
    targets: checkTargets(rows, groups),
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

function summarizeRow(row: RowResult, mode: Mode): RowSummary {
  const instructions = readInstructionCount(mode, row);
  const measured = Object.entries(row.measurements).filter(([, measurements]) => measurements.length > 0);
  const peers = Object.fromEntries(
    measured.map(([peer, list]) => [peer, summarizePeer(list, instructions, row.operations?.count ?? null)]),
  );
  return {
    name: row.name,
    group: row.group,
    summary: row.summary,
    instructions,
    operations: row.operations ?? null,
    peers,
    speedRatios: speedRatios(peers, ({ hostMs }) => hostMs),
    cpuSpeedRatios: speedRatios(peers, ({ cpuMs }) => cpuMs),
  };
}

function summarizePeer(runs: Measurement[], instructions: number | null, operations: number | null): PeerSummary {
  const hostMs = median(runs.map((run) => run.hostMs));
  const counters = medianCounters(runs);
  const known = counters.instructions ?? instructions;
  return {
    hostMs,
    guestMs: runs.every((run) => run.guestMs !== null) ? median(runs.map((run) => run.guestMs!)) : null,
    cpuMs: median(runs.map((run) => run.cpuMs)),
    peakMemoryBytes: median(runs.map((run) => run.peakMemoryBytes)),
    guestMips: known === null ? null : known / hostMs / 1000,
    operationsPerSecond: operations === null ? null : (operations / hostMs) * 1000,
    counters,
    codeBytesPerInstruction: quotient(counters.codeBytes, counters.translatedInstructions),
    runs,
  };
}

function medianCounters(runs: readonly Measurement[]): Counters {
  const counted = runs.flatMap(({ counters }) => (counters === null ? [] : [counters]));
  const names = new Set(counted.flatMap((counters) => Object.keys(counters)));
  return Object.fromEntries(
    [...names].map((name) => [name, median(counted.flatMap((counters) => counters[name] ?? []))]),
  );
}

function quotient(dividend: number | undefined, divisor: number | undefined): number | null {
  return dividend === undefined || divisor === undefined || divisor <= 0 ? null : dividend / divisor;
}

function speedRatios(peers: Record<string, PeerSummary>, timeOf: (summary: PeerSummary) => number): SpeedRatios {
  const ours = peers[OURS];
  if (ours === undefined) return {};
  const others = Object.entries(peers).filter(([peer]) => peer !== OURS);
  return Object.fromEntries(others.map(([peer, summary]) => [peer, timeOf(summary) / timeOf(ours)]));
}

function summarizeGroups(rows: readonly RowSummary[]): GroupSummary[] {
  return GROUPS.flatMap((name) => {
    const own = rows.filter((row) => row.group === name);
    if (own.length === 0) return [];
    const means = (ratiosOf: (row: RowSummary) => SpeedRatios): SpeedRatios => {
      const peers = new Set(own.flatMap((row) => Object.keys(ratiosOf(row))));
      return Object.fromEntries(
        [...peers].map((peer) => [peer, geometricMean(own.flatMap((row) => ratiosOf(row)[peer] ?? []))]),
      );
    };
    return [{ name, speedRatios: means((row) => row.speedRatios), cpuSpeedRatios: means((row) => row.cpuSpeedRatios) }];
  });
}

/** `2026-11-22-2x-some-processor.json` */
export function resultFileName({ date, host }: Report): string {
  const words = host.processor.toLowerCase().match(/[a-z0-9.]+/g) ?? ['unknown'];
  const slug = words.filter((word) => !['r', 'tm', 'cpu', 'processor'].includes(word)).join('-');
  return `${date.slice(0, 10)}-${host.processors}x-${slug}.json`;
}
