// How many guest instructions the rows are on a 64-bit guest, the kernel's among them, as QEMU has counted them once
// (`--count-instructions`): bench/instruction-counts.json, by mode and row.

import { readFileSync, writeFileSync } from 'node:fs';
import type { Mode } from './rows/row.ts';
import type { SuiteResult } from './suite.ts';

interface Count {
  /** Of the row that was counted: another one's count is worth nothing. */
  summary: string;
  instructions: number;
}

type Counts = Partial<Record<Mode, Record<string, Count>>>;

const file = new URL('instruction-counts.json', import.meta.url);

export function readInstructionCount(mode: Mode, row: { name: string; summary: string }): number | null {
  const count = readCounts()[mode]?.[row.name];
  return count?.summary === row.summary ? count.instructions : null;
}

/** Of rows that are not in the result, the former counts stay. */
export function writeInstructionCounts(mode: Mode, result: SuiteResult): void {
  const counts = readCounts();
  const ofMode = { ...counts[mode] };
  for (const { name, summary, measurements } of result.rows) {
    const instructions = Object.values(measurements)[0]?.[0]?.counters?.instructions;
    if (instructions !== undefined) ofMode[name] = { summary, instructions };
  }
  writeFileSync(file, `${JSON.stringify({ ...counts, [mode]: ofMode }, undefined, 2)}\n`);
}

function readCounts(): Counts {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Counts;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
}
