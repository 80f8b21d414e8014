// The goldens: what the sequences become, a file each in goldens/. Run as a program it compares, prints the figures and
// with --update rewrites the files; --budgets prints rows for the table of budgets in goldens.test.ts instead.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { listCode } from './code-listing.ts';
import { figuresText, type RegionReport, reportRegion } from './region-report.ts';
import { codeOf, SEQUENCES, type Sequence } from './sequences.ts';

export const GOLDENS_FOLDER = fileURLToPath(new URL('goldens/', import.meta.url));
export const UPDATE_COMMAND = 'node_modules/.bin/node tests/translator/goldens.ts --update';

const pathOf = (name: string): string => join(GOLDENS_FOLDER, `${name}.txt`);

export interface Translated {
  readonly sequence: Sequence;
  readonly report: RegionReport;
  /** As the golden must have it. */
  readonly text: string;
}

export function translateSequence(sequence: Sequence): Translated {
  const code = codeOf(sequence);
  const report = reportRegion(code);
  const { blocks, wasm, figures } = report;
  const parts = [`${sequence.name}: ${sequence.what}\n${figuresText(figures)}`, listCode(code), blocks, wasm];
  return { sequence, report, text: `${parts.join('\n\n')}\n` };
}

/** Undefined where there is none. */
export function readGolden(name: string): string | undefined {
  try {
    return readFileSync(pathOf(name), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Names of the files that are there. */
export function listGoldens(): string[] {
  return readdirSync(GOLDENS_FOLDER)
    .filter((file) => file.endsWith('.txt'))
    .map((file) => file.slice(0, -4));
}

/** For each guest instruction. */
export interface Budget {
  readonly operations: number;
  readonly hot: number;
  readonly work: number;
  readonly bytes: number;
}

export function spentBy({ figures }: RegionReport): Budget {
  const { instructions, operations, hotOperations, hotWork, bytes } = figures;
  const each = (count: number): number => count / instructions;
  return { operations: each(operations), hot: each(hotOperations), work: each(hotWork), bytes: each(bytes) };
}

/** What is allowed beyond the present figures when budgets are set. */
const HEADROOM = 1.07;

function printBudgets(): void {
  for (const sequence of SEQUENCES) {
    const spent = Object.entries(spentBy(translateSequence(sequence).report));
    const row = spent.map(([kind, each]) => `${kind}: ${Math.ceil(each * HEADROOM * 10) / 10}`).join(', ');
    const name = sequence.name.includes('-') ? `'${sequence.name}'` : sequence.name;
    console.log(`  ${name}: { ${row} },`);
  }
}

/** The first difference, with lines around it and how much of the rest differs: what a person looks at first. */
export function describeDifference(expected: string, actual: string): string {
  const [was, is] = [expected.split('\n'), actual.split('\n')];
  let first = 0;
  while (first < was.length && was[first] === is[first]) first++;
  let same = 0;
  while (same < Math.min(was.length, is.length) - first && was.at(-1 - same) === is.at(-1 - same)) same++;
  const part = (lines: readonly string[], sign: string): string[] => {
    const changed = lines.slice(first, lines.length - same);
    const shown = changed.slice(0, 30).map((line) => `${sign} ${line}`);
    return changed.length > 30 ? [...shown, `${sign} ... ${changed.length - 30} more lines`] : shown;
  };
  const before = was.slice(Math.max(0, first - 3), first).map((line) => `  ${line}`);
  const header = was[1] === is[1] ? [] : [`- ${was[1]}`, `+ ${is[1]}`];
  return [...header, `from line ${first + 1} on:`, ...before, ...part(was, '-'), ...part(is, '+')].join('\n');
}

function main(): void {
  if (process.argv.includes('--budgets')) {
    printBudgets();
    return;
  }
  const update = process.argv.includes('--update');
  mkdirSync(GOLDENS_FOLDER, { recursive: true });
  let differing = 0;
  for (const sequence of SEQUENCES) {
    const { text, report } = translateSequence(sequence);
    const differs = readGolden(sequence.name) !== text;
    if (differs) differing++;
    if (differs && update) writeFileSync(pathOf(sequence.name), text);
    console.log(`${differs ? '*' : ' '} ${sequence.name.padEnd(18)} ${figuresText(report.figures)}`);
  }
  for (const name of listGoldens()) {
    if (SEQUENCES.some((sequence) => sequence.name === name)) continue;
    differing++;
    if (update) rmSync(pathOf(name));
    console.log(`* ${name.padEnd(18)} is no sequence`);
  }
  if (differing === 0) return;
  console.log(
    update ? `${differing} goldens rewritten` : `${differing} goldens differ: ${UPDATE_COMMAND} rewrites them`,
  );
  if (!update) process.exitCode = 1;
}

if (import.meta.main) main();
