// `npm run bench`: Bulkhead beside its peers on the same guest work, in one run.

import { mkdirSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { EXIT_STATUS, UserError } from '../src/base/errors.ts';
import { writeInstructionCounts } from './instruction-counts.ts';
import { bulkhead } from './peers/bulkhead.ts';
import type { Peer } from './peers/peer.ts';
import { qemu, qemuCounting } from './peers/qemu.ts';
import { v86 } from './peers/v86.ts';
import { createReport, resultFileName } from './report.ts';
import { formatReport } from './report-text.ts';
import type { Row } from './rows/row.ts';
import { allRows, GROUPS } from './rows/rows.ts';
import { BOOT_ROW, type PreparedGuest, prepareGuests, runSuite, type SuiteOptions } from './suite.ts';

const PEERS: readonly Peer[] = [bulkhead, qemu, v86];
const DEFAULT_RUNS = 3;

const HELP = `Usage: npm run bench -- [options]

Boots guests of Bulkhead and of its peers, runs the same work on all of them in turns, and prints medians and ratios.

  --runs N         runs to take the medians of (default ${DEFAULT_RUNS})
  --quick          little work, to see that everything runs: its ratios say little
  --short          less work, for engines that only interpret
  --rows A,B       only these rows, or groups of rows: ${GROUPS.join(', ')}
  --peers A,B      only these peers: ${PEERS.map(({ name }) => name).join(', ')}
  --format FORMAT  text (default) or json, on standard output; the progress goes to standard error
  --save           also write bench/results/<date>-<host>.json
  --prepare DIR    only write the guests' files there, and print the commands that start them
  --count-instructions  only count the rows' guest instructions, in QEMU, and write bench/instruction-counts.json
  --help           print this

Examples:
  npm run bench -- --save
  npm run bench:quick
  npm run bench -- --rows loop,md5 --peers bulkhead,qemu --runs 5
`;

async function main(): Promise<number> {
  const flags = readFlags();
  if (flags.help === true) {
    process.stdout.write(HELP);
    return EXIT_STATUS.ok;
  }
  const runs = Number(flags.runs ?? DEFAULT_RUNS);
  if (!Number.isInteger(runs) || runs < 1) throw usageError(`not a number of runs: ${flags.runs}`);
  const format = flags.format ?? 'text';
  if (format !== 'text' && format !== 'json') throw usageError(`no such format: ${format}`);
  const mode = flags.quick === true ? 'quick' : flags.short === true ? 'short' : 'standard';
  const options: SuiteOptions = {
    peers: choose('peer', PEERS, flags.peers),
    ...chooseRows(allRows(mode), flags.rows),
    runs,
    onProgress: (text) => process.stderr.write(`${text}\n`),
  };
  if (flags.prepare !== undefined) {
    const guests = await prepareGuests(options, resolve(flags.prepare));
    process.stdout.write(guests.map(formatPrepared).join('\n'));
    return EXIT_STATUS.ok;
  }
  if (flags['count-instructions'] === true) {
    const counted = await runSuite({ ...options, peers: [qemuCounting], boot: false, runs: 1 });
    writeInstructionCounts(mode, counted);
    return counted.failures.length > 0 ? 1 : EXIT_STATUS.ok;
  }
  const result = await runSuite(options);
  const report = createReport(result, mode, runs);
  const json = `${JSON.stringify(report, undefined, 2)}\n`;
  if (flags.save === true) {
    const folder = fileURLToPath(new URL('results', import.meta.url));
    mkdirSync(folder, { recursive: true });
    writeFileSync(`${folder}/${resultFileName(report)}`, json);
  }
  process.stdout.write(format === 'json' ? json : formatReport(report));
  return report.failures.length > 0 ? 1 : EXIT_STATUS.ok;
}

function readFlags() {
  try {
    return parseArgs({
      options: {
        runs: { type: 'string' },
        quick: { type: 'boolean' },
        short: { type: 'boolean' },
        rows: { type: 'string' },
        peers: { type: 'string' },
        format: { type: 'string' },
        save: { type: 'boolean' },
        prepare: { type: 'string' },
        'count-instructions': { type: 'boolean' },
        help: { type: 'boolean' },
      },
    }).values;
  } catch (error) {
    throw usageError(error instanceof Error ? error.message : String(error));
  }
}

/** The named ones, in their own order; all where none are named. */
function choose<T extends { name: string }>(what: string, all: readonly T[], names: string | undefined): readonly T[] {
  if (names === undefined) return all;
  const wanted = names.split(',');
  const known = new Set(all.map(({ name }) => name));
  const unknown = wanted.find((name) => !known.has(name));
  if (unknown !== undefined) {
    throw usageError(`no such ${what}: ${unknown}`, `there are ${[...known].join(', ')}`);
  }
  return all.filter(({ name }) => wanted.includes(name));
}

/** As one types it into a shell. */
function formatPrepared({ peer, commandLine, scripts }: PreparedGuest): string {
  const words = [commandLine.file, ...commandLine.args].map((word) =>
    /^[\w./:=,@+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`,
  );
  return `# ${peer}\n${words.join(' ')}\n# there: ${scripts.join('; ')}\n`;
}

/** A name is a row's or a group's. */
function chooseRows(all: readonly Row[], names: string | undefined): { rows: readonly Row[]; boot: boolean } {
  if (names === undefined) return { rows: all, boot: true };
  const named = [BOOT_ROW, ...all].flatMap(({ name, group }) =>
    name === group ? [{ name }] : [{ name }, { name: group }],
  );
  const wanted = choose('row', named, names).map(({ name }) => name);
  return {
    rows: all.filter(({ name, group }) => wanted.includes(name) || wanted.includes(group)),
    boot: wanted.includes(BOOT_ROW.name),
  };
}

function usageError(message: string, hint = 'npm run bench -- --help'): UserError {
  return new UserError(message, { hint, exitStatus: EXIT_STATUS.usage });
}

// So that the guests end too.
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  process.stderr.write(`bench: ${error.message}\n${error.hint === undefined ? '' : `  hint: ${error.hint}\n`}`);
  process.exitCode = error.exitStatus;
}
