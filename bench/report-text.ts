// The report as tables for people.

import { OURS, type PeerSummary, type Report, type RowSummary } from './report.ts';
import type { Reached, TargetResult } from './targets.ts';

/** Counters that have a column of their own, or need none. */
const NAMED_COUNTERS = new Set(['instructions']);

type Table = readonly (readonly string[])[];

export function formatReport(report: Report): string {
  const peers = Object.keys(report.peers);
  const sections: string[][] = [
    [
      `Medians of ${report.runs} runs (${report.mode}), host time. Speed: 1x is as fast, 2x twice as fast as the peer.`,
      `${report.host.processors} x ${report.host.processor}, Linux ${report.host.kernel}, Node ${report.host.node}`,
      ...peers.map((peer) => `${peer}: ${report.peers[peer]!.version}; guest kernel ${report.peers[peer]!.kernel}`),
    ],
    alignColumns(timesTable(report, peers)),
    alignColumns(costsTable(report, peers)),
    alignColumns(countersTable(report)),
    operationLines(report, peers),
    report.targets.map(targetLine),
    report.rows.map((row) => `${row.name}: ${row.summary}`),
    remarks(report),
  ];
  const texts = sections.filter((lines) => lines.length > 0).map((lines) => lines.join('\n'));
  return `${texts.join('\n\n')}\n`;
}

function timesTable(report: Report, peers: readonly string[]): Table {
  const compared = peers.includes(OURS) ? peers.filter((peer) => peer !== OURS) : [];
  const ratiosOf = ({ speedRatios, cpuSpeedRatios }: Pick<RowSummary, 'speedRatios' | 'cpuSpeedRatios'>): string[] =>
    compared.flatMap((peer) => [ratio(speedRatios[peer]), ratio(cpuSpeedRatios[peer])]);
  return [
    ['time', ...peers, ...compared.flatMap((peer) => [`speed to ${peer}`, 'by CPU time'])],
    ...report.groups.flatMap((group) => {
      const rows = report.rows.filter((row) => row.group === group.name);
      const lines = rows.map((row) => [
        row.name,
        ...ofPeers(row, peers, ({ hostMs }) => seconds(hostMs)),
        ...ratiosOf(row),
      ]);
      return rows.length > 1 ? [...lines, [`= ${group.name}`, ...peers.map(() => ''), ...ratiosOf(group)]] : lines;
    }),
  ];
}

function costsTable(report: Report, peers: readonly string[]): Table {
  return [
    ['cost', ...['MIPS', 'CPU', 'peak'].flatMap((cost) => peers.map((peer) => `${peer} ${cost}`))],
    ...report.rows.map((row) => [
      row.name,
      ...ofPeers(row, peers, ({ guestMips }) => (guestMips === null ? '-' : guestMips.toFixed(0))),
      ...ofPeers(row, peers, ({ cpuMs }) => seconds(cpuMs)),
      ...ofPeers(row, peers, ({ peakMemoryBytes }) => `${Math.round(peakMemoryBytes / 1024 ** 2)} MiB`),
    ]),
  ];
}

/** What our engine counts, where it does. */
function countersTable(report: Report): Table {
  const ours = report.rows.flatMap((row) => row.peers[OURS] ?? []);
  const names = [...new Set(ours.flatMap(({ counters }) => Object.keys(counters)))].filter(
    (name) => !NAMED_COUNTERS.has(name),
  );
  if (names.length === 0) return [];
  const number = (value: number | null | undefined): string => (value == null ? '-' : String(Math.round(value)));
  return [
    [`${OURS} counts`, ...names, 'codeBytes/instruction'],
    ...report.rows.map((row) => {
      const summary = row.peers[OURS];
      return [
        row.name,
        ...names.map((name) => number(summary?.counters[name])),
        summary?.codeBytesPerInstruction?.toFixed(1) ?? '-',
      ];
    }),
  ];
}

function operationLines(report: Report, peers: readonly string[]): string[] {
  return report.rows.flatMap((row) => {
    if (row.operations === null) return [];
    const rates = ofPeers(row, peers, ({ operationsPerSecond }) =>
      Math.round(operationsPerSecond!).toLocaleString('en'),
    );
    return [`${row.operations.what} a second: ${peers.map((peer, index) => `${peer} ${rates[index]}`).join(', ')}`];
  });
}

function targetLine({ peer, groups, mean, smallest, isMet }: TargetResult): string {
  const part = (what: string, reached: Reached): string => {
    const wanted = reached.wanted === null ? '' : `, wanted ${ratio(reached.wanted)}`;
    return `${what} ${ratio(reached.speedRatio)} (${ratio(reached.cpuSpeedRatio)} by CPU time${wanted})`;
  };
  const parts = [
    ...(mean.wanted === null && groups.length === 1 ? [] : [part('mean', mean)]),
    part(`smallest, ${smallest.row},`, smallest),
  ];
  return `${isMet ? 'met' : 'NOT MET'}: speed to ${peer} in ${groups.join(', ')}: ${parts.join('; ')}`;
}

function remarks({ skipped, failures, clockDifferences }: Report): string[] {
  return [
    ...skipped.map(({ what, reason }) => `skipped ${what}: ${reason}`),
    ...failures.map(({ peer, row, run, reason }) => `FAILED ${row} on ${peer} in run ${run}: ${reason}`),
    ...clockDifferences.map(
      ({ peer, row, hostMs, guestMs }) =>
        `clock of ${peer} in ${row}: ${guestMs} ms in the guest, ${Math.round(hostMs)} ms on the host`,
    ),
  ];
}

function ofPeers(row: RowSummary, peers: readonly string[], format: (summary: PeerSummary) => string): string[] {
  return peers.map((peer) => {
    const summary = row.peers[peer];
    return summary === undefined ? '-' : format(summary);
  });
}

function ratio(value: number | undefined): string {
  return value === undefined ? '-' : `${value.toPrecision(2)}x`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}

function alignColumns(table: Table): string[] {
  const widths = table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]!.length))) ?? [];
  return table.map((row) =>
    row.map((text, column) => (column === 0 ? text.padEnd(widths[0]!) : text.padStart(widths[column]!))).join('  '),
  );
}
