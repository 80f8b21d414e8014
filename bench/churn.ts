// `npm run bench:churn`: a compiler in a loop in a Debian guest, which makes and discards code all the time, and what
// memory the machine's process takes meanwhile. tests/engine/code-churn.ts does the same with a processor alone.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Guest } from './guest.ts';
import { bulkhead } from './peers/bulkhead.ts';
import { compileFor } from './rows/compile.ts';
import { prepareGuests } from './suite.ts';

const HELP = `Usage: npm run bench:churn -- [options]

Boots Debian, lets tcc compile a file and run the result again and again, and prints what the machine's process takes.

  --seconds N        how long (default 600)
  --every N          seconds between two lines (default 60)
  --code-cache SIZE  as for bulkhead run: with little room, code is evicted all the time
  --json             prints a line of JSON each time, with all that the engine counts
  --help             prints this
`;

const MEBIBYTE = 1 << 20;

interface ChurnOptions {
  readonly seconds: number;
  readonly everySeconds: number;
  readonly codeCache: string | undefined;
  readonly asJson: boolean;
}

async function churn({ seconds, everySeconds, codeCache, asJson }: ChurnOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bulkhead-churn-'));
  process.once('exit', () => rmSync(folder, { recursive: true }));
  const row = compileFor(seconds);
  const report = async (guest: Guest, elapsedSeconds: number): Promise<void> => {
    // The guest's memory and the processor's records lie in the largest mapping.
    const { residentBytes, largestMappingBytes, counters } = await guest.look();
    const count = (name: string): number => counters?.[name] ?? 0;
    const mebibytes = (bytes: number): string => `${Math.round(bytes / MEBIBYTE)} MiB`;
    const text = [
      `${elapsedSeconds.toFixed(0).padStart(4)} s: ${mebibytes(residentBytes)} resident`,
      `${mebibytes(residentBytes - largestMappingBytes)} besides the guest's memory`,
      `${count('regions')} regions made, ${count('goneRegions')} gone, ${count('evictedRegions')} evicted`,
      `${count('liveModules')} modules in use with ${mebibytes(count('liveCodeBytes'))} of code`,
      `${mebibytes(count('recordBytes'))} of records, ${count('flushes')} flushes`,
    ];
    const all = { elapsedSeconds, residentBytes, largestMappingBytes, ...counters };
    process.stdout.write(`${asJson ? JSON.stringify(all) : text.join('; ')}\n`);
  };
  const options = { peers: [bulkhead], rows: [row], boot: false, runs: 1, onProgress: () => {} };
  const [prepared] = await prepareGuests(options, folder);
  const { commandLine } = prepared!;
  const room = codeCache === undefined ? [] : ['--code-cache', codeCache];
  const guest = new Guest({ ...commandLine, args: [...commandLine.args, ...room] });
  try {
    await guest.boot();
    const startMs = performance.now();
    const elapsed = (): number => (performance.now() - startMs) / 1000;
    await report(guest, 0);
    let ended = false;
    const run = guest.run(row, row.expected as string).finally(() => {
      ended = true;
    });
    // Its error is told below.
    run.catch(() => {});
    for (let next = everySeconds; !ended; next += everySeconds) {
      await Promise.race([run, sleep((next - elapsed()) * 1000)]);
      await report(guest, elapsed());
    }
    await run;
  } finally {
    await guest.close();
  }
}

process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '600' },
    every: { type: 'string', default: '60' },
    'code-cache': { type: 'string' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) process.stdout.write(HELP);
else {
  await churn({
    seconds: Number(values.seconds),
    everySeconds: Number(values.every),
    codeCache: values['code-cache'],
    asJson: values.json,
  });
}
