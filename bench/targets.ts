// What Bulkhead is to reach beside its peers, and whether a run shows it. A mean is over groups of rows, each group
// counted once by its own mean; the smallest is of single rows.

import { geometricMean } from './means.ts';
import type { GroupSummary, RowSummary, SpeedRatios } from './report.ts';
import type { Group } from './rows/row.ts';

interface Target {
  peer: string;
  groups: readonly Group[] | 'all';
  /** The least speed ratios, where there is one to reach. */
  mean?: number;
  smallest?: number;
}

const TARGETS: readonly Target[] = [
  { peer: 'qemu', groups: ['boot'], smallest: 0.5 },
  { peer: 'qemu', groups: ['loop', 'hash', 'sort', 'float'], mean: 1.2, smallest: 0.7 },
  { peer: 'qemu', groups: ['shell', 'python', 'sqlite', 'compile', 'switch'], mean: 0.8, smallest: 0.4 },
  { peer: 'v86', groups: 'all', smallest: 5 },
];

export interface Reached {
  wanted: number | null;
  speedRatio: number;
  cpuSpeedRatio: number;
}

export interface TargetResult {
  peer: string;
  /** Those that were measured. */
  groups: readonly Group[];
  mean: Reached;
  smallest: Reached & { row: string };
  /** By host time. */
  isMet: boolean;
}

export function checkTargets(rows: readonly RowSummary[], groups: readonly GroupSummary[]): TargetResult[] {
  return TARGETS.flatMap((target) => checkTarget(target, rows, groups) ?? []);
}

function checkTarget(
  { peer, groups: wanted, mean, smallest }: Target,
  rows: readonly RowSummary[],
  groups: readonly GroupSummary[],
): TargetResult | undefined {
  const isWanted = (group: Group, ratios: SpeedRatios): boolean =>
    (wanted === 'all' || wanted.includes(group)) && ratios[peer] !== undefined;
  const ownGroups = groups.filter(({ name, speedRatios }) => isWanted(name, speedRatios));
  const ownRows = rows.filter(({ group, speedRatios }) => isWanted(group, speedRatios));
  const lowest = ownRows.toSorted((a, b) => a.speedRatios[peer]! - b.speedRatios[peer]!)[0];
  if (lowest === undefined) return undefined;
  const meanOf = (ratiosOf: (group: GroupSummary) => SpeedRatios): number =>
    geometricMean(ownGroups.map((group) => ratiosOf(group)[peer]!));
  const result = {
    peer,
    groups: ownGroups.map(({ name }) => name),
    mean: {
      wanted: mean ?? null,
      speedRatio: meanOf((group) => group.speedRatios),
      cpuSpeedRatio: meanOf((group) => group.cpuSpeedRatios),
    },
    smallest: {
      wanted: smallest ?? null,
      row: lowest.name,
      speedRatio: lowest.speedRatios[peer]!,
      cpuSpeedRatio: lowest.cpuSpeedRatios[peer]!,
    },
  };
  const isMet = [result.mean, result.smallest].every(({ wanted: least, speedRatio }) => speedRatio >= (least ?? 0));
  return { ...result, isMet };
}
